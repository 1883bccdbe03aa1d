package daemon

import (
	"context"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
)

// openFolder opens the folder that a read-only configuration names; nil if there is none.
func openFolder(c config.Store) (*dirsync.Folder, error) {
	switch {
	case c.NSC != "":
		return dirsync.OpenNSC(c.NSC)
	case c.ReadOnly && c.Dir != "":
		return dirsync.OpenFolder(c.Dir)
	default:
		return nil, nil
	}
}

// unsaved is the registry as HTTP sees it while another program writes the files: what the store
// has no room for is served from memory.
type unsaved struct {
	*accounts.Registry
	tokens *dirsync.Unsaved
}

// Get implements httpapi.Gate.
func (u unsaved) Get(ctx context.Context, key string) (*accounts.Account, error) {
	if a := u.find(ctx, key); a != nil {
		return a, nil
	}
	return u.Registry.Get(ctx, key)
}

// GetRaw implements httpapi.Gate.
func (u unsaved) GetRaw(ctx context.Context, key string) ([]byte, error) {
	if a := u.find(ctx, key); a != nil {
		return a.JWT, nil
	}
	return u.Registry.GetRaw(ctx, key)
}

// find returns what is served from memory, nil if there is none.
func (u unsaved) find(ctx context.Context, key string) (a *accounts.Account) {
	_ = u.tokens.Find(ctx, key, func(token []byte) (err error) { // the store is asked next
		a, err = u.Verify(key, token)
		return err
	})
	return a
}
