package daemon

import (
	"context"
	"errors"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/mirror"
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
	mirror *mirror.Mirror
}

// Find implements httpapi.Gate.
func (g mirrored) Find(ctx context.Context, key string) (*accounts.Account, error) {
	a, err := g.Registry.Find(ctx, key)
	if errors.Is(err, accounts.ErrNotFound) {
		return g.mirror.Find(key)
	}
	return a, err
}
