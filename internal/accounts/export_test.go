package accounts

import (
	"context"

	"nats-account-server/internal/jwtstore"
)

// Rescan looks at every file of the store, as Sweep does from time to time.
func (c *scanner) Rescan(ctx context.Context) error {
	return c.rescan(ctx, jwtstore.Scan{Every: true})
}

// Verified returns how many stored JWTs were verified since the start.
func (c *catalog) Verified() uint64 { return c.verified.Load() }
