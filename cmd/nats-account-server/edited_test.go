package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestWhatIsServedIsAnnounced although no client has pushed it: the system account's JWT that is
// served from its file, and files of the store that were changed by hand. Each is announced once.
func TestWhatIsServedIsAnnounced(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	n := natstest.Start(t, natstest.DirConf(t, s.op, "full", t.TempDir(),
		fmt.Sprintf("listen: 127.0.0.1:%d\n", port)))
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	heard := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", heard); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	announced := func(what string, a *jwttest.Account, token []byte) {
		t.Helper()
		select {
		case m := <-heard:
			if m.Subject != "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE" ||
				string(m.Data) != string(token) {
				t.Errorf("%s: something else is announced: %s", what, m.Subject)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not announced", what)
		}
	}
	issued := 0
	signed := func(a *jwttest.Account) []byte {
		issued++
		return jwttest.Sign(t, s.op.Signing, a, time.Now().Add(time.Duration(issued)*time.Second))
	}
	system, edited, found := s.op.System, jwttest.NewAccount(t), jwttest.NewAccount(t)
	first := signed(system)
	jwttest.File(t, s.dir, "sys.jwt", first)
	p, url := s.start(t)
	p.wait("connected to NATS for account and activation notifications")
	at := func(a *jwttest.Account) string { return url + "/jwt/v1/accounts/" + a.ID }
	// At no moment is half of the file there: the nats-server's JWT of the account would be stored.
	write := func(a *jwttest.Account, token []byte) {
		t.Helper()
		whole := jwttest.File(t, s.dir, "new.jwt", token)
		if err := os.Rename(whole, filepath.Join(s.dir, "store", shardOf(a.ID))); err != nil {
			t.Fatal(err)
		}
	}
	hangup := func() {
		t.Helper()
		p.signal(syscall.SIGHUP)
		p.wait("configuration reloaded")
	}

	if status, body := get(t, at(system)+"?notify=true"); status != http.StatusOK ||
		body != string(first) {
		t.Errorf("%d %q", status, body)
	}
	announced("the system account, on request", system, first)
	second := signed(system)
	jwttest.File(t, s.dir, "sys.jwt", second)
	hangup()
	announced("its new JWT", system, second)

	for _, a := range []*jwttest.Account{edited, found} {
		token := signed(a)
		mustPush(t, url, a.ID, token)
		announced("a push", a, token)
	}
	p.term() // writes every file
	p, url = s.start(t)
	p.wait("connected to NATS for account and activation notifications")
	token := signed(edited)
	write(edited, token)
	for range 3 {
		if status, body := get(t, at(edited)); status != http.StatusOK || body != string(token) {
			t.Errorf("%d %q", status, body)
		}
	}
	announced("a file that was edited and asked for", edited, token)
	token = signed(found)
	write(found, token)
	hangup()
	announced("a file that was edited", found, token)
	added := jwttest.NewAccount(t)
	token = signed(added)
	jwttest.File(t, filepath.Join(s.dir, "store"), added.ID+".jwt", token)
	hangup()
	announced("a file that was added", added, token)

	// Nothing of this is announced twice.
	p.term()
	p, url = s.start(t)
	p.wait("connected to NATS for account and activation notifications")
	hangup()
	last := jwttest.NewAccount(t)
	token = signed(last)
	mustPush(t, url, last.ID, token)
	announced("a push", last, token)
	p.term()
}
