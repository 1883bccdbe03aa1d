package main_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// writer pushes ever newer JWTs of one account and knows which one was acknowledged last.
type writer struct {
	op    *jwttest.Operator
	acc   *jwttest.Account
	next  time.Time
	acked []byte // nil before the first
	tried []byte // sent, but no answer came: either may be stored
}

// run pushes until the server does not answer any more.
func (w *writer) run(t *testing.T, url string) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		w.next = w.next.Add(time.Second)
		w.tried = jwttest.Sign(t, w.op.Signing, w.acc, w.next)
		status, body := post(client, url+"/jwt/v1/accounts/"+w.acc.ID, w.tried)
		switch status {
		case 0:
			return
		case http.StatusOK:
			w.acked = w.tried
		default:
			t.Errorf("%d %s", status, body)
			return
		}
	}
}

// ask returns status 0 when there is no answer.
func ask(client *http.Client, url string) (int, string) { return readAnswer(client.Get(url)) }

// post returns status 0 when there is no answer.
func post(client *http.Client, url string, token []byte) (int, string) {
	return readAnswer(client.Post(url, "application/jwt", bytes.NewReader(token)))
}

// get is ask for a server that answers.
func get(t testing.TB, url string) (int, string) {
	t.Helper()
	status, body := ask(http.DefaultClient, url)
	if status == 0 {
		t.Fatal(body)
	}
	return status, body
}

// getPage is get for a browser.
func getPage(t testing.TB, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	status, body := readAnswer(http.DefaultClient.Do(r))
	if status == 0 {
		t.Fatal(body)
	}
	return status, body
}

// readAnswer reads an answer to its end. Without a whole one the status is 0, and the body says why.
func readAnswer(r *http.Response, err error) (status int, body string) {
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(text)
}

// TestKillUnderSixteenWriters kills the program again and again while sixteen clients push.
// Whatever was answered with 200 is whole and served by the next process, and nats-server is told
// of it when it is there at last.
func TestKillUnderSixteenWriters(t *testing.T) {
	t.Parallel()
	const rounds = 6
	natsPort := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", natsPort), "")
	writers := make([]*writer, 16)
	for i := range writers {
		writers[i] = &writer{op: s.op, acc: jwttest.NewAccount(t),
			next: time.Now().Add(-24 * time.Hour)}
	}
	isNew := func(w *writer) bool { return w.acked == nil }
	for round := 0; round < rounds || slices.ContainsFunc(writers, isNew); round++ {
		p, url := s.start(t)
		for _, w := range writers {
			w.check(t, url)
		}
		var all sync.WaitGroup
		for _, w := range writers {
			all.Go(func() { w.run(t, url) })
		}
		// Any moment of the kill will do, if each writer gets an answer in the end.
		most := time.Duration(1+round/rounds) * 600 * time.Millisecond
		time.Sleep(50*time.Millisecond + rand.N(most))
		p.kill()
		all.Wait()
	}
	p, url := s.start(t)
	want := map[string]string{}
	for _, w := range writers {
		w.check(t, url)
		_, want[w.acc.ID] = get(t, url+"/jwt/v1/accounts/"+w.acc.ID+"?text=true")
	}
	waitForAll(t, s.op, want, natsPort)
	p.term()
}

// check sees that the last acknowledged JWT is there, or the one whose answer did not arrive
// because of the kill.
func (w *writer) check(t *testing.T, url string) {
	t.Helper()
	if w.acked == nil {
		return
	}
	status, body := get(t, url+"/jwt/v1/accounts/"+w.acc.ID)
	if status != http.StatusOK || body != string(w.acked) && body != string(w.tried) {
		t.Errorf("an acknowledged JWT is gone: %d %q", status, body)
	}
	w.acked = []byte(body) // what has been served must stay, whether its writer was answered or not
}

// waitForAll starts a nats-server, listens on it, lets the program reach it through a port, and
// waits until each account's JWT has been announced.
func waitForAll(t *testing.T, op *jwttest.Operator, want map[string]string, port int) {
	t.Helper()
	creds, _ := op.System.User(t, func(c *jwt.UserClaims) { c.Name = "listener" })
	s := natstest.Start(t, natstest.MemoryConf(t, op, natstest.AnyPort))
	nc := natstest.Connect(t, s.ClientURL(), creds)
	var mu sync.Mutex
	missing := want
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		key := strings.Split(m.Subject, ".")[2]
		if missing[key] == string(m.Data) {
			delete(missing, key)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	natstest.NewRelay(t, port, s.ClientURL())
	natstest.Eventually(t, "every pending announcement is received", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(missing) == 0
	})
}
