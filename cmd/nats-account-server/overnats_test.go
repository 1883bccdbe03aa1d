package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// ours asks on a subject and returns the answer of the program. nats-servers answer too.
func ours(t *testing.T, nc *nats.Conn, subject string, data []byte) (answer struct {
	Server struct{ Name string }
	Data   json.RawMessage
	Error  *struct{ Description string }
}) {
	t.Helper()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(subject, sub.Subject, data); err != nil {
		t.Fatal(err)
	}
	for answer.Server.Name != "nats-account-server" {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("%s: %s", subject, err)
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			t.Fatalf("%s: %q", subject, m.Data)
		}
	}
	return answer
}

// The test does what nsc push, pull, push --diff, push --prune and push -R do with a nats:// URL.
func TestNSCPushesPullsAndDeletesOverNATS(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "store { allow_delete: true }")
	p, url := s.start(t)
	n := natstest.Start(t, natstest.URLConf(t, s.op, url+"/jwt/v1/accounts/",
		fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", port)))
	p.wait("connected to NATS for JWT syncing")
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	pushed := map[string][]byte{a.ID: s.op.Account(t, a), b.ID: s.op.Account(t, b)}
	var want []string
	for key, token := range pushed {
		if got := ours(t, nc, "$SYS.REQ.CLAIMS.UPDATE", token); got.Error != nil ||
			!strings.Contains(string(got.Data), `"code": 200`) {
			t.Fatalf("push: %s %+v", got.Data, got.Error)
		}
		want = append(want, key)
	}
	slices.Sort(want)
	var keys []string
	if err := json.Unmarshal(ours(t, nc, "$SYS.REQ.CLAIMS.LIST", nil).Data, &keys); err != nil ||
		!slices.Equal(keys, want) {
		t.Errorf("the list is %q, %v", keys, err)
	}
	for key, token := range pushed {
		m, err := nc.Request("$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP", nil, 10*time.Second)
		if err != nil || string(m.Data) != string(token) {
			t.Errorf("pull: %v, %v", m, err)
		}
	}
	_, body := get(t, url+"/jwt/v1/pack?max=5")
	if body != want[0]+"|"+string(pushed[want[0]])+"\n"+want[1]+"|"+string(pushed[want[1]]) {
		t.Errorf("the pack is %q", body)
	}
	order := jwt.NewGenericClaims(s.op.ID)
	order.Data["accounts"] = []string{a.ID}
	token, err := order.Encode(s.op.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got := ours(t, nc, "$SYS.REQ.CLAIMS.DELETE", []byte(token)); got.Error != nil ||
		!strings.Contains(string(got.Data), "deleted 1 accounts") {
		t.Errorf("delete: %s %+v", got.Data, got.Error)
	}
	deleted := func(url string) {
		t.Helper()
		if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusNotFound {
			t.Errorf("it is there: %d", status)
		}
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, pushed[a.ID])
		if status != http.StatusConflict || !strings.Contains(body, "deleted") {
			t.Errorf("it comes back: %d %s", status, body)
		}
	}
	deleted(url)
	p.kill() // a crash does not bring it back either
	p, url = s.start(t)
	p.wait("connected to NATS for JWT syncing") // before that, other servers may have it
	deleted(url)
	p.term()
}

// Both get pushes, and in the end both have the newest JWT of every account.
func TestTwoAccountServersAgreeAfterKillsAndRestarts(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	other := *s
	other.dir = t.TempDir()
	other.conf = conf(t, other.dir, `
		operatorjwtpath: %q, systemaccountjwtpath: %q
		http { host: 127.0.0.1, port: 0 }
		store { dir: store }
		nats { servers: ["nats://127.0.0.1:%d"], usercredentials: %q, reconnectwait: 100 }`,
		s.dir+"/op.jwt", s.dir+"/sys.jwt", port, s.dir+"/sys.creds")
	envs := []*testEnv{s, &other}
	processes, urls := make([]*process, 2), make([]string, 2)
	for i, s := range envs {
		processes[i], urls[i] = s.start(t)
	}
	n := natstest.Start(t, natstest.MemoryConf(t, s.op,
		fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", port)))
	for _, p := range processes {
		p.wait("connected to NATS for JWT syncing")
	}
	newest := map[string][]byte{}
	var accounts []*jwttest.Account
	for range 10 {
		accounts = append(accounts, jwttest.NewAccount(t))
	}
	for round := range 4 {
		var pushes sync.WaitGroup
		for i, a := range accounts {
			ago := time.Duration(1000-100*round) * time.Second
			for j := range 2 {
				token := jwttest.Sign(t, s.op.Signing, a,
					time.Now().Add(-ago+time.Duration(10*j)*time.Second))
				if j == 1 {
					newest[a.ID] = token
				}
				url := urls[(i+j+round)%2]
				pushes.Go(func() {
					status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, token)
					if status != http.StatusOK && status != http.StatusConflict {
						t.Errorf("%d %s", status, body)
					}
				})
			}
		}
		pushes.Wait()
		processes[round%2].kill()
		processes[round%2], urls[round%2] = envs[round%2].start(t)
		processes[round%2].wait("connected to NATS for JWT syncing")
	}
	for _, url := range urls {
		for key, token := range newest {
			natstest.Eventually(t, "the newest is there", func() bool {
				_, body := get(t, url+"/jwt/v1/accounts/"+key)
				return body == string(token)
			})
		}
	}
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	var said atomic.Int64
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(*nats.Msg) {
		said.Add(1)
	}); err != nil {
		t.Fatal(err)
	}
	last, since := int64(-1), time.Now()
	natstest.Eventually(t, "it is quiet", func() bool {
		if n := said.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 5*time.Second
	})
	for _, p := range processes {
		p.term()
	}
}

// The nats-server does not report a slow consumer, and every change is announced.
func TestAFloodOfUpdatesOverNATSIsStoredInFull(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	p, url := s.start(t)
	n := natstest.Start(t, natstest.MemoryConf(t, s.op,
		fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", port)))
	p.wait("connected to NATS for JWT syncing")
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	const flood = 1500
	var tokens [][]byte
	for range flood {
		tokens = append(tokens, s.op.Account(t, jwttest.NewAccount(t)))
	}
	began := time.Now()
	for _, token := range tokens {
		if err := nc.Publish("$SYS.REQ.CLAIMS.UPDATE", token); err != nil {
			t.Fatal(err)
		}
	}
	for stored := 0; stored < flood; { // a busy machine may take long for all of them
		natstest.Eventually(t, fmt.Sprintf("more than %d are stored", stored), func() bool {
			before := stored
			stored = strings.Count(p.log.String(), "updated JWT for account")
			return stored > before
		})
	}
	var keys []string
	if err := json.Unmarshal(ours(t, nc, "$SYS.REQ.CLAIMS.LIST", nil).Data, &keys); err != nil ||
		len(keys) != flood {
		t.Errorf("the list has %d accounts, %v", len(keys), err)
	}
	t.Logf("%d updates in %s, %d KiB of memory", flood, time.Since(began), p.memory())
	if _, body := get(t, url+"/jwt/v1/pack"); strings.Count(body, "|") != flood {
		t.Errorf("the pack has %d accounts", strings.Count(body, "|"))
	}
	if log := p.log.String(); strings.Contains(log, "slow consumer") ||
		strings.Contains(log, "refused") {
		t.Errorf("it says:\n%s", log)
	}
	p.term()
}
