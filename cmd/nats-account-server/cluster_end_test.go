//go:build unix

package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/jwttest"
)

// converge waits until every account server serves of each account what the bucket has of it.
func (s *clusterSoak) converge() {
	s.t.Helper()
	began := time.Now()
	for end := began.Add(convergeWithin); ; time.Sleep(100 * time.Millisecond) {
		why := s.differs()
		if why == "" {
			break
		}
		if time.Now().After(end) {
			s.t.Errorf("%s after everything was healed: %s", convergeWithin, why)
			break
		}
	}
	s.note("all serve the same %s after everything was healed", time.Since(began))
}

// differs says which account server does not serve what the bucket has last; "" if none does.
func (s *clusterSoak) differs() string {
	if s.cluster.leader() == nil {
		return "the bucket has no leader"
	}
	messages, err := s.cluster.messages()
	if err != nil {
		return fmt.Sprintf("the bucket can't be read: %v", err)
	}
	last := map[string]bucketMessage{}
	for _, m := range messages {
		last[m.key] = m
	}
	for key, message := range last {
		account := strings.TrimPrefix(key, "a.")
		for _, m := range s.cluster.machines {
			version := s.look(http.DefaultClient, m, account)
			if version == nothing || string(s.tokens[version]) != string(message.value) {
				return fmt.Sprintf("account server %d serves version %d of %s, revision %d is %q",
					m.number, version, account, message.number, message.value)
			}
		}
	}
	return ""
}

// judge compares what was seen with what the bucket has.
func (s *clusterSoak) judge() {
	s.t.Helper()
	messages, err := s.cluster.messages()
	must(s.t, err)
	s.history.stream = nil
	for _, m := range messages {
		version, isKnown := s.byToken[string(m.value)]
		if !isKnown {
			s.t.Errorf("revision %d of %s has %q, which was never made", m.number, m.key, m.value)
			continue
		}
		s.history.stream = append(s.history.stream, revision{m.number, version, m.at})
	}
	s.mu.Lock() // the account servers go on to tell NATS
	found := s.history.faults()
	s.mu.Unlock()
	for _, text := range found[:min(len(found), 10)] {
		s.t.Error(text)
	}
	s.permissions()
	s.losses()
	if s.t.Failed() {
		s.t.Logf("CLUSTER_SEED=%d; %d faults were found after %s. What happened:\n%s", s.seed, len(found),
			time.Since(s.began).Round(time.Second), strings.Join(s.events, "\n"))
		s.keepLogs()
	}
}

// report says how much was done.
func (s *clusterSoak) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.history
	s.t.Logf("%d pushes, %d reads, %d times told, %d revisions of %d accounts, %d faults made\n%s",
		len(h.pushes), len(h.reads), len(h.told), len(h.stream), len(s.accounts), len(s.events)/2,
		s.answerCounts())
}

// keepLogs writes the logs of the last processes into the test's artifacts: `go test -artifacts`
// keeps them.
func (s *clusterSoak) keepLogs() {
	dir := s.t.ArtifactDir()
	for _, m := range s.cluster.machines {
		account := fmt.Sprintf("account-server-%d.log", m.number)
		jwttest.File(s.t, dir, account, []byte(m.run.Load().log.String()))
		jwttest.File(s.t, dir, m.name()+".log", []byte(m.kv.log.String()))
	}
	s.t.Logf("the logs are in %s", dir)
}

// permissions finds what an account server wanted to do in the bucket and may not.
func (s *clusterSoak) permissions() {
	for _, m := range s.cluster.machines {
		for line := range strings.Lines(m.kv.log.String()) {
			if strings.Contains(line, "Violation") {
				s.t.Errorf("%s: %s", m.name(), line)
			}
		}
	}
}

// losses finds an account server that takes the bucket for one that has lost revisions. It has not: its
// nats-servers sync always.
func (s *clusterSoak) losses() {
	for _, m := range s.cluster.machines {
		for line := range strings.Lines(m.run.Load().log.String()) {
			if strings.Contains(line, "has lost what it acknowledged") {
				s.t.Errorf("account server %d: %s", m.number, line)
			}
		}
	}
}

func (s *clusterSoak) answerCounts() string {
	var all []string
	for text, n := range s.answers {
		all = append(all, fmt.Sprintf("%6d %s", n, text))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
