package resolver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// Every kind of JWT is sent on every subject.
func TestUpdatesFromNATSAreVerifiedLikeAPOST(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	for _, subject := range updateSubjects("%s") {
		offerEveryKind(t, srv, subject)
	}
	n := 0
	for range srv.store.Index().All() {
		n++
	}
	if n != 6 {
		t.Errorf("%d accounts are stored", n)
	}
}

// offerEveryKind sends every kind of JWT on one subject. It may contain %s for the account's key.
func offerEveryKind(t *testing.T, srv *accountServer, subject string) {
	a, other, op := jwttest.NewAccount(t), jwttest.NewAccount(t), srv.op
	stranger := jwttest.NewOperator(t)
	_, user := a.User(t)
	now := time.Now()
	first, newer := srv.signed(t, a, 100), srv.signed(t, a, 50)
	expired := srv.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Expires = now.Unix() - 10 })
	v1 := jwttest.EncodeRaw(t, op.Key, `{"typ":"jwt","alg":"ed25519"}`, fmt.Appendf(nil, `{
		"jti":"x","iat":1600000000,"iss":%q,"name":"old","sub":%q,"type":"account",
		"nats":{"limits":{"subs":-1,"conn":-1,"leaf":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,
		"wildcards":true}}}`, op.ID, other.ID), false)
	named := strings.Contains(subject, "%s")
	for _, c := range []struct {
		name, key string
		token     []byte
		stored    []byte // afterwards; nil: not checked
		refused   string // "": the JWT is stored
		unnamed   string // like refused, on a subject without a key; "": the same
	}{
		{"a good one", a.ID, first, first, "", ""},
		{"the same again", a.ID, first, first, "", ""},
		{"a newer one and a line feed", a.ID, append(bytes.Clone(newer), '\n'), newer, "", ""},
		{"an older one", a.ID, first, newer, "a newer JWT is stored", ""},
		{"another operator's", a.ID, jwttest.Sign(t, stranger.Signing, a, now), newer,
			"untrusted issuer", ""},
		{"the system account's, from another operator", op.System.ID,
			jwttest.Sign(t, stranger.Signing, op.System, now), nil, "untrusted issuer", ""},
		{"one that the account signed itself", a.ID, jwttest.Sign(t, a.Key, a, now), newer,
			"the account signed it itself", ""},
		{"one that another account signed", a.ID, jwttest.Sign(t, other.Key, a, now), newer,
			"another account signed it", ""},
		{"one with a broken signature", a.ID, jwttest.Flip(srv.signed(t, a, 0)),
			newer, "bad JWT", ""},
		{"an expired one", a.ID, expired, newer, "expired", ""},
		{"one from the future", a.ID, srv.signed(t, a, -3600), newer,
			"ahead of this server's clock", ""},
		// Without a key in the subject it is not known which account these are of.
		{"a user's", a.ID, srv.signed(t, &jwttest.Account{ID: user}, 0), newer,
			"pub keys don't match", "bad JWT Subject"},
		{"an operator's", a.ID, []byte(op.Token(t)), newer, "bad JWT", "bad JWT Subject"},
		{"garbage", a.ID, []byte("x.y.z"), newer, "bad JWT", "bad JWT Subject"},
		{"nothing", a.ID, nil, newer, "bad JWT", "bad JWT Subject"},
		{"half a megabyte", a.ID, bytes.Repeat([]byte("A"), 1<<19), newer,
			"bad JWT", "bad JWT Subject"},
		{"a wildcard in the subject", "foo", srv.signed(t, other, 0), nil, "bad JWT Subject", ""},
		{"an old format", other.ID, v1, v1, "", ""},
	} {
		to, refused := subject, c.refused
		if named {
			to = fmt.Sprintf(subject, c.key)
		} else if c.name == "a wildcard in the subject" {
			continue
		} else if c.refused == "untrusted issuer" {
			continue // no answer, see TestWhatAnotherOperatorSignedIsLeftToItsNATSServers
		} else if c.unnamed != "" {
			refused = c.unnamed
		}
		if got := srv.request(t, to, c.token); !got.isUpdate(c.key, refused) {
			t.Errorf("%s on %s: %s %+v", c.name, to, got.Data, got.Error)
		}
		if c.stored != nil && !srv.has(c.key, c.stored) {
			t.Errorf("%s on %s: it is not what is stored", c.name, to)
		}
	}
}

// isUpdate reports whether the response is to an update of the account. refused is why that was
// refused, "" if it was not.
func (r response) isUpdate(key, refused string) bool {
	if refused == "" {
		text := string(r.Data)
		return r.Error == nil && strings.Contains(text, `"jwt updated"`) &&
			strings.Contains(text, key)
	}
	return r.Data == nil && r.refusedFor("jwt update resulted in error - ") &&
		r.refusedFor(refused) &&
		r.Error.Code == 500
}

func TestTheSubjectAndTheClaimsMustAgree(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	got := srv.request(t, "$SYS.REQ.ACCOUNT."+other.ID+".CLAIMS.UPDATE", srv.signed(t, a, 0))
	if !got.refusedFor("pub keys don't match") || got.Error.Account != other.ID {
		t.Errorf("answer: %+v", got.Error)
	}
	if _, err := srv.registry.GetLocal(t.Context(), a.ID); err == nil {
		t.Error("it is stored")
	}
}

func TestHeadersAreTolerated(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a := jwttest.NewAccount(t)
	token := srv.signed(t, a, 0)
	m := &nats.Msg{Subject: "$SYS.REQ.CLAIMS.UPDATE", Data: token,
		Header: nats.Header{"Nats-Request-Info": {`{"acc":"x"}`}}}
	if _, err := srv.nc.RequestMsg(m, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	srv.eventuallyHas(t, a.ID, token)
}

func TestALookupIsAnsweredAtOnceIfTheAccountIsStoredAndOtherwiseAfterADelay(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a := jwttest.NewAccount(t)
	token := srv.signed(t, a, 0)
	srv.push(t, a.ID, token)
	m, err := srv.nc.Request("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", nil, 20*time.Second)
	if err != nil || !bytes.Equal(m.Data, token) {
		t.Fatalf("%v, %v", m, err)
	}
	srv.answersNothing(t) // the first lookup may have had to wait for the first comparison
	began := time.Now()
	srv.answersNothing(t)
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("the answer came after %s", d)
	}
}

// answersNothing looks up an unknown account.
func (srv *accountServer) answersNothing(t *testing.T) {
	t.Helper()
	subject := "$SYS.REQ.ACCOUNT." + jwttest.NewAccount(t).ID + ".CLAIMS.LOOKUP"
	m, err := srv.nc.Request(subject, nil, 10*time.Second)
	if err != nil || len(m.Data) > 0 {
		t.Fatalf("%v, %v", m, err)
	}
}

// Another server may have the account.
func TestNoLookupIsAnsweredEmptyBeforeTheFirstComparison(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	a := jwttest.NewAccount(t)
	token := env.signed(t, a, 0)
	// The other server takes a second.
	if _, err := env.nc.QueueSubscribe("$SYS.REQ.CLAIMS.PACK", "responder", func(m *nats.Msg) {
		time.AfterFunc(time.Second, func() {
			_ = env.nc.Publish(m.Reply, []byte(packLine(a, token)))
			_ = env.nc.Publish(m.Reply, nil)
		})
	}); err != nil {
		t.Fatal(err)
	}
	env.nc.Flush()
	srv := startServer(t, env)
	m, err := srv.nc.Request("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", nil, 10*time.Second)
	if err != nil || !bytes.Equal(m.Data, token) {
		t.Errorf("%v, %v", m, err)
	}
}

func TestAPackIsWhatIsStored(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a, b, expiring := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second := srv.signed(t, a, 0), srv.signed(t, b, 0)
	if lines := srv.pack(t, make([]byte, 32)); len(lines) != 0 {
		t.Errorf("an empty store has %q", lines)
	}
	srv.push(t, a.ID, srv.signed(t, a, 10))
	srv.push(t, a.ID, first)
	srv.push(t, b.ID, second)
	dying := srv.signed(t, expiring, 10)
	srv.push(t, expiring.ID, dying)
	want := []string{packLine(a, first), packLine(b, second), packLine(expiring, dying)}
	slices.Sort(want)
	if lines := srv.pack(t, nil); !slices.Equal(lines, want) {
		t.Errorf("the pack is %q", lines)
	}
	if lines := srv.pack(t, digestOf(first, second, dying)); len(lines) != 0 {
		t.Errorf("the same store gets %q", lines)
	}
	natstest.Eventually(t, "one is taken that expires soon", func() bool {
		ends := time.Now().Add(2 * time.Second)
		dying = srv.signed(t, expiring, 0, func(c *jwt.AccountClaims) { c.Expires = ends.Unix() })
		_, err := srv.registry.Put(t.Context(), expiring.ID, dying, sourceHTTP)
		return err == nil
	})
	natstest.Eventually(t, "it has expired", func() bool {
		return len(srv.pack(t, digestOf(first, second))) == 0
	})
	if lines := srv.pack(t, []byte("short")); len(lines) != 2 {
		t.Errorf("with what has expired: %q", lines)
	}
}

func TestPackLinesAreVerifiedAndStrayOnesDoNoHarm(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	good, bad, missing := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := env.signed(t, good, 0)
	lines := strings.Join([]string{
		"OP|" + env.op.Token(t),
		"",
		bad.ID,
		bad.ID + "|this is not a jwt",
		packLine(bad, jwttest.NewOperator(t).Account(t, bad)),
		packLine(missing, token),
		"../../x|owned",
		bad.ID + "|a|b",
		packLine(good, token),
		"\x00\xff",
		"*|" + string(token),
	}, "\n")
	asked := make(chan struct{}, 10)
	if _, err := env.nc.QueueSubscribe("$SYS.REQ.CLAIMS.PACK", "responder", func(m *nats.Msg) {
		_ = env.nc.Publish(m.Reply, []byte(lines))
		_ = env.nc.Publish(m.Reply, nil)
		asked <- struct{}{}
	}); err != nil {
		t.Fatal(err)
	}
	env.nc.Flush()
	srv := startServer(t, env)
	<-asked
	srv.eventuallyHas(t, good.ID, token)
	natstest.Eventually(t, "it logs what is refused", func() bool {
		return srv.log.Count("another server's accounts are refused: ") == 1
	})
	for key := range srv.store.Index().All() {
		if key != good.ID {
			t.Errorf("stored: %s", key)
		}
	}
}

func TestTheListIsOfWhatIsStored(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	srv.push(t, a.ID, srv.signed(t, a, 0))
	srv.push(t, b.ID, srv.signed(t, b, 0))
	var keys []string
	if err := json.Unmarshal(srv.request(t, "$SYS.REQ.CLAIMS.LIST", nil).Data, &keys); err != nil {
		t.Fatal(err)
	}
	want := []string{a.ID, b.ID}
	if slices.Sort(want); !slices.Equal(keys, want) {
		t.Errorf("the list is %q", keys)
	}
}

// Each lacks JWTs that the other one has.
func TestTwoServersAgreeAndThenAnnounceNothing(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	one, two := newServer(t, env, jwtstore.NewMemory(true)),
		newServer(t, env, jwtstore.NewMemory(true))
	newest := map[string][]byte{}
	for i := range 20 {
		a := jwttest.NewAccount(t)
		older, newer := env.signed(t, a, 100), env.signed(t, a, 50)
		for j, srv := range []*accountServer{one, two} {
			switch (i + j) % 3 {
			case 0:
				srv.push(t, a.ID, newer)
				newest[a.ID] = newer
			case 1:
				srv.push(t, a.ID, older)
				if newest[a.ID] == nil {
					newest[a.ID] = older
				}
			}
		}
	}
	one.connect(t)
	two.connect(t)
	for key, token := range newest {
		one.eventuallyHas(t, key, token)
		two.eventuallyHas(t, key, token)
	}
	if one.registry.Digest() != two.registry.Digest() {
		t.Error("their digests differ")
	}
	env.wantQuiet(t)
}

// wantQuiet waits until servers exchange nothing about accounts for some time.
func (env *environment) wantQuiet(t *testing.T) {
	t.Helper()
	eventuallyQuiet(t, env.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE"),
		env.count(t, "$SYS.REQ.CLAIMS.PACK"))
}

// quietTime is longer than the pauses between what may follow: early comparisons, and second
// announcements.
const quietTime = 4 * time.Second

// eventuallyQuiet waits until no counter changes for quietTime.
func eventuallyQuiet(t *testing.T, counters ...*atomic.Int64) {
	t.Helper()
	last, since := int64(-1), time.Now()
	natstest.Eventually(t, "no more messages come", func() bool {
		n := int64(0)
		for _, c := range counters {
			n += c.Load()
		}
		if n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > quietTime
	})
}

// Neither server is left on an older JWT.
func TestConcurrentPushesThroughTwoServersMakeNoStorm(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	one, two := startServer(t, env), startServer(t, env)
	updates := env.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE")
	const rounds = 10
	type pair struct {
		key   string
		newer []byte // nil: either may win
	}
	var pairs []pair
	var pushes sync.WaitGroup
	for i := range rounds {
		a := jwttest.NewAccount(t)
		p := pair{key: a.ID}
		older := env.signed(t, a, 20)
		other := env.signed(t, a, 20, func(c *jwt.AccountClaims) { c.Name = "other" })
		if i%2 == 0 {
			other = env.signed(t, a, 10)
			p.newer = other
		}
		pairs = append(pairs, p)
		for srv, token := range map[*accountServer][]byte{one: older, two: other} {
			pushes.Go(func() {
				// An error means that the newer one was faster.
				_, _ = srv.registry.Put(t.Context(), a.ID, token, sourceHTTP)
			})
		}
	}
	pushes.Wait()
	for _, p := range pairs {
		natstest.Eventually(t, "both have the same, and nothing is pending", func() bool {
			a, _ := one.registry.GetLocal(t.Context(), p.key)
			b, _ := two.registry.GetLocal(t.Context(), p.key)
			return a != nil && b != nil && bytes.Equal(a.JWT, b.JWT) &&
				(p.newer == nil || bytes.Equal(a.JWT, p.newer)) &&
				one.nothingPending(p.key) && two.nothingPending(p.key)
		})
	}
	env.wantQuiet(t)
	if n := updates.Load(); n > rounds*8 {
		t.Errorf("%d pushes made %d updates", 2*rounds, n)
	}
}
