package bucket

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// historyTimeout bounds the reading of one key's revisions.
const historyTimeout = 3 * time.Second

// historyOf is Store.Revisions. Every error wraps accounts.ErrBucket: it does not say that there
// are none.
func (s *stream) historyOf(ctx context.Context, key string) ([]accounts.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	found, err := s.readKey(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", accounts.ErrBucket, err)
	}
	return found, nil
}

// readKey reads the revisions of a key up to the last one that the leader has. They are in memory
// together: at most 64, each no larger than a message. nil and no error: there are none.
func (s *stream) readKey(ctx context.Context, key string) (found []accounts.Revision, err error) {
	nc, err := s.connection()
	if err != nil {
		return nil, err
	}
	last, err := s.last(ctx, nc, s.subject(key))
	if err != nil || last.seq == 0 {
		return nil, err
	}
	c, err := s.consume(ctx, nc, nats.ConsumerConfig{
		DeliverPolicy: nats.DeliverAllPolicy, FilterSubject: s.subject(key)})
	if err != nil {
		return nil, err
	}
	defer c.close()
	// A replica that is behind delivers the rest later: the last one is that of the leader.
	for {
		r, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		if r.seq > 0 {
			found = append(found, r.describe())
		}
		if r.seq >= last.seq {
			return found, nil
		}
	}
}

// describe returns what people see of a revision. Kind is "" for what another program has written.
// A deleted account has no JWT, although the value of a tombstone begins with one.
func (r *revision) describe() accounts.Revision {
	d := accounts.Revision{
		Revision: r.seq,
		At:       r.at,
		Kind:     r.header.Get(headerDoor),
		User:     r.header.Get(headerUser),
		Server:   r.header.Get(headerServer),
		Override: r.isOverride(),
		Deleted:  r.isTombstone() || r.isMarker,
	}
	if !d.Deleted {
		d.JWT = r.value
	}
	return d
}
