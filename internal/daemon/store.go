package daemon

import (
	"context"
	"path/filepath"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/trust"
)

// store is what the directory and the memory have in common: they keep accounts, activation tokens
// and what is to be announced. *jwtstore.Dir, *jwtstore.Memory and *bucket.Store meet it.
type store interface {
	accounts.Store
	accounts.Committer
	activations.Store
	dirsync.Store
	monitor.Store
	Outbox() *jwtstore.Outbox
	// Close writes what is not written yet. It is called once, when nothing else uses the store.
	Close() error
}

// openStore opens the store that the configuration names, which the caller must close. While another
// process has the lock of the directory it waits, until ctx ends. It does not wait for a bucket. The
// store of a read-only configuration holds what can be served of the directory that another program
// writes.
func openStore(
	ctx context.Context, c config.Config, log logger, metrics *monitor.Metrics,
) (store, error) {
	logStore(c.Store, log)
	o := storeOptions(c, log, metrics)
	if o.Dir == "" {
		// Both an empty store.dir and an empty store.statedir mean memory.
		return jwtstore.NewMemory(o.Announce), nil
	}
	dir, err := jwtstore.OpenDir(ctx, o)
	switch {
	case err != nil:
		return nil, err
	case len(c.Store.KV.Servers) > 0:
		return bucket.New(bucketOptions(dir, c.Store, log)), nil
	// The directory may have been one of a bucket before. leaveBucket sees to that.
	case !c.Store.ReadOnly:
		return dir, leaveBucket(dir, c.Store.Dir, log)
	}
	return dir, nil
}

// storeOptions returns what the store is made of. Without a directory that is memory.
func storeOptions(c config.Config, log logger, metrics *monitor.Metrics) jwtstore.Options {
	// Without NATS nothing is owed, so the outbox stays empty.
	o := jwtstore.Options{
		Dir:      c.Store.Dir,
		Shard:    c.Store.Shard,
		StateDir: c.Store.StateDir,
		Announce: len(c.NATS.Servers) > 0,
		Newer: func(key string, a, b []byte) bool {
			if trust.IsActivationHash(key) {
				return activations.Newer(key, a, b)
			}
			return accounts.Newer(key, a, b)
		},
		IssuedAt: trust.IssuedAt,
		Warn:     log.warnf,
		Gone:     func(fault error) { logGone(fault, log) },

		// A commit has the changes of all clients that came while the one before was synced.
		Committed: metrics.Committed,
	}
	// Nothing is written into a directory that is only read.
	if c.Store.ReadOnly {
		// The store has a directory of its own then, which is always sharded. It has what was
		// announced, so that a start announces only what is new.
		o.Dir, o.StateDir, o.Shard = c.Store.StateDir, "", true
	}
	return o
}

// logStore writes the lines about the store, in the original's words. It is called before the store
// is opened.
func logStore(c config.Store, log logger) {
	switch {
	case c.NSC != "":
		log.infof("creating a read-only store for the NSC folder at %s", c.NSC)
	case c.ReadOnly && c.Dir != "":
		log.infof("creating a read-only store at %s", c.Dir)
	case c.ReadOnly:
		log.infof("creating a read-only, empty, in-memory store")
	case c.Dir != "":
		log.infof("creating a store at %s", c.Dir)
	default:
		log.infof("creating an in-memory store")
		log.warnf("the in-memory store forgets every JWT when this server stops: " +
			"set store.dir to keep them")
		if hasAccountJWTs() {
			log.warnf("there are account JWTs in the working directory, " +
				"where version 1 kept them: " +
				`set store { dir: "." } to serve them`)
		}
	}
}

// hasAccountJWTs reports whether the working directory has files of account JWTs, in either of the
// layouts that the original writes. A directory that can't be read counts as one without files.
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

// openFolder opens the folder that a read-only configuration names; nil if there is none. A folder
// beside an error must not be used. c.NSC and c.Dir are never both set.
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

// closeStore writes the files that are not written yet. Run calls it after every task has ended. An
// error is only logged. What could not be written is in the journal, and the next start writes it.
func closeStore(s store, log logger) {
	if err := s.Close(); err != nil {
		log.errorf("error closing JWT store: %s", err)
		return
	}
	log.infof("closed JWT store")
}

// logGone tells that the store's directory has gone, and that it is back. fault is nil when it is
// back.
func logGone(fault error, log logger) {
	if fault == nil {
		log.infof("the store directory is there again: accounts are served and pushes are taken")
		return
	}
	log.errorf("%s; stored accounts can't be served and pushes are refused until the directory "+
		"is back (was its file system unmounted?)", fault)
}
