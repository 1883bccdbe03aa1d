package accounts

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// maxVerdictBytes bounds the JWTs in memory.
const maxVerdictBytes = 64 << 20

// catalog is what is stored, as it is judged under the present trust: the verdicts on single JWTs,
// and the index of all of them. The store decides what is served; the catalog saves the work of
// judging the same JWT again.
type catalog struct {
	Options

	trust    atomic.Pointer[Trust]
	verdicts Verdicts[*Account]
	index    jwtstore.Index
	scanning sync.Mutex  // one Rescan at a time
	scanned  atomic.Bool // a Rescan has seen the whole store since the trust was set
}

// check verifies what is stored for an account. The Account of a damaged JWT has an empty head.
func (t *Trust) check(key string, token []byte) (*Account, error) {
	head, err := t.Operator.Check(key, bytes.TrimSpace(token))
	if err != nil {
		head = trust.Head{}
	}
	return NewAccount(token, head), err
}

// load returns the stored JWT of an account, or the configured system account. The errors are those
// of GetLocal. A store that can't be read may hold a newer JWT than the configuration.
func (c *catalog) load(key string) (*Account, error) {
	t := c.trust.Load()
	v, err := c.verdicts.Load(key, t.mark,
		func(token []byte) (*Account, error) { return t.check(key, token) })
	switch {
	case err == nil && v.Err == nil:
		return v.Found, nil
	case err == nil:
		return nil, v.Err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case t.System != nil && t.System.Key == key:
		c.Log.Log(context.Background(), logging.LevelTrace, "returning system JWT from configuration")
		return t.System, nil
	}
	return nil, ErrNotFound
}

// lookUp describes what an offer would replace.
func (c *catalog) lookUp(o *offer, stored, tombstone []byte) current {
	found := current{tombstone: readTombstone(tombstone)}
	if sys := o.trust.System; sys != nil && sys.Key == o.Key {
		found.floor = sys.IssuedAt
	}
	if stored == nil {
		return found
	}
	v, _ := c.verdicts.Find(o.Key, o.trust.mark, stored,
		func(token []byte) (*Account, error) { return o.trust.check(o.Key, token) })
	if found.stored = v.Found; v.Err == nil {
		found.served = v.Found
		found.floor = max(found.floor, v.Found.IssuedAt)
	}
	return found
}

// recordStored records that an offer is on stable storage now.
func (c *catalog) recordStored(o *offer, seq uint64) *Account {
	v := &Verdict[*Account]{
		Found: o.tagged(),
		mark:  o.trust.mark,
		stamp: jwtstore.CommitStamp(seq),
		token: o.JWT,
	}
	c.verdicts.put(o.Key, v)
	c.index.Commit(o.Key, versionOf(v, seq), c.Now())
	return v.Found
}

// versionOf is what the index keeps of a verdict.
func versionOf(v *Verdict[*Account], seq uint64) jwtstore.Version {
	return jwtstore.Version{
		Seq:      seq,
		Stamp:    v.stamp,
		Hash:     v.Found.Hash,
		IssuedAt: v.Found.IssuedAt,
		Expires:  v.Found.Expires,
		Mark:     v.mark,
		Servable: v.Err == nil,
	}
}
