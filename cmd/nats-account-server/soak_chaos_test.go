package main_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"nats-account-server/internal/natstest"
)

// fault is something that goes wrong.
type fault struct {
	name  string
	where place // two faults at once are at different places
	begin func()
	heal  func() // nil if it is over at once
}

// place is where a fault is. Those of lower places are healed first: a nats-server that starts asks
// the account server for its system account.
type place int

const (
	atProcess place = iota
	atHTTP
	atLinks
	atCluster
)

// makeFaults makes things go wrong, one or two at a time, until a moment. kills says whether the
// account server's process may end.
func (s *soak) makeFaults(rng *rand.Rand, until time.Time, kills bool) {
	for time.Now().Before(until) && s.ctx.Err() == nil {
		pause(s.ctx, upTo(rng, time.Second))
		faults := []fault{s.fault(rng, kills)}
		if second := s.fault(rng, kills); rng.IntN(3) == 0 && second.where != faults[0].where {
			faults = append(faults, second)
		}
		for _, f := range faults {
			s.note("%s", f.name)
			f.begin()
		}
		pause(s.ctx, upTo(rng, 3*time.Second))
		slices.SortFunc(faults, func(a, b fault) int { return int(a.where) - int(b.where) })
		for _, f := range faults {
			if f.heal != nil {
				f.heal()
				s.note("over: %s", f.name)
			}
		}
	}
}

func (s *soak) fault(rng *rand.Rand, kills bool) fault {
	n := rng.IntN(12)
	switch {
	case n < 2 && kills:
		return s.ended("kill -9", syscall.SIGKILL)
	case n < 3 && kills:
		return s.ended("SIGTERM", syscall.SIGTERM)
	case n < 5:
		return s.reloaded(rng)
	case n < 6:
		return fault{"n1 can't reach the account server", atHTTP, s.cluster.httpRelay.Down,
			s.cluster.httpRelay.Up}
	case n < 8:
		return s.cutOff()
	case n < 9:
		return s.frozen()
	case n < 11:
		return s.partitioned(rng)
	default:
		return s.restarted(rng)
	}
}

// ended ends the process; the next one must know everything that this one acknowledged.
func (s *soak) ended(name string, signal syscall.Signal) fault {
	return fault{name, atProcess, func() { s.cluster.end(signal) }, func() {
		s.cluster.begin()
		for _, r := range s.models {
			s.look(s.client, r, 0)
		}
	}}
}

func (s *soak) reloaded(rng *rand.Rand) fault {
	c := settings{trace: rng.IntN(3) == 0, debug: rng.IntN(3) == 0}
	switch rng.IntN(5) {
	case 0:
		c.readTimeout = 3000 + rng.IntN(3000)
	case 1:
		c.reconnectWait = 100 + rng.IntN(500)
	case 2:
		c.broken = true
	}
	return fault{fmt.Sprintf("SIGHUP with %+v", c), atProcess, func() {
		s.cluster.configure(c)
		s.cluster.reload()
		s.cluster.configure(settings{}) // for the next start
	}, nil}
}

// reload returns when the process has taken the configuration, or refused it.
func (w *cluster) reload() {
	w.t.Helper()
	l := w.run.Load()
	l.signal(syscall.SIGHUP)
	l.wait("received sig-hup")
	l.wait("configuration reloaded|the new configuration is refused")
}

// cutOff ends the account server's connection to NATS.
func (s *soak) cutOff() fault {
	return s.links("NATS is cut off", (*natstest.Relay).Down, (*natstest.Relay).Up)
}

// frozen leaves the connection up, and nothing comes through.
func (s *soak) frozen() fault {
	return s.links("NATS is silent", (*natstest.Relay).Freeze, (*natstest.Relay).Thaw)
}

func (s *soak) links(name string, begin, heal func(*natstest.Relay)) fault {
	all := func(do func(*natstest.Relay)) func() {
		return func() {
			for _, n := range s.cluster.nodes {
				do(n.link)
			}
		}
	}
	return fault{name, atLinks, all(begin), all(heal)}
}

// partitioned separates a nats-server from the others. The account server and users reach it as
// before.
func (s *soak) partitioned(rng *rand.Rand) fault {
	n := s.cluster.nodes[rng.IntN(len(s.cluster.nodes))]
	all := func(do func(*natstest.Relay)) func() {
		return func() {
			for _, line := range n.routes() {
				do(line)
			}
		}
	}
	return fault{n.name + " is alone", atCluster, all((*natstest.Relay).Down),
		all((*natstest.Relay).Up)}
}

func (s *soak) restarted(rng *rand.Rand) fault {
	n := s.cluster.nodes[rng.IntN(len(s.cluster.nodes))]
	return fault{n.name + " restarts", atCluster, func() {
		natstest.Stop(n.now)
	}, func() { s.cluster.startNode(n) }}
}

// note keeps what happened.
func (s *soak) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (s *soak) lately() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.events[max(0, len(s.events)-30):], "\n")
}
