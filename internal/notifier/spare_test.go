package notifier_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// noFacts has no answer of any nats-server.
type noFacts struct{}

func (noFacts) Info(context.Context, string) []facts.Info { return nil }

// fakeFacts is what one nats-server says of every account.
type fakeFacts struct {
	mu   sync.Mutex
	info facts.Info
}

func (f *fakeFacts) Info(context.Context, string) []facts.Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []facts.Info{f.info}
}

// setJWT sets the hash of the JWT that the nats-server runs.
func (f *fakeFacts) setJWT(hash accounts.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info.JWT = hash
}

// setServer sets the nats-server that has loaded the account.
func (f *fakeFacts) setServer(s facts.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info.Server = s
}

// TestAnAccountThatIsNotWhollyInEffectIsNotAnnouncedAgain although a nats-server lacks the update, or seems
// to. That is what loses replies in flight at a nats-server with a URL resolver.
func TestAnAccountThatIsNotWhollyInEffectIsNotAnnouncedAgain(t *testing.T) {
	const old = "the JWT of before"
	other := jwttest.AccountKey(t)
	for name, row := range map[string]struct {
		b    *fakeServer
		most int // announcements in six hours
	}{
		"all have it":                          {fake("b", "B1", "jwt updated"), 1},
		"one has not loaded it":                {fake("b", "B1", "jwt update skipped"), 1},
		"one answers nothing":                  {running("-", ""), 1},
		"one does not answer updates":          {running(old, ""), 1},
		"one refuses it":                       {running(old, "!no"), 14},
		"one refuses it and has not loaded it": {fake("b", "B1", "!no"), 14},
	} {
		t.Run(name, func(t *testing.T) {
			withIncomplete(t, row.b, func(t *testing.T, e *fakeEnv, first *fakeServer) {
				time.Sleep(6 * time.Hour)
				if n := len(e.times(e.key)); n > row.most {
					t.Errorf("announced %d times in six hours, at most %d are needed", n, row.most)
				}
				if d := e.notifier.Delivery(e.key); len(d.Partly) != 1 {
					t.Errorf("%s: it is not known that the account is not complete", d)
				}
				e.set(first, running(old, "jwt updated")) // whatever it was, it has passed
				e.push(t, other)                          // shows that it answers
				time.Sleep(61 * time.Minute)
				if pending := e.outbox.PendingFor(e.key); pending.Seq != 0 {
					t.Errorf("an hour after it can take the update it has not got it")
				}
			})
		})
	}
}

// running is a server that runs a JWT.
func running(token, says string) *fakeServer {
	s := fake("b", "B1", says)
	s.runs = token
	return s
}

// withIncomplete runs a test on a clock of its own, with two nats-servers. A JWT is announced that first
// acknowledges and does not put wholly into effect.
func withIncomplete(
	t *testing.T, second *fakeServer, test func(t *testing.T, e *fakeEnv, first *fakeServer),
) {
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	token := op.Account(t, a, importOf(op.System, "nothing"))
	first := fake("a", "A1", "jwt updated")
	first.runs = string(token)
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEnv(a.ID, first, second)
		e.facts = &fakeFacts{info: facts.Info{Server: facts.Server{Name: "a", ID: "A1"}, State: facts.Loaded,
			JWT: sha256.Sum256(token)}}
		e.restart()
		e.serve()
		time.Sleep(10 * time.Second) // until they are known
		e.notifier.Announce(a.ID, e.put(t, a.ID, string(token)))
		test(t, e, first)
		e.stop()
		time.Sleep(time.Minute)
	})
}

// TestAnAccountThatIsNotWhollyInEffectIsNotAnnouncedOnASuspicion that a nats-server has kept an older JWT,
// since it has not answered an older announcement.
func TestAnAccountThatIsNotWhollyInEffectIsNotAnnouncedOnASuspicion(t *testing.T) {
	silent := fake("b", "B1", "") // it does not say what its resolver is
	withIncomplete(t, silent, func(t *testing.T, e *fakeEnv, first *fakeServer) {
		time.Sleep(time.Minute)
		e.set(first, fake("b", "B1", "jwt updated"))
		seq, err := e.store.Touch(t.Context(), e.key, "test", true)
		if err != nil {
			t.Fatal(err)
		}
		e.notifier.Announce(e.key, seq)
		time.Sleep(time.Hour)
		if n := len(e.times(e.key)); n != 2 {
			t.Errorf("announced %d times, although it was pushed twice", n)
		}
	})
}

// pretendServer answers as another nats-server does that has loaded no account.
func (e *env) pretendServer(t *testing.T, url, name string) {
	t.Helper()
	nc := natstest.Connect(t, url, e.sysCreds(t))
	const id = "NPRETENDED"
	server := fmt.Sprintf(`"server":{"name":%q,"id":%q,"ver":"2.15.2"}`, name, id)
	none := "{" + server + `,"error":{"description":"Account A does not exist"}}`
	for subject, answer := range map[string]string{
		"$SYS.REQ.SERVER.PING.IDZ":          fmt.Sprintf(`{"name":%q,"id":%q}`, name, id),
		"$SYS.REQ.SERVER." + id + ".STATSZ": "{" + server + `,"statsz":{}}`,
		"$SYS.ACCOUNT.*.CLAIMS.UPDATE":      "{" + server + `,"data":{"message":"jwt update skipped"}}`,
		"$SYS.REQ.SERVER.PING.ACCOUNTZ":     none,
		"$SYS.REQ.ACCOUNT.*.INFO":           none,
	} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(answer)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestARepeatedAnnouncementLosesNoReplyInFlight has one nats-server run an account that is not complete, and
// another one say that it has not loaded it: then an update used to be sent again after 3 s.
func TestARepeatedAnnouncementLosesNoReplyInFlight(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	export := func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: "svc", Type: jwt.Service})
	}
	importing := func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: exporter.ID, Subject: "svc", Type: jwt.Service})
	}
	e.age = 0
	put(t, e.store, exporter.ID, e.op.Account(t, exporter, export))
	put(t, e.store, importer.ID, e.op.Account(t, importer, importing))
	url := e.serveJWTs(t)
	s := natstest.Start(t, natstest.URLConf(t, e.op, url, natstest.AnyPort+"server_name: n1\n"))
	e.pretendServer(t, s.ClientURL(), "n2")
	exporterCreds, _ := exporter.User(t)
	importerCreds, _ := importer.User(t)
	answering := natstest.Connect(t, s.ClientURL(), exporterCreds)
	asking := natstest.Connect(t, s.ClientURL(), importerCreds)
	requests := make(chan *nats.Msg, 1)
	if _, err := answering.ChanSubscribe("svc", requests); err != nil {
		t.Fatal(err)
	}
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	natstest.Eventually(t, "both are known", func() bool { return len(e.notifier.Present()) == 2 })
	d := e.commit(t, exporter, export, importOf(importer, "nothing")).Wait(t.Context(), 2*time.Second)
	if len(d.Partly) != 1 || d.NotInUse != 1 {
		t.Fatal(d)
	}
	replies := make(chan *nats.Msg, 1)
	if _, err := asking.ChanSubscribe("reply", replies); err != nil {
		t.Fatal(err)
	}
	if err := asking.PublishRequest("svc", "reply", nil); err != nil {
		t.Fatal(err)
	}
	request := <-requests
	natstest.Eventually(t, "nothing is pending",
		func() bool { return e.outbox.PendingFor(exporter.ID).Seq == 0 })
	if err := request.Respond([]byte("done")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-replies:
	case <-time.After(20 * time.Second):
		t.Error("the reply in flight is lost")
	}
	if d := e.notifier.Delivery(exporter.ID); d.Acked != 1 || d.NotInUse != 1 || d.State != accounts.Sent {
		t.Error(d)
	}
}
