package notifier_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// diskLimit lets an account store so many bytes.
func diskLimit(bytes int64) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) { c.Limits.JetStreamLimits.DiskStorage = bytes }
}

// jetStream is the configuration of a nats-server that has a megabyte for JetStream.
func jetStream(t *testing.T) string {
	return fmt.Sprintf("jetstream { store_dir: %q, max_memory_store: 1000000, max_file_store: 1000000 }\n",
		t.TempDir())
}

// importOf has an account import a stream.
func importOf(from *jwttest.Account, subject jwt.Subject) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: from.ID, Subject: subject, Type: jwt.Stream})
	}
}

func TestAnAnswerSaysWhatIsAcknowledgedAndNotInEffect(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, exporter := jwttest.NewAccount(t), jwttest.NewAccount(t)
	s := e.memoryServer(t, "server_name: n1\n"+jetStream(t), a, exporter)
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	connectUser(t, s.ClientURL(), a)
	connectUser(t, s.ClientURL(), exporter)
	natstest.Eventually(t, "n1 is known", func() bool { return len(e.notifier.Present()) == 1 })
	const acked = "acknowledged by 1 of 1 nats-server"
	for _, row := range []struct {
		edit func(*jwt.AccountClaims)
		want string
	}{
		{diskLimit(1000), acked},
		{diskLimit(1 << 30), acked + "; not wholly in effect on n1: JetStream limits"},
		{importOf(exporter, "orders"), acked + `; not wholly in effect on n1: import of "orders"`},
		{func(*jwt.AccountClaims) {}, acked},
	} {
		receipt := e.commit(t, a, row.edit)
		natstest.Eventually(t, row.want, func() bool {
			return receipt.Wait(t.Context(), 20*time.Second).String() == row.want
		})
	}
}

func TestWhatIsNotInEffectIsInTheReport(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	s := e.memoryServer(t, "server_name: n1\n"+jetStream(t), a)
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	connectUser(t, s.ClientURL(), a)
	natstest.Eventually(t, "n1 is known", func() bool { return len(e.notifier.Present()) == 1 })
	e.commit(t, a, diskLimit(1<<30)).Wait(t.Context(), 20*time.Second)
	report := e.notifier.Report(context.Background(), a.ID, false)
	if len(report.Servers) != 1 || report.Servers[0].Partly != "JetStream limits" ||
		report.Servers[0].State != accounts.ServerAcknowledged {
		t.Errorf("%+v", report.Servers)
	}
	o := e.notifier.Overview()
	if o.Incomplete != 1 || o.Servers[0].Incomplete != 1 {
		t.Errorf("%+v", o)
	}
}

// TestARoundFindsAServerThatRunsAnotherJWT although it has acknowledged the stored one, which it gets again.
func TestARoundFindsAServerThatRunsAnotherJWT(t *testing.T) {
	withIncomplete(t, fake("b", "B1", "jwt updated"), func(t *testing.T, e *fakeEnv, first *fakeServer) {
		second := running(first.runs, "jwt updated")
		e.set(first, second)
		time.Sleep(time.Minute)
		changed := fake("a", "A1", "jwt updated")
		changed.runs = "another JWT"
		e.set(changed, second)
		e.facts.(*fakeFacts).setJWT(accounts.Digest{1})
		time.Sleep(2 * time.Minute)
		if n := len(e.times(e.key)); n < 2 {
			t.Errorf("announced %d times", n)
		}
		const want = "acknowledged by 2 of 2 nats-servers; not wholly in effect on a: it runs another JWT"
		if got := e.notifier.Delivery(e.key).String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		was := len(e.times(e.key))
		time.Sleep(time.Hour)
		if n := len(e.times(e.key)); n != was {
			t.Errorf("announced %d times more for a server that does not change", n-was)
		}
	})
}

// TestWhatAServerLeavesOutOfAnAccountThatItHasFetchedIsTold although it had not loaded it at the push.
func TestWhatAServerLeavesOutOfAnAccountThatItHasFetchedIsTold(t *testing.T) {
	withIncomplete(t, fake("b", "B1", "jwt update skipped"), func(t *testing.T, e *fakeEnv, _ *fakeServer) {
		time.Sleep(time.Minute)
		e.facts.(*fakeFacts).setServer(facts.Server{Name: "b", ID: "B1"})
		time.Sleep(2 * time.Minute)
		d := e.notifier.Delivery(e.key)
		if len(d.Partly) != 1 || d.Partly[0].Server != "b" || d.NotInUse != 0 {
			t.Errorf("%s: %+v", d, d)
		}
		for _, s := range e.report(e.key) {
			if isLacking := s.Partly != ""; isLacking != (s.Name == "b") {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestAChangedExporterIsSeenAtItsImporters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	s := e.memoryServer(t, "server_name: n1\n", exporter, importer)
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	connectUser(t, s.ClientURL(), exporter)
	connectUser(t, s.ClientURL(), importer)
	natstest.Eventually(t, "n1 is known", func() bool { return len(e.notifier.Present()) == 1 })
	export := func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: "orders", Type: jwt.Stream})
	}
	const acked = "acknowledged by 1 of 1 nats-server"
	e.commit(t, exporter, export).Wait(t.Context(), 20*time.Second)
	got := e.commit(t, importer, importOf(exporter, "orders")).Wait(t.Context(), 20*time.Second)
	if got.String() != acked {
		t.Error(got)
	}
	e.commit(t, exporter)
	e.wantDelivery(t, importer.ID, acked+`; not wholly in effect on n1: import of "orders"`)
	e.commit(t, exporter, export, func(c *jwt.AccountClaims) { c.Name = "again" })
	e.wantDelivery(t, importer.ID, acked)
}
