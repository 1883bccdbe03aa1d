package monitor

import (
	"context"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// committer counts what is committed to be announced. That is known only here: the outbox does not
// know why a change is in it. Deletions and what is not announced go through it uncounted.
type committer struct {
	accounts.Committer
	metrics   *Metrics
	announces func() bool // there is a NATS to announce on
}

// Committer returns a Committer that counts the changes which are to be announced, as long as
// announces says that any are. It is put between accounts and the store, or the bucket.
func (m *Metrics) Committer(c accounts.Committer, announces func() bool) accounts.Committer {
	return committer{c, m, announces}
}

// Put implements accounts.Committer. A JWT that is committed is announced. kind is that of the
// Origin. The counter is that of all causes by commit: causePush.
func (c committer) Put(ctx context.Context, key, kind string, jwt []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error),
) (seq uint64, err error) {
	seq, err = c.Committer.Put(ctx, key, kind, jwt, allow)
	if err == nil && c.announces() {
		c.metrics.announcements[causePush].Inc()
	}
	return seq, err
}

// Touch implements accounts.Committer. A stored JWT is announced once more.
func (c committer) Touch(
	ctx context.Context, key, kind string, elsewhere bool,
) (seq uint64, err error) {
	seq, err = c.Committer.Touch(ctx, key, kind, elsewhere)
	if err == nil && c.announces() {
		c.metrics.announcements[causeOf(kind)].Inc()
	}
	return seq, err
}

// causeOf returns why a stored JWT is announced once more. kind is an accounts.Kind….
func causeOf(kind string) cause {
	switch kind {
	case accounts.KindNotify:
		return causeNotify
	case accounts.KindReassert:
		return causeLookup
	case accounts.KindHTTP:
		return causeRepeat
	}
	return causePush // it was changed by hand, or by the configuration
}
