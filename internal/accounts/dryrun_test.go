package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/accounts/accountstest"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// dryRun is a dry run of a push.
func (e *testEnv) dryRun(
	t *testing.T, key string, token []byte, only accounts.Precondition,
) *accounts.Trial {
	t.Helper()
	trial, err := e.registry.DryRun(context.Background(), key, token, byHTTP, only)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

// refusing are the rules that refuse the JWT of a trial.
func refusing(trial *accounts.Trial) (rules []string) {
	for _, r := range trial.Rules {
		if r.Refused != nil {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

// skipped are the rules that were not asked.
func skipped(trial *accounts.Trial) (rules []string) {
	for _, r := range trial.Rules {
		if r.Skipped {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

func TestADryRunTellsAllFaultsAtOnce(t *testing.T) {
	e := newEnv(t)
	a, stranger := jwttest.NewAccount(t), jwttest.NewOperator(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	e.announcer.maxPayload = 100
	bad := jwttest.Sign(t, stranger.Key, a, e.now.Add(-time.Hour), func(c *jwt.AccountClaims) {
		c.Expires = e.now.Add(-time.Minute).Unix()
		c.Exports.Add(&jwt.Export{Subject: "a b", Type: jwt.Stream})
	})
	trial := e.dryRun(t, a.ID, bad, accounts.Precondition{NoneMatch: []string{accounts.AnyETag}})
	want := []string{"issuer", "size", "unchanged", "newer", "claims"}
	if got := refusing(trial); !slices.Equal(got, want) || skipped(trial) != nil {
		t.Errorf("refused by %q, want %q; not asked: %q", got, want, skipped(trial))
	}
	if !errors.Is(trial.Refused, accounts.ErrUntrusted) {
		t.Errorf("a push would get %v", trial.Refused)
	}
	blocked, _ := errors.AsType[*accounts.BlockedError](trial.Rules[9].Refused)
	if blocked == nil || len(blocked.Issues) != 2 {
		t.Errorf("issues of the claims: %v", trial.Rules[9])
	}
}

// A rule that can't be asked is not one that is passed.
func TestADryRunTellsWhatItCouldNotAsk(t *testing.T) {
	e := newEnv(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	good := e.signed(t, a, 0)
	for name, c := range map[string]struct {
		token              []byte
		refusing, skipping string
	}{
		"no JWT": {[]byte("garbage"), "jwt",
			"account issuer epoch size clock unchanged newer signature claims spelling"},
		"another account's":  {e.signed(t, b, 0), "account", "unchanged newer"},
		"a broken signature": {jwttest.Flip(good), "signature", "claims spelling"},
	} {
		trial := e.dryRun(t, a.ID, c.token, accounts.Precondition{})
		got, not := strings.Join(refusing(trial), " "), strings.Join(skipped(trial), " ")
		if got != c.refusing || not != c.skipping {
			t.Errorf("%s: refused by %q, not asked: %q", name, got, not)
		}
	}
}

// offers are pushes of an account of which stored is there, and of others.
func (e *testEnv) offers(t *testing.T, a *jwttest.Account, stored []byte) map[string][]byte {
	b, stranger := jwttest.NewAccount(t), jwttest.NewOperator(t)
	edit := func(c *jwt.AccountClaims) { c.Description = "edited" }
	return map[string][]byte{
		"the same":        stored,
		"a newer one":     e.signed(t, a, time.Second),
		"an older one":    e.signed(t, a, -time.Hour),
		"from the future": e.signed(t, a, time.Hour),
		"of its second":   e.signed(t, a, 0, edit),
		"before 1970":     jwttest.Sign(t, e.op.Signing, a, time.Unix(-5, 0)),
		"another's":       e.signed(t, b, 0),
		"nothing":         nil,
		"garbage":         []byte("garbage"),
		"damaged":         jwttest.Flip(e.signed(t, a, 5*time.Second)),
		"by a stranger":   jwttest.Sign(t, stranger.Key, a, e.now),
		"by itself":       jwttest.Sign(t, a.Key, a, e.now),
		"expired": e.signed(t, a, 7*time.Second, func(c *jwt.AccountClaims) {
			c.Expires = e.now.Add(-time.Hour).Unix()
		}),
		"refused by some": e.signed(t, a, 9*time.Second, func(c *jwt.AccountClaims) {
			c.Mappings = jwt.Mapping{"a.>.b": {{Subject: "c", Weight: 100}}}
		}),
	}
}

// The verdict is that of the push which follows, and until then nothing has happened.
func TestADryRunSaysWhatAPushWouldGetAndDoesNothing(t *testing.T) {
	for _, name := range []string{
		"the same", "a newer one", "an older one", "from the future", "of its second", "before 1970",
		"another's", "nothing", "garbage", "damaged", "by a stranger", "by itself", "expired",
		"refused by some",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := jwttest.NewAccount(t)
			stored := e.signed(t, a, 0)
			e.mustPush(t, a.ID, stored)
			token := e.offers(t, a, stored)[name]
			index, told, events, log := e.store.Index().Changes(), e.announcer.count(), len(e.events),
				e.log.String()
			trial := e.dryRun(t, a.ID, token, accounts.Precondition{})
			if e.store.Index().Changes() != index || !bytes.Equal(e.stored(t, a.ID), stored) ||
				e.announcer.count() != told || len(e.events) != events || e.log.String() != log ||
				len(e.store.Outbox().Pending()) != 1 {
				t.Error("something has happened", e.log)
			}
			result, err := e.push(a.ID, token)
			if (err == nil) != (trial.Refused == nil) || err != nil && err.Error() != trial.Refused.Error() {
				t.Errorf("the dry run says %v, the push %v", trial.Refused, err)
			}
			if err == nil && result.Changed == trial.Same {
				t.Errorf("the dry run says %v, the push has changed it: %v", trial.Same, result.Changed)
			}
			if trial.Claims != nil && trial.Refused == nil && !trial.Same {
				if got := result.Account.Claims(); got.ID != trial.Claims.ID {
					t.Errorf("the claims are those of %s", got.ID)
				}
			}
		})
	}
}

// What lies in the store by hand is a floor from the first refusal on, and not from a dry run on.
func TestADryRunRaisesNoFloor(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.signed(t, a, 0))
	before := e.store.Index().Changes()
	trial := e.dryRun(t, a.ID, e.signed(t, a, -time.Hour), accounts.Precondition{})
	if e.store.Index().Changes() != before || !slices.Equal(refusing(trial), []string{"newer"}) {
		t.Errorf("%d changes of the index, %v", e.store.Index().Changes()-before, trial.Refused)
	}
}

// TestADryRunComparesWithWhatIsNotServed either: a JWT whose signer is not trusted any more is stored, and a
// damaged one is no empty account.
func TestADryRunComparesWithWhatIsNotServed(t *testing.T) {
	e := newEnv(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	foreign := jwttest.Sign(t, jwttest.NewOperator(t).Key, a, e.now.Add(-time.Minute))
	e.plant(t, a.ID, foreign)
	e.plant(t, b.ID, jwttest.Flip(e.signed(t, b, -time.Minute)))
	trial := e.dryRun(t, a.ID, e.signed(t, a, 0), accounts.Precondition{})
	if trial.Refused != nil || trial.Stored == nil || trial.StoredClaims == nil ||
		trial.Stored.IssuedAt == 0 {
		t.Errorf("untrusted: %v %+v %v", trial.Refused, trial.Stored, trial.StoredClaims)
	}
	trial = e.dryRun(t, b.ID, e.signed(t, b, 0), accounts.Precondition{})
	if trial.Refused != nil || trial.Stored == nil || trial.Stored.ETag == "" || trial.StoredClaims != nil {
		t.Errorf("damaged: %v %+v %v", trial.Refused, trial.Stored, trial.StoredClaims)
	}
}

func TestADryRunOfAStoreThatCannotBeReadSaysSo(t *testing.T) {
	e := newEnv(t)
	e.committer.putErr = nil
	bad := accounts.New(e.options(t, func(o *accounts.Options) {
		o.Committer = failing{o.Committer}
	}))
	a := jwttest.NewAccount(t)
	_, err := bad.DryRun(t.Context(), a.ID, e.signed(t, a, 0), byHTTP, accounts.Precondition{})
	wantError(t, err, accounts.ErrUnreadable)
}

// TestADryRunFailsAsAPushDoes if no commit can be made that several servers share.
func TestADryRunFailsAsAPushDoes(t *testing.T) {
	e := newEnv(t)
	want := &accounts.CommitError{Outcome: accounts.NotStored, Why: "not connected"}
	bad := accounts.New(e.options(t, func(o *accounts.Options) {
		o.Committer = away{o.Committer, want}
	}))
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	_, pushed := bad.PutIf(t.Context(), a.ID, token, byHTTP, accounts.Precondition{})
	_, tried := bad.DryRun(t.Context(), a.ID, token, byHTTP, accounts.Precondition{})
	if !errors.Is(tried, want) || tried.Error() != pushed.Error() {
		t.Errorf("%v\nwant %v", tried, pushed)
	}
}

// away is a Committer that can't commit.
type away struct {
	accounts.Committer
	err error
}

func (c away) Put(
	context.Context, string, string, []byte, func(jwtstore.Stored) (jwtstore.Version, error),
) (uint64, error) {
	return 0, c.err
}

// failing is a Committer that can't read what is stored.
type failing struct{ accounts.Committer }

func (failing) Put(
	context.Context, string, string, []byte, func(jwtstore.Stored) (jwtstore.Version, error),
) (uint64, error) {
	return 0, errFull
}

func TestADryRunShowsWhatTheSigningServiceWouldGet(t *testing.T) {
	s := &signer{}
	e := newEnv(t, func(o *accounts.Options) { o.Signer = s })
	a := jwttest.NewAccount(t)
	trial := e.dryRun(t, a.ID, jwttest.Sign(t, a.Key, a, e.now), accounts.Precondition{})
	if !trial.Signing || trial.Refused != nil || s.asked != 0 {
		t.Errorf("%+v, the service was asked %d times", trial, s.asked)
	}
}

func TestAPushForAnotherStateIsRefused(t *testing.T) {
	some := []string{accounts.AnyETag}
	for _, c := range []struct {
		name     string
		isStored bool
		only     func(etag string) accounts.Precondition
		taken    bool
	}{
		{"it is still that one", true, match, true},
		{"it is another one", true, func(string) accounts.Precondition { return match(`"x"`) }, false},
		{"one of several", true, func(etag string) accounts.Precondition {
			return accounts.Precondition{Match: []string{`"x"`, etag}}
		}, true},
		{"none can be meant", true, func(string) accounts.Precondition {
			return accounts.Precondition{Match: []string{}}
		}, false},
		{"any", true, func(string) accounts.Precondition { return accounts.Precondition{Match: some} }, true},
		{"any, and there is none", false,
			func(string) accounts.Precondition { return accounts.Precondition{Match: some} }, false},
		{"a certain one, and there is none", false,
			func(string) accounts.Precondition { return match(`"x"`) }, false},
		{"only if new, and it is", false,
			func(string) accounts.Precondition { return accounts.Precondition{NoneMatch: some} }, true},
		{"only if new, and it is not", true,
			func(string) accounts.Precondition { return accounts.Precondition{NoneMatch: some} }, false},
		{"not this one, and it is", true,
			func(etag string) accounts.Precondition {
				return accounts.Precondition{NoneMatch: []string{etag}}
			}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			a, etag := jwttest.NewAccount(t), ""
			if c.isStored {
				result, err := e.push(a.ID, e.signed(t, a, 0))
				if err != nil {
					t.Fatal(err)
				}
				etag = result.Account.ETag
			}
			token, only := e.signed(t, a, time.Second), c.only(etag)
			trial := e.dryRun(t, a.ID, token, only)
			_, err := e.registry.PutIf(t.Context(), a.ID, token, byHTTP, only)
			if (err == nil) != c.taken || (trial.Refused == nil) != c.taken || etagOf(trial.Stored) != etag {
				t.Errorf("push: %v, dry run: %v, compared with %q", err, trial.Refused, etagOf(trial.Stored))
			}
			if !c.taken {
				wantError(t, err, new(accounts.ChangedError))
				return
			}
			// Its answer may have been lost.
			if _, err := e.registry.PutIf(t.Context(), a.ID, token, byHTTP, only); err != nil {
				t.Errorf("the same once more: %v", err)
			}
		})
	}
}

// etagOf returns the ETag of a stored JWT, "" if there is none.
func etagOf(a *accounts.Account) string {
	if a == nil {
		return ""
	}
	return a.ETag
}

// match is the condition that this JWT is stored.
func match(etag string) accounts.Precondition { return accounts.Precondition{Match: []string{etag}} }

// Of two pushes that were made from the same version, one is taken.
func TestTwoPushesFromTheSameVersion(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	first, err := e.push(a.ID, e.signed(t, a, 0))
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for i := range 8 {
		token := e.signed(t, a, time.Second, func(c *jwt.AccountClaims) { c.Name = string(rune('a' + i)) })
		go func() {
			_, err := e.registry.PutIf(context.Background(), a.ID, token, byHTTP, match(first.Account.ETag))
			errs <- err
		}()
	}
	taken := 0
	for range 8 {
		if err := <-errs; err == nil {
			taken++
		} else if !accountstest.IsError(err, new(accounts.ChangedError)) {
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("%d were taken", taken)
	}
}

// The JWT of the system account that the configuration has is what a client has read.
func TestThePreconditionSeesTheConfiguredSystemAccount(t *testing.T) {
	e := newEnv(t)
	both, token := e.withSystem(t)
	e.registry.SetTrust(both)
	edited := e.signed(t, e.op.System, time.Second)
	trial := e.dryRun(t, e.op.System.ID, edited, match(both.System.ETag))
	stored := etagOf(trial.Stored)
	if trial.Refused != nil || stored != both.System.ETag || trial.StoredClaims == nil {
		t.Errorf("%v, compared with %q; the configuration has %s", trial.Refused, stored, token)
	}
}
