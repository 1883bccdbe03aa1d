package resolver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// It offers every kind of JWT on every subject.
func TestUpdatesFromNATSAreVerifiedLikeAPOST(t *testing.T) {
	t.Parallel()
	srv := startServer(t, newEnvironment(t))
	stranger := jwttest.NewOperator(t)
	for _, subject := range []string{"$SYS.ACCOUNT.%s.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.%s.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE"} {
		a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
		_, user := a.User(t)
		first, newer := srv.signed(t, a, 100), srv.signed(t, a, 50)
		v1 := jwttest.EncodeRaw(t, srv.op.Key, `{"typ":"jwt","alg":"ed25519"}`, []byte(`{"jti":"x","iat":1600000000,"iss":"`+srv.op.ID+
			`","name":"old","sub":"`+other.ID+`","type":"account","nats":{"limits":{"subs":-1,"conn":-1,"leaf":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,"wildcards":true}}}`), false)
		named := strings.Contains(subject, "%s")
		for _, c := range []struct {
			name, key string
			token     []byte
			stored    []byte // afterwards
			refused   string // "" = taken
		}{
			{"a good one", a.ID, first, first, ""},
			{"the same again", a.ID, first, first, ""},
			{"a newer one and a line feed", a.ID, append(bytes.Clone(newer), '\n'), newer, ""},
			{"an older one", a.ID, first, newer, "a newer JWT is stored"},
			{"another operator's", a.ID, jwttest.Sign(t, stranger.Signing, a, time.Now()), newer, "untrusted issuer"},
			{"the system account's, from another operator", srv.op.System.ID, jwttest.Sign(t, stranger.Signing, srv.op.System, time.Now()), nil, "untrusted issuer"},
			{"one that the account signed itself", a.ID, jwttest.Sign(t, a.Key, a, time.Now()), newer, "the account signed it itself"},
			{"one that another account signed", a.ID, jwttest.Sign(t, other.Key, a, time.Now()), newer, "another account signed it"},
			{"one with a broken signature", a.ID, jwttest.Flip(srv.signed(t, a, 0)), newer, "bad JWT"},
			{"an expired one", a.ID, srv.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() - 10 }), newer, "expired"},
			{"one from the future", a.ID, srv.signed(t, a, -3600), newer, "ahead of this server's clock"},
			{"a user's", a.ID, srv.signed(t, &jwttest.Account{ID: user}, 0), newer, ""},
			{"an operator's", a.ID, []byte(srv.op.Token(t)), newer, "bad JWT"},
			{"garbage", a.ID, []byte("x.y.z"), newer, "bad JWT"},
			{"nothing", a.ID, nil, newer, "bad JWT"},
			{"half a megabyte", a.ID, bytes.Repeat([]byte("A"), 1<<19), newer, "bad JWT"},
			{"a wildcard in the subject", "foo", srv.signed(t, other, 0), nil, "bad JWT Subject"},
			{"an old format", other.ID, v1, v1, ""},
		} {
			to, refused := subject, c.refused
			if named {
				to = fmt.Sprintf(subject, c.key)
			}
			switch {
			case c.name == "a wildcard in the subject" && !named:
				continue
			case c.name == "a user's" && named:
				refused = "pub keys don't match"
			case c.name == "a user's", !named && strings.Contains(refused, "bad JWT") && c.name != "one with a broken signature":
				refused = "bad JWT Subject" // nobody knows whose it is
			}
			got := srv.request(t, to, c.token)
			switch {
			case refused == "" && (got.Error != nil || !strings.Contains(string(got.Data), `"jwt updated"`) || !strings.Contains(string(got.Data), c.key)):
				t.Errorf("%s on %s: %s %+v", c.name, to, got.Data, got.Error)
			case refused != "" && (got.Error == nil || got.Data != nil || got.Error.Code != 500 || !strings.Contains(got.Error.Description, "jwt update resulted in error - ") ||
				!strings.Contains(got.Error.Description, refused)):
				t.Errorf("%s on %s: %s %+v", c.name, to, got.Data, got.Error)
			}
			if c.stored != nil && !srv.has(c.key, c.stored) {
				t.Errorf("%s on %s: it is not what is stored", c.name, to)
			}
		}
	}
	if n := len(slices.Collect(func(yield func(string) bool) {
		for key := range srv.store.Keys() {
			yield(key)
		}
	})); n != 6 {
		t.Errorf("%d accounts are stored", n)
	}
}

func TestTheSubjectAndTheClaimsMustAgree(t *testing.T) {
	t.Parallel()
	srv := startServer(t, newEnvironment(t))
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	got := srv.request(t, "$SYS.REQ.ACCOUNT."+other.ID+".CLAIMS.UPDATE", srv.signed(t, a, 0))
	if got.Error == nil || !strings.Contains(got.Error.Description, "pub keys don't match") || got.Error.Account != other.ID {
		t.Errorf("answer: %+v", got.Error)
	}
	if _, err := srv.registry.GetLocal(t.Context(), a.ID); err == nil {
		t.Error("it is stored")
	}
}

func TestHeadersAreTolerated(t *testing.T) {
	t.Parallel()
	srv := startServer(t, newEnvironment(t))
	a := jwttest.NewAccount(t)
	token := srv.signed(t, a, 0)
	m := &nats.Msg{Subject: "$SYS.REQ.CLAIMS.UPDATE", Data: token, Header: nats.Header{"Nats-Request-Info": {`{"acc":"x"}`}}}
	if _, err := srv.nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	srv.eventuallyHas(t, a.ID, token)
}

// TestLookups are answered at once if the account is stored, and with nothing, but not hastily, if it is not.
func TestLookups(t *testing.T) {
	t.Parallel()
	srv := startServer(t, newEnvironment(t))
	a := jwttest.NewAccount(t)
	token := srv.signed(t, a, 0)
	srv.push(t, a.ID, token)
	m, err := srv.nc.Request("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", nil, 5*time.Second)
	if err != nil || !bytes.Equal(m.Data, token) {
		t.Fatalf("%v, %v", m, err)
	}
	srv.answersNothing(t) // the first one may have had to wait for the first sync
	began := time.Now()
	srv.answersNothing(t)
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("it said no after %s", d)
	}
}

func (srv *accountServer) answersNothing(t *testing.T) {
	t.Helper()
	m, err := srv.nc.Request("$SYS.REQ.ACCOUNT."+jwttest.NewAccount(t).ID+".CLAIMS.LOOKUP", nil, 10*time.Second)
	if err != nil || len(m.Data) > 0 {
		t.Fatalf("%v, %v", m, err)
	}
}

// TestNothingIsSaidNoToBeforeTheFirstSync: a peer may have the account.
func TestNothingIsSaidNoToBeforeTheFirstSync(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	token := env.signed(t, a, 0)
	// The peer takes its time.
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
	srv := startServer(t, newEnvironment(t))
	a, b, expiring := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second := srv.signed(t, a, 0), srv.signed(t, b, 0)
	if lines := srv.pack(t, make([]byte, 32)); len(lines) != 0 {
		t.Errorf("an empty store has %q", lines)
	}
	srv.push(t, a.ID, srv.signed(t, a, 10))
	srv.push(t, a.ID, first)
	srv.push(t, b.ID, second)
	ends := time.Now().Add(2 * time.Second)
	dying := srv.signed(t, expiring, 0, func(c *jwt.AccountClaims) { c.Expires = ends.Unix() })
	srv.push(t, expiring.ID, dying)
	want := []string{packLine(a, first), packLine(b, second), packLine(expiring, dying)}
	slices.Sort(want)
	if lines := srv.pack(t, nil); !slices.Equal(lines, want) {
		t.Errorf("the pack is %q", lines)
	}
	if lines := srv.pack(t, digestOf(first, second, dying)); len(lines) != 0 {
		t.Errorf("the same store gets %q", lines)
	}
	natstest.Eventually(t, "it has expired", func() bool { return len(srv.pack(t, digestOf(first, second))) == 0 })
	if lines := srv.pack(t, []byte("short")); len(lines) != 2 {
		t.Errorf("with what has expired: %q", lines)
	}
}

// It feeds a store what no store should have.
func TestPackLinesAreVerifiedAndStrayOnesHarmNobody(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	good, bad, missing := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := env.signed(t, good, 0)
	lines := strings.Join([]string{
		"OP|" + env.op.Token(t), "", bad.ID, bad.ID + "|this is not a jwt", bad.ID + "|" + string(jwttest.NewOperator(t).Account(t, bad)),
		missing.ID + "|" + string(token), "../../x|owned", bad.ID + "|a|b", packLine(good, token), "\x00\xff", "*|" + string(token),
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
	natstest.Eventually(t, "it says what is refused", func() bool { return srv.log.Count("another server's accounts are refused: ") == 1 })
	for key, err := range srv.store.Keys() {
		if key != good.ID || err != nil {
			t.Errorf("stored: %s, %v", key, err)
		}
	}
}

func TestTheListIsOfWhatIsStored(t *testing.T) {
	t.Parallel()
	srv := startServer(t, newEnvironment(t))
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

// TestTwoServersBecomeTheSame, whatever each has missed, and then say nothing any more.
func TestTwoServersBecomeTheSameAndThenGoQuiet(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	one, two := newServer(t, env, jwtstore.NewMemory(true)), newServer(t, env, jwtstore.NewMemory(true))
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
	env.wantSilence(t, one, two)
}

// wantSilence waits until nothing is said about accounts for some seconds.
func (env *environment) wantSilence(t *testing.T, servers ...*accountServer) {
	t.Helper()
	said := env.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE")
	asked := env.count(t, "$SYS.REQ.CLAIMS.PACK")
	last, since := int64(-1), time.Now()
	natstest.Eventually(t, "it is quiet", func() bool {
		if n := said.Load() + asked.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 7*time.Second
	})
}

// TestConcurrentPushesThroughTwoServersMakeNoStorm, nor leave anybody on the older one.
func TestConcurrentPushesThroughTwoServersMakeNoStorm(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	one, two := startServer(t, env), startServer(t, env)
	said := env.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE")
	const rounds = 10
	type pair struct {
		key   string
		newer []byte // nil: nobody says which one wins
	}
	var pairs []pair
	var pushes sync.WaitGroup
	for i := range rounds {
		a := jwttest.NewAccount(t)
		p := pair{key: a.ID}
		older, other := env.signed(t, a, 20), env.signed(t, a, 20, func(c *jwt.AccountClaims) { c.Name = "other" })
		if i%2 == 0 {
			other = env.signed(t, a, 10)
			p.newer = other
		}
		pairs = append(pairs, p)
		for srv, token := range map[*accountServer][]byte{one: older, two: other} {
			pushes.Go(func() {
				_, _ = srv.registry.Put(t.Context(), a.ID, token, sourceHTTP) // the newer one may have been faster
			})
		}
	}
	pushes.Wait()
	for _, p := range pairs {
		natstest.Eventually(t, "both have the same, and nothing is owed", func() bool {
			o, _ := one.registry.GetLocal(t.Context(), p.key)
			w, _ := two.registry.GetLocal(t.Context(), p.key)
			return o != nil && w != nil && bytes.Equal(o.JWT, w.JWT) && (p.newer == nil || bytes.Equal(o.JWT, p.newer)) &&
				one.nothingPending(p.key) && two.nothingPending(p.key)
		})
	}
	env.wantSilence(t, one, two)
	if n := said.Load(); n > rounds*8 {
		t.Errorf("%d pushes made %d updates", 2*rounds, n)
	}
}
