package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// settleWithin is how soon, when everything is healed, every nats-server has what is stored.
const settleWithin = 90 * time.Second

// converge waits until every nats-server runs what is stored and says so, and checks that no
// revoked user is connected.
func (s *soak) converge() {
	s.t.Helper()
	began := time.Now()
	s.ctx = s.t.Context()
	for _, r := range s.models {
		s.look(s.client, r, 0)
	}
	s.eventually("every nats-server runs what is stored", s.stale)
	s.t.Logf("every nats-server runs what is stored after %s", time.Since(began))
	s.eventually("no revoked user is connected, and every other user is", s.misplaced)
	s.acknowledged()
	s.t.Logf("everything is acknowledged after %s", time.Since(began))
}

// eventually waits until nothing is wrong any more.
func (s *soak) eventually(what string, wrong func() (*accountModel, string)) {
	s.t.Helper()
	for end := time.Now().Add(settleWithin); ; time.Sleep(50 * time.Millisecond) {
		r, why := wrong()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			s.fail(r, "still not: %s: %s", what, why)
			s.t.FailNow()
		}
	}
}

// stored is what the account server has of an account.
func (s *soak) stored(r *accountModel) (*version, string) {
	a, _ := s.ask(s.client, http.MethodGet, accountPath(r.ID)+"?text=true", "", nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.versions[string(a.body)], string(a.body)
}

// stale finds a nats-server that does not run what is stored.
func (s *soak) stale() (*accountModel, string) {
	for _, r := range s.models {
		v, token := s.stored(r)
		if v == nil {
			continue
		}
		for _, n := range s.cluster.nodes {
			if runs, loaded := n.runs(r.ID); loaded && runs != token {
				r.mu.Lock()
				has := r.versions[runs]
				r.mu.Unlock()
				return r, fmt.Sprintf("%s runs %v, stored is %s", n.name, has, v)
			}
		}
		if has, err := s.cluster.nodes[1].now.AccountResolver().Fetch(r.ID); err != nil ||
			has != token {
			return r, fmt.Sprintf("the resolver of n2 has not what is stored: %v", err)
		}
	}
	return nil, ""
}

// runs is the JWT that the nats-server has loaded of an account.
func (n *node) runs(key string) (token string, loaded bool) {
	z, err := n.now.Accountz(&server.AccountzOptions{Account: key})
	if err != nil {
		return "", false
	}
	return z.Account.Jwt, true
}

// misplaced finds a user that is connected and should not be, or the reverse.
func (s *soak) misplaced() (*accountModel, string) {
	for _, r := range s.models[:residents] {
		v, _ := s.stored(r)
		for _, n := range s.cluster.nodes {
			here := n.connected(s.t, r.ID)
			p := s.users[r]
			switch {
			case v == nil:
			case !here[p.first.id]:
				return r, "the user that was never revoked is not connected to " + n.name
			case here[p.second.id] == v.revokes:
				return r,
					fmt.Sprintf("the second user is connected to %s: %t, but %s revokes it: %t",
						n.name, here[p.second.id], v, v.revokes)
			}
		}
	}
	return nil, ""
}

// connected are the users of an account.
func (n *node) connected(t interface{ Fatal(...any) }, key string) map[string]bool {
	z, err := n.now.Connz(&server.ConnzOptions{Account: key, Username: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]bool{}
	for _, c := range z.Conns {
		users[c.AuthorizedUser] = true
	}
	return users
}

// acknowledged waits until every nats-server has acknowledged what is stored. Only the cache is
// still owed what it has not cached: it is told when a user connects to the account there.
func (s *soak) acknowledged() {
	s.t.Helper()
	left := slices.Clone(s.models)
	s.eventually("every push is acknowledged", func() (r *accountModel, outstanding string) {
		left = slices.DeleteFunc(left, func(one *accountModel) bool {
			if v, _ := s.stored(one); v == nil {
				return true
			}
			a, _ := s.ask(s.client, http.MethodGet, accountPath(one.ID)+"?delivery=true", "", nil)
			var d struct {
				Owed []struct{ Server, Reason string }
			}
			done := json.Unmarshal(a.body, &d) == nil
			for _, o := range d.Owed {
				done = done && o.Server == "n3" &&
					strings.HasPrefix(o.Reason, "it has not cached the account")
			}
			if !done {
				r, outstanding = one, string(a.body)
			}
			return done
		})
		return r, outstanding
	})
}

// idle is what a process needs that has nothing to do.
type idle struct {
	descriptors []string
	goroutines  []string
	memory      int // MiB
}

// warm lets the account server do a little of everything, and measures it when it idles again. It
// ends that process: the goroutines are those that the runtime prints at SIGQUIT.
func (s *soak) warm() idle {
	s.t.Helper()
	rng := rand.New(rand.NewPCG(s.seed, 0))
	for _, r := range s.models[:residents] {
		s.push(s.client, r, s.newer(rng, r))
		s.look(s.client, r, 0)
	}
	s.acknowledged()
	s.client.CloseIdleConnections()
	var i idle
	i.descriptors = s.waitForIdle()
	l := s.cluster.run.Load()
	i.memory = l.resident()
	s.cluster.end(syscall.SIGQUIT)
	i.goroutines = goroutines(l.log.String())
	s.cluster.begin()
	return i
}

// waitForIdle waits until no client is connected by HTTP and returns what is open then. The
// connection to NATS counts: there is always one.
func (s *soak) waitForIdle() (descriptors []string) {
	l := s.cluster.run.Load()
	sockets := func() int {
		descriptors = l.descriptors()
		n := 0
		for _, d := range descriptors {
			if strings.HasPrefix(d, "socket:") {
				n++
			}
		}
		return n
	}
	// the listener and NATS
	for end := time.Now().Add(15 * time.Second); sockets() > 2 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	return descriptors
}

// leaks compares the process that has done so much with the one that had done little.
func (s *soak) leaks(before idle) {
	s.t.Helper()
	s.client.CloseIdleConnections()
	after := s.waitForIdle()
	l := s.cluster.run.Load()
	memory := l.resident()
	if len(after) > len(before.descriptors) {
		s.t.Errorf("%d descriptors are open, %d were before:\n%s\n\n%s", len(after),
			len(before.descriptors),
			strings.Join(after, "\n"), strings.Join(before.descriptors, "\n"))
	}
	s.cluster.end(syscall.SIGQUIT)
	now := goroutines(l.log.String())
	s.t.Logf("after %d requests: %d descriptors, before %d; %d goroutines, "+
		"before %d; %d MiB, before %d",
		l.requests.Load(), len(after), len(before.descriptors), len(now),
		len(before.goroutines), memory,
		before.memory)
	// One more listens for connections once the cache has been cold, and the runtime may have
	// started another.
	if len(now) > len(before.goroutines)+2 {
		s.t.Errorf("goroutines started by:\n%s\nbefore:\n%s", strings.Join(now, "\n"),
			strings.Join(before.goroutines, "\n"))
	}
	if most := 3*before.memory + 100; memory > most {
		s.t.Errorf("%d MiB resident, %d at the beginning", memory, before.memory)
	}
	s.cluster.begin()
}

var goroutine = regexp.MustCompile(`(?m)^goroutine \d+ .*:\n(?:[^\n]+\n)*`)

// goroutines reads from a stack dump which function started each goroutine.
func goroutines(log string) []string {
	var all []string
	for _, g := range goroutine.FindAllString(log, -1) {
		_, by, _ := strings.Cut(g, "created by ")
		by, _, _ = strings.Cut(by, "\n")
		by, _, _ = strings.Cut(by, " in goroutine")
		all = append(all, by)
	}
	slices.Sort(all)
	return all
}

// shutDown stops the account server in order: the JWTs and the index are all that it leaves, and a
// journal of the nats-servers that have acknowledged them.
func (s *soak) shutDown() {
	s.t.Helper()
	for _, r := range s.models {
		s.look(s.client, r, 0)
	}
	s.acknowledged()
	s.cluster.end(syscall.SIGTERM)
	store := filepath.Join(s.cluster.env.dir, "store")
	hidden, _ := filepath.Glob(filepath.Join(store, ".*"))
	inside, _ := filepath.Glob(filepath.Join(store, ".journal", "*"))
	if len(hidden) != 1 || len(inside) != 2 || filepath.Base(inside[0]) != "index" ||
		filepath.Base(inside[1]) != "journal" {
		s.t.Errorf("the stop leaves %q with %q", hidden, inside)
	}
	for _, r := range s.models {
		began := r.look()
		token, err := os.ReadFile(filepath.Join(s.cluster.env.dir, "store", r.ID[54:], r.ID+".jwt"))
		if err != nil && began.known {
			s.fail(r, "%v", err)
		} else if err == nil {
			if err := r.saw(began, "the file", token); err != nil {
				s.fail(r, "%v", err)
			}
		}
	}
}
