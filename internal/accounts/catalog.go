package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"nats-account-server/internal/jwtstore"
)

// catalog is what is stored, as it is judged under the present trust: the verdicts on single JWTs,
// and the index of all of them. The store decides what is served; the catalog saves the work of
// judging the same JWT again.
type catalog struct {
	common
	store Store

	trust    atomic.Pointer[Trust]
	verdicts verdicts
	index    jwtstore.Index
	scanning sync.Mutex  // one Rescan at a time
	scanned  atomic.Bool // a Rescan has seen the whole store since the trust was set
}

// load returns the stored JWT of an account, or the configured system account. The errors are those
// of GetLocal.
func (c *catalog) load(key string) (*Account, error) {
	t, had := c.trust.Load(), c.verdicts.get(key)
	known := jwtstore.Stamp{}
	if had != nil && had.mark == t.mark {
		known = had.stamp
	}
	token, stamp, err := c.store.Load(key, known)
	switch {
	case err != nil:
		if had != nil && errors.Is(err, fs.ErrNotExist) {
			c.verdicts.forget(key, had)
		}
		return c.absent(t, key, err)
	case token == nil:
		return had.account, had.err
	}
	v := c.verdicts.judge(t, key, token, stamp)
	return v.account, v.err
}

// absent answers for an account that the store can't give. A store that can't be read may hold a
// newer JWT than the configuration.
func (c *catalog) absent(t *Trust, key string, err error) (*Account, error) {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case t.System != nil && t.System.Key == key:
		c.log.Log(context.Background(), LevelTrace, "returning system JWT from configuration")
		return t.System, nil
	default:
		return nil, ErrNotFound
	}
}

// loadRaw returns what is stored for an account, servable or not.
func (c *catalog) loadRaw(key string) ([]byte, error) {
	token, _, err := c.store.Load(key, jwtstore.Stamp{})
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotFound
	default:
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
}

// lookUp describes what an offer would replace.
func (c *catalog) lookUp(o *offer, stored, tombstone []byte) current {
	found := current{token: stored, tombstone: readTombstone(tombstone)}
	if sys := o.trust.System; sys != nil && sys.Key == o.key {
		found.floor = sys.IssuedAt
	}
	if stored == nil {
		return found
	}
	v, _ := c.verdicts.find(o.trust, o.key, stored)
	found.hash = v.hash
	if v.err == nil {
		found.head = &v.head
		found.floor = max(found.floor, v.head.IssuedAt)
	}
	return found
}

// compare compares an offer with what the index knows. It looks neither at the store nor at the
// signature. errSame means that there is nothing to do, nil that the offer may be newer.
func (c *catalog) compare(o *offer) error {
	known := c.index.Get(o.key)
	switch {
	case !known.Servable || known.Mark != o.trust.mark:
		return nil
	case known.Hash == o.hash:
		return errSame
	case o.read() != nil || o.head.Subject != o.key:
		return nil
	}
	return policy{}.older(o, known.IssuedAt, c.now())
}

// stored records that an offer is on stable storage now.
func (c *catalog) stored(o *offer, seq uint64) *Account {
	stamp := jwtstore.CommitStamp(seq)
	account := newAccount(o.token, o.head, o.hash)
	c.verdicts.put(o.key, &verdict{
		mark:    o.trust.mark,
		stamp:   stamp,
		token:   o.token,
		hash:    o.hash,
		head:    o.head,
		account: account,
	})
	c.index.Commit(o.key, jwtstore.Version{
		Seq:      seq,
		Stamp:    stamp,
		Hash:     o.hash,
		IssuedAt: o.head.IssuedAt,
		Expires:  o.head.Expires,
		Mark:     o.trust.mark,
		Servable: true,
	}, c.now())
	return account
}

// removed records that an account is not stored any more.
func (c *catalog) removed(key string, seq uint64) {
	c.verdicts.forget(key, nil)
	c.index.Commit(key, jwtstore.Version{Seq: seq}, c.now())
}
