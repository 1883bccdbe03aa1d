package accounts_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
)

// TestEveryDecisionIsObservedOnce, with what was and what is offered.
func TestEveryDecisionIsObservedOnce(t *testing.T) {
	var seen events
	e := newEnv(t, func(o *accounts.Options) { o.Observer = &seen })
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	sign := func(at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, e.op.Key, a, at, edits...)
	}
	stored := sign(e.now)
	newer := sign(e.now.Add(time.Second))
	src := accounts.Origin{Kind: accounts.KindHTTP, Address: "192.0.2.1:1", User: "ops"}
	e.announcer.maxPayload = 100_000
	for _, c := range []struct {
		name           string
		registry       *accounts.Registry
		token          []byte
		result, reason string
	}{
		{"a new one", e.registry, stored, accounts.Accepted, ""},
		{"the same", e.registry, append(stored, '\n'), accounts.Unchanged, ""},
		{"a newer one", e.registry, newer, accounts.Accepted, ""},
		{"an older one", e.registry, stored, accounts.Refused, "older"},
		{"one from the future", e.registry, sign(e.now.Add(time.Hour)), accounts.Refused, "future"},
		{"a foreign one", e.registry, jwttest.NewOperator(t).Account(t, a), accounts.Refused,
			"untrusted"},
		{"one of its own", e.registry, jwttest.Sign(t, a.Key, a, e.now),
			accounts.Refused, "self-signed"},
		{"another account's", e.registry, jwttest.Sign(t, other.Key, a, e.now), accounts.Refused,
			"bad-issuer"},
		{"one for another", e.registry, jwttest.Sign(t, e.op.Key, other, e.now), accounts.Refused,
			"mismatch"},
		{"garbage", e.registry, []byte("x.y.z"), accounts.Refused, "bad-jwt"},
		{"a broken signature", e.registry, jwttest.Flip(sign(e.now.Add(2 * time.Second))),
			accounts.Refused, "bad-jwt"},
		{"an expired one", e.registry, sign(e.now.Add(time.Second),
			func(c *jwt.AccountClaims) { c.Expires = e.now.Add(-time.Minute).Unix() }),
			accounts.Refused, "expired"},
		{"one that is not valid yet", e.registry, sign(e.now.Add(time.Second),
			func(c *jwt.AccountClaims) { c.NotBefore = e.now.Add(time.Minute).Unix() }),
			accounts.Refused, "not-yet-valid"},
		{"one that expired before it was valid", e.registry, sign(e.now.Add(time.Second),
			func(c *jwt.AccountClaims) {
				c.Expires, c.NotBefore = e.now.Add(-time.Minute).Unix(),
					e.now.Add(time.Minute).Unix()
			}), accounts.Refused, "expired"},
		{"a huge one", e.registry, sign(e.now.Add(time.Second),
			func(c *jwt.AccountClaims) { c.Description = string(make([]byte, 100_000)) }),
			accounts.Refused, "too-large"},
		{"one for a full disk", accounts.New(accounts.Options{Store: e.store,
			Committer: &committer{Committer: e.store, putErr: errFull}, Announcer: e.announcer,
			Observer: &seen, Trust: e.trust(t, e.op)}), sign(e.now.Add(3 * time.Second)),
			accounts.Refused, "save-failed"},
	} {
		seen = nil
		_, _ = c.registry.Put(context.Background(), a.ID, c.token, src)
		if len(seen) != 1 {
			t.Errorf("%s: observed %v", c.name, seen)
			continue
		}
		v := seen[0]
		if v.Result != c.result || v.Reason != c.reason || v.Origin != src || v.Account != a.ID ||
			v.New == nil {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	seen = nil
	latest := sign(e.now.Add(4 * time.Second))
	if _, err := e.registry.Put(context.Background(), a.ID, latest, src); err != nil ||
		len(seen) != 1 {
		t.Fatal(err, seen)
	}
	v := seen[0]
	if v.Issuer != e.op.ID || *v.Old != version(t, newer) || *v.New != version(t, latest) {
		t.Errorf("%+v, old %+v, new %+v", v, v.Old, v.New)
	}
}

func version(t *testing.T, token []byte) logging.AuditVersion {
	claims, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(token)
	return logging.AuditVersion{JTI: claims.ID, IAT: claims.IssuedAt,
		Hash: hex.EncodeToString(sum[:]), Size: len(token)}
}

// TestRefuse reports what was refused before it came to Put. A path that is no account's is not
// repeated.
func TestRefuse(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.registry.Refuse("<script>", nil, byHTTP, "broken-off", errFull)
	e.registry.Refuse(a.ID, append(token, '\n'), byHTTP, "", accounts.ErrMismatch)
	if len(e.events) != 2 {
		t.Fatalf("observed %+v", e.events)
	}
	first, second := e.events[0], e.events[1]
	if first.Account != "" || first.Reason != "broken-off" || first.New != nil ||
		first.Result != accounts.Refused {
		t.Errorf("observed %+v", first)
	}
	if second.Account != a.ID || second.Reason != "mismatch" ||
		second.Issuer != e.op.Claims.SigningKeys[0] ||
		*second.New != version(t, token) {
		t.Errorf("observed %+v", second)
	}
	silent := accounts.New(e.options(t, func(o *accounts.Options) { o.Observer = nil }))
	silent.Refuse(a.ID, nil, byHTTP, "", errFull)
	if err := silent.Remove(t.Context(), a.ID, fromFile); err != nil {
		t.Error(err)
	}
}

// TestARefusedKeyIsInTheEvent as it was offered, unless it is the rest of an HTTP path.
func TestARefusedKeyIsInTheEvent(t *testing.T) {
	e := newEnv(t)
	_, key := jwttest.NewUser(t)
	token := e.signed(t, jwttest.NewAccount(t), 0)
	for _, c := range []struct {
		key, want string
		from      accounts.Origin
	}{
		{key, key, fromPeer},
		{"<script>", "<script>", fromPeer},
		{key, key, fromFile},
		{key, "", byHTTP},
		{"<script>", "", byHTTP},
	} {
		e.events = nil
		_, err := e.registry.Put(t.Context(), c.key, token, c.from)
		wantError(t, err, accounts.ErrMismatch)
		if len(e.events) != 1 || e.events[0].Account != c.want {
			t.Errorf("%s by %s: observed %+v", c.key, c.from.Kind, e.events)
		}
	}
}

// TestWhatIsNoAccountJWTIsNotQuoted in its event: only its hash and size are there.
func TestWhatIsNoAccountJWTIsNotQuoted(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	_, userID := jwttest.NewUser(t)
	user, err := jwt.NewUserClaims(userID).Encode(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.push(a.ID, []byte(user))
	wantError(t, err, accounts.ErrBadJWT)
	e.registry.Refuse(a.ID, []byte(user), byHTTP, "", accounts.ErrBadJWT)
	sum := sha256.Sum256([]byte(user))
	want := logging.AuditVersion{Hash: hex.EncodeToString(sum[:]), Size: len(user)}
	if len(e.events) != 2 {
		t.Fatalf("observed %+v", e.events)
	}
	for _, v := range e.events {
		if v.Issuer != "" || *v.New != want {
			t.Errorf("observed %+v, new %+v", v, v.New)
		}
	}
}

// TestADamagedJWTIsDescribed by its hash and its size: what it says can't be read.
func TestADamagedJWTIsDescribed(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, []byte("torn\n"))
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	sum := sha256.Sum256([]byte("torn"))
	want := logging.AuditVersion{Hash: hex.EncodeToString(sum[:]), Size: 5}
	if old := e.events[0].Old; old == nil || *old != want {
		t.Errorf("observed %+v, want %+v", old, want)
	}
	if v := (*accounts.Account)(nil).AuditVersion(); v != nil {
		t.Errorf("nothing is %+v", v)
	}
}

// TestSubjectOf says what a JWT claims, unverified.
func TestSubjectOf(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := jwttest.Flip(jwttest.NewOperator(t).Account(t, a))
	if got := accounts.SubjectOf(append(token, '\n')); got != a.ID {
		t.Errorf("got %q", got)
	}
	if got := accounts.SubjectOf([]byte("x")); got != "" {
		t.Errorf("got %q", got)
	}
}

// An event says in words what has changed. A JWT that was only issued anew has changed nothing.
func TestAChangeIsObservedInWords(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	for i, c := range []struct {
		name  string
		edit  func(*jwt.AccountClaims)
		words []string
		more  int
	}{
		{"a new one", func(*jwt.AccountClaims) {},
			[]string{`account "acc" ` + claimdiff.Key(a.ID) + " is new"}, 0},
		{"only issued anew", func(*jwt.AccountClaims) {}, nil, 0},
		{"a limit", func(c *jwt.AccountClaims) { c.Limits.Conn = 60 },
			[]string{"may open 60 connections, was unlimited"}, 0},
		{"very much at once", func(c *jwt.AccountClaims) {
			c.Limits.Conn = 60
			for i := range maxChanges + 5 {
				c.Exports.Add(&jwt.Export{Subject: jwt.Subject(strings.Repeat("x", 200) + strconv.Itoa(i)),
					Type: jwt.Stream})
			}
		}, make([]string, maxChanges), 5},
	} {
		e.mustPush(t, a.ID, e.signed(t, a, time.Duration(i)*time.Second, c.edit))
		got := e.events[len(e.events)-1]
		if len(got.Changes) != len(c.words) || got.More != c.more || got.Name != "acc" {
			t.Errorf("%s: %d changes, %d more: %+v", c.name, len(got.Changes), got.More, got)
			continue
		}
		for i, want := range c.words {
			if change := got.Changes[i]; want != "" && change.Words != want || len(change.Of) > 140 {
				t.Errorf("%s: %+v, want %q", c.name, change, want)
			}
		}
	}
	if _, err := e.push(a.ID, e.signed(t, a, -time.Hour)); err == nil {
		t.Fatal("an older one was taken")
	}
	if refused := e.events[len(e.events)-1]; refused.Changes != nil {
		t.Errorf("what was refused has changed %v", refused.Changes)
	}
}

// maxChanges is how many an event has at most.
const maxChanges = 20
