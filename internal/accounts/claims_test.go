package accounts_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// badMapping is what only nats-servers with a full or cache resolver refuse.
func badMapping(c *jwt.AccountClaims) {
	c.Mappings["a.*"] = []jwt.WeightedMapping{{Subject: "b.$2"}}
}

// badExports is what every nats-server refuses.
func badExports(c *jwt.AccountClaims) {
	c.Exports.Add(&jwt.Export{Subject: "a", Type: jwt.Stream},
		&jwt.Export{Subject: "a", Type: jwt.Stream})
}

// nullExport is at what the jwt library panics, since the account has a limit of exports.
func nullExport(c *jwt.AccountClaims) {
	c.Exports = jwt.Exports{nil}
	c.Limits.Exports, c.Limits.WildcardExports = 1, false
}

const (
	mappingReason = `mapping "a.*" -> "b.$2": ` +
		`invalid mapping destination: wildcard index out of range in $2: [2]`
	exportsReason = `stream export subject "a" already exports "a"`
)

// TestWhatNatsServerRefusesIsRefused, or taken with a warning, as it comes in.
func TestWhatNatsServerRefusesIsRefused(t *testing.T) {
	expired := func(c *jwt.AccountClaims) { badMapping(c); c.Expires = 1 }
	type verdict int
	const (
		refused verdict = iota
		warned
	)
	for _, c := range []struct {
		name   string
		from   accounts.Origin
		isWarn bool // claimchecks: warn
		edit   func(*jwt.AccountClaims)
		reason string
		want   verdict
	}{
		{"posted", byHTTP, false, badMapping, mappingReason, refused},
		{"posted, bad for all", byHTTP, false, badExports, exportsReason, refused},
		{"posted, a null export", byHTTP, false, nullExport, "null export is not allowed", refused},
		{"an update", byUpdate, false, badMapping, mappingReason, refused},
		// Nats-servers may run it.
		{"announced by another account server", byOutbox, false, badMapping, mappingReason, warned},
		{"in a pack", fromPeer, false, badMapping, mappingReason, warned},
		{"of the primary", accounts.FromPrimary, false, badMapping, mappingReason, warned},
		{"in a pack, bad for all", fromPeer, false, badExports, exportsReason, refused},
		{"of the primary, bad for all", accounts.FromPrimary, false, badExports,
			exportsReason, refused},
		{"a file", fromFile, false, badMapping, mappingReason, warned},
		{"a file, bad for all", fromFile, false, badExports, exportsReason, warned},
		{"a file that has expired", fromFile, false, expired, mappingReason, warned},
		{"posted, with warn", byHTTP, true, badMapping, mappingReason, warned},
		{"posted with warn, bad for all", byHTTP, true, badExports, exportsReason, warned},
		{"in a pack with warn, bad for all", fromPeer, true, badExports, exportsReason, warned},
		{"posted with warn, expired", byHTTP, true, expired, "claim is expired", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, a := newEnv(t), jwttest.NewAccount(t)
			now := e.trust(t, e.op)
			now.WarnOnly = c.isWarn
			e.registry.SetTrust(now)
			token := e.signed(t, a, 0, c.edit)
			result, err := e.registry.Put(t.Context(), a.ID, token, c.from)
			if c.want == refused {
				wantError(t, err, &accounts.BlockedError{})
				if err == nil || !strings.Contains(err.Error(), c.reason) ||
					e.stored(t, a.ID) != nil {
					t.Errorf("%v, %q is stored", err, e.stored(t, a.ID))
				}
				return
			}
			if err != nil || !strings.Contains(result.Warning, c.reason) ||
				e.stored(t, a.ID) == nil {
				t.Errorf("%v, warning %q, %q is stored", err, result.Warning, e.stored(t, a.ID))
			}
			e.logs(t, "[WRN]")
			e.logs(t, "nats-server 2.15 refuses it")
			e.logs(t, c.reason[:10])
		})
	}
}

// TestJetStreamIsNotForTheSystemAccount, whichever way this server knows which one that is.
func TestJetStreamIsNotForTheSystemAccount(t *testing.T) {
	jetStream := func(c *jwt.AccountClaims) { c.Limits.DiskStorage = -1 }
	e, other := newEnv(t), jwttest.NewAccount(t)
	e.mustPush(t, other.ID, e.signed(t, other, 0, jetStream))
	_, err := e.push(e.op.System.ID, e.signed(t, e.op.System, 0, jetStream))
	wantError(t, err, &accounts.BlockedError{})

	// Only the configuration names it.
	e.op.Claims.SystemAccount = ""
	both, _ := e.withSystem(t)
	e.registry.SetTrust(both)
	_, err = e.push(e.op.System.ID, e.signed(t, e.op.System, 0, jetStream))
	wantError(t, err, &accounts.BlockedError{})
	e.mustPush(t, e.op.System.ID, e.signed(t, e.op.System, 0))

	// The configuration has no more than its key.
	onlyKey := e.trust(t, e.op)
	onlyKey.SystemKey = e.op.System.ID
	e.registry.SetTrust(onlyKey)
	_, err = e.push(e.op.System.ID, e.signed(t, e.op.System, time.Second, jetStream))
	wantError(t, err, &accounts.BlockedError{})
}

// TestWhatIsStoredStaysServed although it would be refused now: an earlier version of this program
// has taken it. The same JWT is announced again, and the next one is checked.
func TestWhatIsStoredStaysServed(t *testing.T) {
	e, a := newEnv(t), jwttest.NewAccount(t)
	token := e.signed(t, a, -time.Hour, badMapping)
	e.plant(t, a.ID, token)
	served := func() {
		t.Helper()
		got, err := e.registry.Get(context.Background(), a.ID)
		if err != nil || string(got.JWT) != string(token) {
			t.Fatalf("%v, %v is served", err, got)
		}
	}
	served()
	if e.registry.Rescan(t.Context()) != nil || e.registry.Digest() == (accounts.Digest{}) {
		t.Error("it does not count")
	}
	told := e.announcer.count()
	e.mustPush(t, a.ID, token)
	if e.announcer.count() != told+1 {
		t.Error("the same JWT is not announced again")
	}
	_, err := e.push(a.ID, e.signed(t, a, 0, badMapping))
	wantError(t, err, &accounts.BlockedError{})
	served()
	e.mustPush(t, a.ID, e.signed(t, a, 0))
}

// TestWhatThePrimaryServesIsServed by a replica too, since some nats-servers use it. What no
// nats-server uses is served as long as nothing better is stored, and never stored.
func TestWhatThePrimaryServesIsServed(t *testing.T) {
	primary := &source{}
	e := following(t, primary, nil)
	for _, c := range []struct {
		name             string
		edit             func(*jwt.AccountClaims)
		hasOlder         bool // a good JWT is stored
		isServed, isKept bool
	}{
		{"bad for some, new", badMapping, false, true, true},
		{"bad for some", badMapping, true, true, true},
		{"bad for all, new", badExports, false, true, false},
		{"bad for all", badExports, true, false, false},
	} {
		a := jwttest.NewAccount(t)
		if c.hasOlder {
			e.mustPush(t, a.ID, e.signed(t, a, -time.Hour))
		}
		token := e.signed(t, a, 0, c.edit)
		primary.has(a.ID, token)
		got, err := e.registry.Refresh(t.Context(), a.ID, primary)
		isServed := got != nil && bytes.Equal(got.JWT, token)
		isKept := bytes.Equal(e.stored(t, a.ID), token)
		if err != nil || isServed != c.isServed || isKept != c.isKept {
			t.Errorf("%s: %v, served %v, kept %v", c.name, err, isServed, isKept)
		}
	}
}
