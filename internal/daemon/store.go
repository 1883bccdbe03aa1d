package daemon

import (
	"context"
	"path/filepath"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// store is what the directory and the memory have in common: they keep accounts, activation tokens
// and what is to be announced.
type store interface {
	accounts.Store
	accounts.Committer
	activations.Store
	Outbox() *jwtstore.Outbox
	Close() error
}

// openStore opens the store that the configuration names. It waits for the directory until ctx
// ends.
func openStore(ctx context.Context, c config.Config, log logger) (store, error) {
	announce := len(c.NATS.Servers) > 0
	if c.Store.ReadOnly {
		return openReadOnly(ctx, c.Store, announce, log)
	}
	if c.Store.Dir == "" {
		log.infof("creating an in-memory store")
		log.warnf("the in-memory store forgets every JWT when this server stops: set store.dir to keep them")
		if hasAccountJWTs() {
			log.warnf("there are account JWTs in the working directory, where version 1 kept them: " +
				`set store { dir: "." } to serve them`)
		}
		return jwtstore.NewMemory(announce), nil
	}
	log.infof("creating a store at %s", c.Store.Dir)
	return jwtstore.OpenDir(ctx, jwtstore.Options{
		Dir:      c.Store.Dir,
		Shard:    c.Store.Shard,
		Announce: announce,
		Warn:     log.warnf,
	})
}

// hasAccountJWTs reports whether the working directory has files of account JWTs.
func hasAccountJWTs() bool {
	for _, pattern := range []string{"A*.jwt", "??/A*.jwt"} {
		names, _ := filepath.Glob(pattern) // the patterns are good
		for _, name := range names {
			if key, _ := strings.CutSuffix(filepath.Base(name), ".jwt"); trust.IsAccountKey(key) {
				return true
			}
		}
	}
	return false
}

// openReadOnly opens the store of a read-only configuration. It holds what can be served of the
// directory that another program writes.
func openReadOnly(ctx context.Context, c config.Store, announce bool, log logger) (store, error) {
	switch {
	case c.NSC != "":
		log.infof("creating a read-only store for the NSC folder at %s", c.NSC)
	case c.Dir != "":
		log.infof("creating a read-only store at %s", c.Dir)
	default:
		log.infof("creating a read-only, empty, in-memory store")
	}
	if c.StateDir == "" {
		return jwtstore.NewMemory(announce), nil
	}
	return jwtstore.OpenDir(ctx,
		jwtstore.Options{Dir: c.StateDir, Shard: true, Announce: announce, Warn: log.warnf})
}

// closeStore writes the files that are not written yet.
func closeStore(s store, log logger) {
	if err := s.Close(); err != nil {
		log.errorf("error closing JWT store: %s", err)
		return
	}
	log.infof("closed JWT store")
}
