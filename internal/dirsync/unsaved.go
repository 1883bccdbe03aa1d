package dirsync

import (
	"context"
	"sync"

	"nats-account-server/internal/accounts"
)

// Unsaved holds the JWTs of accounts that the store has no room for, so that they are served all
// the same. It may be used from any goroutine. The zero Unsaved is empty.
type Unsaved struct {
	byAccount sync.Map // *kept
}

// kept is the content of a file that is served from memory.
type kept struct {
	account string
	token   []byte
}

// Find calls take with the JWT of an account. The error is that of take, or accounts.ErrNotFound if
// there is none.
func (u *Unsaved) Find(_ context.Context, key string, take func(token []byte) error) error {
	if k, found := u.byAccount.Load(key); found {
		return take(k.(*kept).token)
	}
	return accounts.ErrNotFound
}

// replace drops what a file had and adds what it has. nil means nothing.
func (u *Unsaved) replace(had, has *kept) {
	if has != nil {
		u.byAccount.Store(has.account, has)
	}
	if had != nil { // unless it is of the same account
		u.byAccount.CompareAndDelete(had.account, had)
	}
}
