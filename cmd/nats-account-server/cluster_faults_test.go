//go:build unix

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

// makeFaults makes things go wrong, one or two at a time, until a moment. Then everything is healed.
func (s *clusterSoak) makeFaults(rng *rand.Rand, until time.Time) {
	longest := min(time.Until(until)/3, 12*time.Second)
	for time.Now().Before(until) && s.ctx.Err() == nil {
		pause(s.ctx, upTo(rng, time.Second))
		faults := []fault{s.fault(rng)}
		if second := s.fault(rng); rng.IntN(3) == 0 && second.where != faults[0].where {
			faults = append(faults, second)
		}
		for _, f := range faults {
			s.note("%s", f.name)
			f.begin()
		}
		pause(s.ctx, min(time.Until(until), upTo(rng, longest)))
		for _, f := range slices.Backward(faults) {
			f.heal()
			s.note("over: %s", f.name)
		}
	}
}

func (s *clusterSoak) fault(rng *rand.Rand) fault {
	m := s.machine(rng)
	switch rng.IntN(12) {
	case 0, 1:
		return s.ended(m, syscall.SIGKILL)
	case 2:
		return s.ended(m, syscall.SIGTERM)
	case 3:
		return s.accountServerStandsStill(m)
	case 4, 5:
		m = s.leaderOr(m)
		return standsStill(atCluster, m.name(), func() *process { return m.kv })
	case 6:
		return s.killed(s.leaderOr(m))
	case 7:
		return s.killed(slices.DeleteFunc(slices.Clone(s.cluster.machines), func(o *machine) bool {
			return o == m
		})...)
	case 8:
		m = s.leaderOr(m)
		return lines(atLinks, "isolated is machine "+m.name(), s.cluster.linesOf(m),
			(*natstest.Relay).Down, (*natstest.Relay).Up)
	case 9:
		m = s.leaderOr(m)
		return lines(atLinks, "dark are the lines of "+m.name(), s.cluster.linesOf(m),
			(*natstest.Relay).Freeze, (*natstest.Relay).Thaw)
	case 10:
		return lines(atLinks, fmt.Sprintf("dark are the lines of account server %d", m.number), m.links,
			(*natstest.Relay).Freeze, (*natstest.Relay).Thaw)
	}
	return fault{"the leader steps down", atHTTP, s.cluster.stepDown, func() {}}
}

// leaderOr is the machine of the leader; another one if there is none.
func (s *clusterSoak) leaderOr(m *machine) *machine {
	if leader := s.cluster.leader(); leader != nil {
		return leader
	}
	return m
}

// ended ends an account server, and starts the next one in its place.
func (s *clusterSoak) ended(m *machine, signal syscall.Signal) fault {
	name := fmt.Sprintf("%s of account server %d", signal, m.number)
	return fault{name, atProcess, func() { s.cluster.end(m, signal) }, func() { s.begin(m) }}
}

// standsStill lets a process stand still.
func standsStill(where place, name string, which func() *process) fault {
	return fault{name + " stands still", where,
		func() { which().signal(syscall.SIGSTOP) }, func() { which().signal(syscall.SIGCONT) }}
}

// accountServerStandsStill lets an account server stand still, and notes when it did.
func (s *clusterSoak) accountServerStandsStill(m *machine) fault {
	f := standsStill(atProcess, fmt.Sprintf("account server %d", m.number),
		func() *process { return m.run.Load().process })
	stop, goOn := f.begin, f.heal
	var began time.Time
	f.begin = func() {
		stop()
		began = time.Now()
	}
	f.heal = func() {
		m.run.Load().stood.Store(&standstill{began, time.Now()})
		goOn()
	}
	return f
}

// killed kills nats-servers that keep the bucket.
func (s *clusterSoak) killed(machines ...*machine) fault {
	var names []string
	for _, m := range machines {
		names = append(names, m.name())
	}
	return fault{"killed: " + strings.Join(names, ", "), atCluster, func() {
		for _, m := range machines {
			m.kv.kill()
		}
	}, func() {
		for _, m := range machines {
			s.cluster.beginKV(m)
		}
	}}
}

func lines(where place, name string, all []*natstest.Relay, begin, heal func(*natstest.Relay)) fault {
	each := func(do func(*natstest.Relay)) func() {
		return func() {
			for _, line := range all {
				do(line)
			}
		}
	}
	return fault{name, where, each(begin), each(heal)}
}
