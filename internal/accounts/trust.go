package accounts

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// Trust is what JWTs are verified against. A reload replaces it as a whole; it is never changed.
type Trust struct {
	// Operators sign the accounts. If there are none only files are taken, and a JWT only has to be
	// consistent in itself to be served.
	Operators trust.Operators
	// System is served while the store lacks a good JWT of the system account; nil: none is
	// configured.
	System *Account
	// SystemKey is the system account of which only the public key is configured, "" if there is
	// none.
	SystemKey string
	// WarnOnly means that claims which nats-server refuses are taken, with a warning.
	WarnOnly bool

	// mark tells one set of keys that may sign accounts from another. What was judged under another
	// mark is judged again.
	mark uint64
}

// isSystem reports whether an account is the system account.
func (t *Trust) isSystem(key string) bool {
	return t.System != nil && t.System.Key == key || t.SystemKey == key ||
		t.Operators.NameSystemAccount(key)
}

// trusts reports whether an account JWT of this issuer counts. Without an operator each does that
// is consistent in itself.
func (t *Trust) trusts(issuer string) bool {
	return len(t.Operators) == 0 || t.Operators.Trusts(issuer)
}

// hasNewer reports whether the configuration has a JWT of the account that is not older than floor.
func (t *Trust) hasNewer(key string, floor jwtstore.Floor) bool {
	return t.System != nil && t.System.Key == key && t.System.IssuedAt >= floor.IssuedAt
}

// SetTrust replaces what JWTs are verified against. If an operator JWT is another one, every stored
// JWT is judged again when it is next asked for. If the JWT of the system account is another one,
// and is served, it is announced. At the start it is if it is newer than that of an earlier
// process.
func (r *Registry) SetTrust(t Trust) {
	hash := sha256.Sum256([]byte(strings.Join(t.Operators.Signers(), " ")))
	t.mark = binary.BigEndian.Uint64(hash[:])
	old := r.trust.Swap(&t)
	if t.System == nil {
		return
	}
	isNew := r.recordSystem(t.System)
	if old != nil { // a reload announces an older one too: that is what the file says now
		isNew = old.System == nil || old.System.Hash != t.System.Hash
	}
	r.announceSystem(t.System, isNew)
}

// recordSystem makes the configured JWT of the system account a floor, since it is served. It stays
// one when the configuration does not have it any more. It reports whether an older one was known
// before.
func (c *catalog) recordSystem(sys *Account) (isNewer bool) {
	for {
		had := c.index.Get(sys.Key)
		if sys.IssuedAt <= had.Floor.IssuedAt {
			return false
		}
		next := had
		next.Floor = RaiseFloor(had.Floor, sys, jwtstore.Stamp{}, c.Now())
		if c.index.Swap(sys.Key, had, next) {
			return had.Floor != jwtstore.Floor{}
		}
	}
}

// announceSystem announces the configured JWT of the system account if it is new, and warns if it
// is older than one that was accepted. One that is not served changes nothing.
func (c *catalog) announceSystem(configured *Account, isNew bool) {
	served, err := c.load(configured.Key)
	if err != nil || served.Hash != configured.Hash {
		return
	}
	if configured.IssuedAt < c.index.Get(configured.Key).Floor.IssuedAt {
		c.Log.Warn(fmt.Sprintf("%s - the configured JWT of the system account was issued at %s "+
			"and is older than one that was accepted before: it is served, since the store "+
			"has none; renew its file",
			logging.ShortKey(configured.Key),
			logging.Time(time.Unix(configured.IssuedAt, 0))))
	}
	if !isNew || !c.Announcer.IsConfigured() {
		return
	}
	c.Log.Info(logging.ShortKey(configured.Key) +
		" - the configured JWT of the system account is another one: it is announced")
	c.announcing.announceStored(configured.Key)
}

// Operators returns the operators that sign accounts now.
func (r *Registry) Operators() trust.Operators { return r.trust.Load().Operators }

// HasOperator reports whether an operator is configured.
func (r *Registry) HasOperator() bool { return len(r.trust.Load().Operators) > 0 }

// SystemAccounts returns the public keys of the system accounts: one for each operator that names
// it, and the configured one. A key that is configured alone counts if no operator names any. nil
// means that none is known.
func (r *Registry) SystemAccounts() []string {
	t := r.trust.Load()
	keys := t.Operators.SystemAccounts()
	switch {
	case t.System != nil && !slices.Contains(keys, t.System.Key):
		return append(keys, t.System.Key)
	case len(keys) == 0 && t.SystemKey != "":
		return []string{t.SystemKey}
	}
	return keys
}

// IsForeign reports whether another operator than ours has signed a JWT of any kind, as the JWT
// says. Without an operator no JWT is foreign.
func (r *Registry) IsForeign(token []byte) bool {
	ours := r.trust.Load().Operators
	issuer := trust.Issuer(bytes.TrimSpace(token))
	return len(ours) > 0 && trust.IsOperatorKey(issuer) && !ours.Trusts(issuer) &&
		!ours.RequireSigningKey(issuer)
}
