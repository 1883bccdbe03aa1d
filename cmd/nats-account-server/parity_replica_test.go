package main_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

func replication(t *testing.T) []behaviour {
	k := newParityEnv(t)
	return []behaviour{
		row("nsc and primary", k.refuses("primary: \"http://127.0.0.1:1\"\nstore { nsc: x }",
			"replicas cannot be run in NSC mode")),
		row("read-only and primary",
			k.refuses("operator: op.jwt\nprimary: \"http://127.0.0.1:1\"\n"+
				"store { dir: x, readonly: true }",
				"replica mode cannot be used in read-only mode, but will "+
					"not allow POST operations")),
		row("a replica needs an operator", k.refuses("primary: \"http://127.0.0.1:1\"",
			"a replica needs an operator")),
		row("the lines at the start, without NATS and without a pack", func(t *testing.T) {
			p := start(t, k.dir, nil, flags("-c",
				k.file(t, anyPort+"operatorjwtpath: op.jwt, primary: \"http://127.0.0.1:1\", "+
					"maxreplicationpack: 0"))...)
			p.wait("server time is")
			p.wait("starting in replicated mode, with primary at http://127.0.0.1:1")
			p.wait("running in replicated mode without NATS notifications can " +
				"result in delayed updates")
			p.wait("skipping initial JWT pack from primary, config has MaxReplicationPack of 0")
			p.term()
		}),
		row("a primary that is away", func(t *testing.T) {
			p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0 -primary",
				fmt.Sprintf("http://127.0.0.1:%d/", freePort(t)))...)
			p.wait("grabbing initial JWT pack from primary http://127.0.0.1:")
			p.wait("unable to initialize from primary, .*, will use what is on disk")
			p.term()
		}),
		row("a primary that says no", func(t *testing.T) {
			p := start(t, k.dir, nil,
				flags("-operator op.jwt -hp 127.0.0.1:0 -primary", notFound(t))...)
			p.wait(`unable to initialize from primary, server returned status "404 Not Found", ` +
				"will use what is on disk")
			p.term()
		}),
		row("Cache-Control is that of every server, where 0.8.4 counts down what is left of its "+
			"hour, or leaves it out", k.replicaCaches),
		row("the initial pack, misses, updates by NATS, POST refused, on from disk",
			shownBy("TestAReplicaFollowsItsPrimary")),
		row("activations, also an hour later, and while the primary is away",
			shownBy("TestActivations")),
		row("a memory store", k.replicaInMemory),
		row("a damaged file, and what there is no room for, come from the primary",
			shownBy("TestADamagedFileIsMendedFromThePrimary", "TestWhatThereIsNoRoomForIsServed")),
		row("a redirect, with a password that no line shows",
			shownBy("TestAPasswordSurvivesARedirect", "TestThePrimarysPasswordIsNotShown")),
		row("what is no pack", shownBy("TestWhatIsNoPackIsAskedForAgain")),
		row("a silent primary holds up no request, where the original starts without HTTP",
			shownBy("TestASilentPrimaryHoldsUpNoRequest")),
		row("a hostile primary", shownBy("TestAHostilePrimaryDoesNoHarm")),
		row("each answer of a primary, also 0.8.4's", shownBy("TestThePrimarysAnswers")),
		row("what is stored is asked for again when an hour has passed",
			shownBy("TestAnHourLaterItIsAskedForAgain")),
		row("many at once", shownBy("TestManyAskAtOnce")),
		row("1.0.3's import once at the start is not there: it follows",
			shownBy("TestAReplicaFollowsItsPrimary")),
		row("SIGHUP lets it follow another primary, or none",
			shownBy("TestAReloadFollowsAnotherPrimary")),
		row("a pair with restarts and cut lines",
			shownBy("TestAReplicaAgreesWithItsPrimaryAfterRestartsAndCutLines")),
	}
}

func (k *parityEnv) replicaCaches(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := k.op.Account(t, a, func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(2 * time.Hour).Unix()
	})
	dir := t.TempDir()
	jwttest.File(t, dir, a.ID+".jwt", token)
	p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0 -primary",
		notFound(t), "-dir", dir)...)
	for _, b := range requests(p.url(), nil, []request{
		{"stored", "GET /jwt/v1/accounts/" + a.ID, "200 OK",
			"Cache-Control: max-age=71*", string(token)},
		{"refused", "POST /jwt/v1/accounts/" + a.ID + "\n\nx", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", "Method Not Allowed\nthis server follows *"},
		{"no activations are taken", "POST /jwt/v1/activations\n\nx", "405 Method Not Allowed",
			"Allow: OPTIONS", "Method Not Allowed\nthis server follows *"},
		{"check", "GET /jwt/v1/accounts/" + a.ID + "?check=true", "200 OK", "", string(token)},
		{"as text", "GET /jwt/v1/accounts/" + a.ID + "?text=true", "200 OK",
			bareText, string(token)},
		{"the operator", "GET /jwt/v1/operator", "200 OK", "", "eyJ*"},
		{"help", "GET /jwt/v1/help", "200 OK", "", "*"},
		{"the pack", "GET /jwt/v1/pack", "200 OK", "", a.ID + "|" + string(token)},
		{"the probe", "GET /jwt/v1/accounts/", "200 OK", probeHead, ""},
	}) {
		t.Run(b.name, b.holds)
	}
	p.term()
}

// notFound is a server that has nothing.
func (k *parityEnv) replicaInMemory(t *testing.T) {
	s := newEnv(t, "", "")
	primary, url := s.start(t)
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	mustPush(t, url, a.ID, token)
	p := start(t, s.dir, nil, "-operator", "op.jwt", "-hp", "127.0.0.1:0", "-primary", url)
	its := p.url()
	p.wait("initialized from primary, 1 account")
	primary.term()
	wantJWT(t, its, a.ID, token)
	p.term()
}

func notFound(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	return "http://" + l.Addr().String()
}
