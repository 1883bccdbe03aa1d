package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// updated is what update has found.
type updated struct {
	had, now jwtstore.Version // of the index; the zero Version if nothing is stored
	token    []byte           // what is stored; nil if it was not read
}

// update brings the index up to date with what is stored for one account. What the index knows
// already is read only if read is set.
//
// It repeats until no other change has come between reading and writing the index. Each turn reads
// the store again. A JWT that is gone leaves the floor, so that an older one can't come back.
func (c *catalog) update(key string, read bool) (updated, error) {
	for {
		had, t := c.index.Get(key), c.trust.Load()
		known := had.Stamp
		if read || had.Mark != t.mark || lacksSummary(had) {
			known = jwtstore.Stamp{}
		}
		token, stamp, err := c.Store.Load(key, known)
		next := had
		switch {
		case errors.Is(err, fs.ErrNotExist):
			next = jwtstore.Version{Seq: had.Seq, Floor: had.Floor}
		case err != nil:
			return updated{}, err
		case token != nil:
			next = c.renewed(t, key, token, stamp, had)
		}
		if next == had || c.index.Swap(key, had, next) {
			c.checkClock(key, next.Floor)
			if c.isEdit(had, next) {
				c.announcing.announceEdited(key)
			}
			return updated{had, next, token}, nil
		}
	}
}

// isEdit reports whether a Version is served that was neither committed nor known before. While the
// index is filled, what it does not know is no edit.
func (c *catalog) isEdit(had, next jwtstore.Version) bool {
	return next.Servable && next.Hash != had.Hash && !next.Stamp.IsCommit() &&
		(had.Stored() || c.filled.Load())
}

// lacksSummary reports whether the index knows too little of a JWT that is served: an earlier
// version of this program has written that.
func lacksSummary(v jwtstore.Version) bool {
	return v.Servable && v.Summary == (jwtstore.Summary{})
}

// renewed describes what the store has returned, where the index had another Version. Bytes that
// the index knows are not verified again. had stays as it is if the bytes are the same and the
// trust still covers their issuer. t is the trust that the Version is marked with.
func (c *catalog) renewed(
	t *Trust, key string, token []byte, stamp jwtstore.Stamp, had jwtstore.Version,
) jwtstore.Version {
	isSame := had.Stored() && (had.Stamp == stamp || had.Hash == trust.HashOf(token))
	if isSame && (had.Mark == t.mark || had.Servable && t.trusts(had.Summary.Issuer)) {
		if had.Mark, had.Stamp = t.mark, stamp; lacksSummary(had) {
			head, _ := trust.Peek(bytes.TrimSpace(token)) // it was verified before
			had.Summary = jwtstore.NewSummary(head)
		}
		return had
	}
	found, _ := c.verdicts.Find(key, t.mark, token,
		func(token []byte) (*Account, error) { return c.check(t, key, token) })
	v := *found
	v.stamp = stamp
	// A change of the trust may concern very many: each is logged when it is asked for.
	if !had.Stored() || had.Mark == t.mark {
		c.verdicts.report(key, &v)
	}
	next := versionOf(&v, c.raised(had.Floor, key, &v, stamp))
	if next.Seq = had.Seq; next.Servable && next.IssuedAt < next.Floor.IssuedAt {
		c.Log.Warn(fmt.Sprintf("%s - the stored JWT was issued at %s and is older than one "+
			"that was accepted before: it is served, since it was put there by hand",
			logging.ShortKey(key), logging.Time(time.Unix(next.IssuedAt, 0))))
	}
	return next
}
