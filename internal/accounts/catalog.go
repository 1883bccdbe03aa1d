package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// A verdict takes this memory beside its JWT, in bytes: itself, the Account, and the texts that are
// not parts of the JWT. Each import is one more.
const (
	verdictBytes = 640
	importBytes  = 80
)

// verdictSize is the sizeOf of Verdicts.
func verdictSize(a *Account) int {
	return verdictBytes + len(a.Name) + importBytes*len(a.Imports)
}

// catalog is what is stored, as it is judged under the present trust: the verdicts on single JWTs,
// and the index of all of them. The store decides what is served; the catalog saves the work of
// judging the same JWT again.
type catalog struct {
	Options

	trust      *atomic.Pointer[Trust]
	announcing *announcing
	verdicts   *Verdicts[*Account]
	index      *jwtstore.Index
	clockLog   *slog.Logger  // for warnings of a wrong clock
	filled     atomic.Bool   // what the index does not know has come by hand
	verified   atomic.Uint64 // stored JWTs, since the start: tests see by it what is verified twice
}

// newCatalog returns a catalog without a Trust, see SetTrust.
func newCatalog(o Options) *catalog {
	trust := new(atomic.Pointer[Trust])
	c := &catalog{
		Options:    o,
		trust:      trust,
		announcing: newAnnouncing(o, trust),
		verdicts:   NewVerdicts(o.Store, o.CacheBytes, verdictSize, o.Log),
		index:      o.Store.Index(),
		clockLog:   logging.Limited(o.Log, 1, time.Hour),
	}
	c.filled.Store(c.index.IsFilled())
	return c
}

// check verifies what is stored for an account, unless the index knows that these bytes are good:
// then the signature is not checked again. The Account of a damaged JWT has an empty head.
func (c *catalog) check(t *Trust, key string, token []byte) (*Account, error) {
	trimmed := bytes.TrimSpace(token)
	hash := trust.HashOf(trimmed)
	if known := c.index.Get(key); known.Servable && known.Hash == hash {
		if head, err := trust.Peek(trimmed); err == nil && t.trusts(head.Issuer) {
			return newAccount(token, hash, head), nil
		}
	}
	c.verified.Add(1)
	head, err := t.Operators.Check(key, trimmed)
	if err != nil {
		head = trust.Head{}
	}
	return newAccount(token, hash, head), err
}

// load returns the stored JWT of an account, or the configured system account if there is none that
// is good. The errors are those of GetLocal. A store that can't be read may hold a newer JWT than
// the configuration.
func (c *catalog) load(key string) (*Account, error) {
	t := c.trust.Load()
	isNew := false
	v, err := c.verdicts.Load(key, t.mark, func(token []byte) (*Account, error) {
		isNew = true
		return c.check(t, key, token)
	})
	if isNew && c.index.Get(key).Hash != v.Found.Hash {
		// It was put there by hand. What is served is a floor from then on.
		_, _ = c.update(key, false)
	}
	switch {
	case err == nil && v.Err == nil:
		return v.Found, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && !t.hasNewer(key, c.index.Get(key).Floor):
		return nil, v.Err
	case t.System != nil && t.System.Key == key:
		c.Log.Log(context.Background(), logging.LevelTrace,
			"returning system JWT from configuration")
		return t.System, nil
	}
	return nil, ErrNotFound
}

// lookUp describes what an offer would replace.
func (c *catalog) lookUp(o *offer, now jwtstore.Stored) current {
	found := current{tombstone: readTombstone(now.Tombstone), floor: now.Floor}
	if now.JWT != nil {
		v, _ := c.verdicts.Find(o.Key, o.trust.mark, now.JWT,
			func(token []byte) (*Account, error) { return c.check(o.trust, o.Key, token) })
		if found.stored = v.Found; v.Err == nil {
			found.served = v.Found
		}
		found.floor = c.raised(now.Floor, o.Key, v, now.Stamp)
	}
	if sys := o.trust.System; sys != nil && sys.Key == o.Key &&
		sys.IssuedAt > found.floor.IssuedAt {
		found.floor = found.floor.After(sys.IssuedAt, sys.Hash)
	}
	return found
}

// raised is RaiseFloor for what is stored. An untrusted JWT counts as well, as long as its
// signature is that of an operator.
func (c *catalog) raised(
	floor jwtstore.Floor, key string, v *Verdict[*Account], stamp jwtstore.Stamp,
) jwtstore.Floor {
	found := *v.Found
	if v.Err != nil && found.Hash != floor.Hash {
		head, err := checkAnyOperator(key, v.token)
		if err != nil {
			return floor
		}
		found.Head = head
	}
	return RaiseFloor(floor, &found, stamp, c.Now())
}

// checkAnyOperator verifies what is stored for an account, whichever operator has signed it.
func checkAnyOperator(key string, token []byte) (trust.Head, error) {
	head, err := trust.Operators(nil).Check(key, bytes.TrimSpace(token))
	if err == nil && !trust.IsOperatorKey(head.Issuer) {
		err = ErrBadIssuer
	}
	return head, err
}

// checkClock warns if this server's clock is behind what was accepted.
func (c *catalog) checkClock(key string, floor jwtstore.Floor) {
	if now := c.Now(); isAhead(floor.IssuedAt, now) {
		c.clockLog.Warn(fmt.Sprintf("%s - this server's clock is wrong: it shows %s, but a JWT "+
			"that was accepted before was issued at %s; newer ones are refused "+
			"until the clock is right",
			logging.ShortKey(key), logging.Time(now),
			logging.Time(time.Unix(floor.IssuedAt, 0))))
	}
}

// recordStored records that an offer is on stable storage now.
func (c *catalog) recordStored(o *offer, seq uint64) *Account {
	v := &Verdict[*Account]{
		Found: o.tagged(),
		mark:  o.trust.mark,
		stamp: jwtstore.CommitStamp(seq),
		token: o.JWT,
	}
	// A bucket has many accounts for which no client of this server asks.
	if !o.from.ByRevision() || c.verdicts.get(o.Key) != nil {
		c.verdicts.put(o.Key, v)
	}
	return v.Found
}

// versionOf is what the index keeps of a verdict. Of a JWT that is not served it keeps which key
// has signed it: that key may be trusted later.
func versionOf(v *Verdict[*Account], floor jwtstore.Floor) jwtstore.Version {
	head := v.Found.Head
	if v.Err != nil {
		head.Issuer = trust.Issuer(v.token)
	}
	return jwtstore.Version{
		Stamp:    v.stamp,
		Hash:     v.Found.Hash,
		IssuedAt: v.Found.IssuedAt,
		Expires:  v.Found.Expires,
		Mark:     v.mark,
		Servable: v.Err == nil,
		Floor:    floor,
		Summary:  jwtstore.NewSummary(head),
	}
}
