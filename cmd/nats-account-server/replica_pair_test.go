package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestAReplicaAgreesWithItsPrimaryAfterRestartsAndCutLines lets a replica follow its primary while
// accounts are pushed, either is killed and started again, and the lines between them and to NATS
// are cut. Whatever happens the replica serves what it has served before or something newer, at
// once; and when all is well again it has the newest of everything.
func TestAReplicaAgreesWithItsPrimaryAfterRestartsAndCutLines(t *testing.T) {
	t.Parallel()
	p := newTwins(t)
	for range 8 {
		p.push(p.accounts[p.dice.IntN(len(p.accounts))])
	}
	stop := p.watch()
	for range 24 {
		p.trouble[p.dice.IntN(len(p.trouble))]()
		for range 3 {
			p.push(p.accounts[p.dice.IntN(len(p.accounts))])
		}
	}
	p.http.Up()
	p.nats.Up()
	for _, a := range p.accounts {
		natstest.Eventually(t, "the replica has the newest JWT", func() bool {
			_, body := get(t, p.address()+"/jwt/v1/accounts/"+a.ID)
			return body == string(p.newest(a))
		})
	}
	stop()
	// A busy machine makes some of them late, and a replica that waits for its primary all of them.
	if p.late > p.looks/2 {
		t.Errorf("%d of %d reads took more than a second", p.late, p.looks)
	}
	p.replica.term()
	p.primary.term()
}

// twins are a primary, its replica, and the lines that can be cut.
type twins struct {
	t          *testing.T
	env        *testEnv // the primary's
	follower   *testEnv
	primaryURL string
	primary    *process
	replica    *process
	http, nats *natstest.Relay // from the replica to the primary and to NATS
	dice       *rand.Rand
	accounts   []*jwttest.Account
	trouble    []func()

	mu          sync.Mutex
	looks, late int                 // reads that were answered, and those of them that took too long
	pushed      map[string][]string // by account, oldest first
	replicaURL  string              // "" while it is not running
}

func newTwins(t *testing.T) *twins {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &twins{t: t, dice: rand.New(rand.NewPCG(seed, 0)), pushed: map[string][]string{}}
	natsURL := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	p.env = newEnv(t, natsURL, "")
	p.env.conf = conf(t, p.env.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: %d }
		store { dir: store, shard: true }
		nats { servers: [%q], usercredentials: sys.creds, reconnectwait: 100 }`,
		freePort(t), natsURL)
	natstest.Start(t, natstest.MemoryConf(t, p.env.op,
		"server_name: n1\nlisten: "+strings.TrimPrefix(natsURL, "nats://")+"\n"))
	p.primary, p.primaryURL = p.env.start(t)
	p.http = natstest.NewRelay(t, 0, strings.Replace(p.primaryURL, "http://", "nats://", 1))
	p.nats = natstest.NewRelay(t, 0, natsURL)
	p.follower = followerOf(t, p.env,
		strings.Replace(p.http.URL(), "nats://", "http://", 1), p.nats.URL(), "")
	for range 5 {
		p.accounts = append(p.accounts, jwttest.NewAccount(t))
	}
	p.startReplica()
	p.trouble = []func(){
		p.http.Down, p.http.Up, p.nats.Down, p.nats.Up,
		func() { p.primary.kill(); p.primary, _ = p.env.start(t) },
		func() { p.stopReplica(); p.startReplica() },
	}
	return p
}

func (p *twins) startReplica() {
	process, url := p.follower.start(p.t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replica, p.replicaURL = process, url
}

func (p *twins) stopReplica() {
	p.mu.Lock()
	p.replicaURL = ""
	p.mu.Unlock()
	p.replica.kill()
}

// address is where the replica serves, "" while it does not run.
func (p *twins) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replicaURL
}

func (p *twins) newest(a *jwttest.Account) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.pushed[a.ID]
	return all[len(all)-1]
}

// push pushes the next JWT of an account to the primary. Each is a second newer than the one
// before.
func (p *twins) push(a *jwttest.Account) {
	p.t.Helper()
	p.mu.Lock()
	n := len(p.pushed[a.ID])
	p.mu.Unlock()
	token := jwttest.Sign(p.t, p.env.op.Signing, a,
		time.Now().Add(-time.Hour+time.Duration(n)*time.Second))
	p.mu.Lock()
	p.pushed[a.ID] = append(p.pushed[a.ID], string(token)) // from now on it may be served
	p.mu.Unlock()
	mustPush(p.t, p.primaryURL, a.ID, token)
}

// watch asks the replica for every account, again and again, until stop is called.
func (p *twins) watch() (stop func()) {
	ended := make(chan struct{})
	var readers sync.WaitGroup
	for _, a := range p.accounts {
		readers.Go(func() {
			for last := -1; ; {
				select {
				case <-ended:
					return
				case <-time.After(5 * time.Millisecond):
					last = p.look(a, last)
				}
			}
		})
	}
	return func() { close(ended); readers.Wait() }
}

// look asks for one account, which must not be older than the last time, and returns which one it
// is; -1 is none.
func (p *twins) look(a *jwttest.Account, last int) int {
	url := p.address()
	began := time.Now()
	answer, err := http.Get(url + "/jwt/v1/accounts/" + a.ID)
	if err != nil {
		return last // it is being restarted
	}
	status, body := readAnswer(answer, nil)
	p.count(time.Since(began))
	switch {
	case status != http.StatusOK && last >= 0 && p.address() == url:
		p.t.Errorf("what it has served is %d %s", status, body)
		return last
	case status != http.StatusOK:
		return last
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, token := range p.pushed[a.ID] {
		if token == body {
			if n < last {
				p.t.Errorf("after number %d it serves number %d", last, n)
			}
			return n
		}
	}
	p.t.Errorf("it serves what was never pushed: %q", body)
	return last
}

// count counts a read.
func (p *twins) count(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	if took > time.Second {
		p.late++
	}
}
