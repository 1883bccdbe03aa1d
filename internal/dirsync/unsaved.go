package dirsync

import (
	"context"
	"sync/atomic"

	"nats-account-server/internal/accounts"
)

// Unsaved holds the JWTs of accounts that the store has no room for, so that they are served all
// the same. It may be used from any goroutine, and its readers do not wait for the Syncer that
// fills it.
type Unsaved struct {
	tokens atomic.Pointer[map[string][]byte] // by account; the map is never changed
}

// Find calls take with the JWT of an account. The error is that of take, or accounts.ErrNotFound if
// there is none.
func (u *Unsaved) Find(_ context.Context, key string, take func(token []byte) error) error {
	if tokens := u.tokens.Load(); tokens != nil {
		if token := (*tokens)[key]; token != nil {
			return take(token)
		}
	}
	return accounts.ErrNotFound
}

// set replaces all of them.
func (u *Unsaved) set(tokens map[string][]byte) { u.tokens.Store(&tokens) }
