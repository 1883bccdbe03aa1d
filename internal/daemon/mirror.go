package daemon

import (
	"context"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/jwtstore"
)

// openFolder opens the folder that a read-only configuration names; nil if there is none.
func openFolder(c config.Store) (*jwtstore.Folder, error) {
	switch {
	case c.NSC != "":
		return jwtstore.OpenNSC(c.NSC)
	case c.ReadOnly && c.Dir != "":
		return jwtstore.OpenFolder(c.Dir)
	default:
		return nil, nil
	}
}

// mirrored is the gate as HTTP sees it while somebody else writes the files: what there is no room for is served from its file.
type mirrored struct {
	*accounts.Registry
	mirror *dirsync.Mirror
}

// Find implements httpapi.Gate.
func (g mirrored) Get(ctx context.Context, key string) (*accounts.Account, error) {
	if a := g.mirror.Unsaved(key); a != nil {
		return a, nil
	}
	return g.Registry.Get(ctx, key)
}

// Raw implements httpapi.Gate.
func (g mirrored) GetRaw(ctx context.Context, key string) ([]byte, error) {
	if a := g.mirror.Unsaved(key); a != nil {
		return a.JWT, nil
	}
	return g.Registry.GetRaw(ctx, key)
}
