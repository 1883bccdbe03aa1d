package notifier

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// whatRunsSubject asks all nats-servers what they run for an account.
const whatRunsSubject = "$SYS.REQ.SERVER.PING.ACCOUNTZ"

// questionTimeout bounds the wait for the answers to a question.
const questionTimeout = time.Second

// Report says what is known of every nats-server about an account's stored JWT: whether it has
// acknowledged it, and, if ask is set, which one it runs. It takes up to a second then.
func (n *Notifier) Report(ctx context.Context, key string, ask bool) accounts.Report {
	n.mu.Lock()
	s := n.session
	n.mu.Unlock()
	var running map[string]accounts.Running
	if s != nil && ask {
		running = s.ask(ctx, key)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	report := accounts.Report{State: n.deliveryStateLocked()}
	latest := n.outbox.PendingFor(key)
	for _, name := range n.outbox.Servers() {
		r := accounts.ServerReport{Name: name, Seen: n.outbox.LastSeen(name), Acked: true}
		if n.outbox.IsPending(name, latest.Seq) {
			r.Acked, r.Since = false, latest.At
		}
		if n.session != nil {
			n.session.describe(&r, key)
		}
		if what, asked := running[name]; asked {
			r.Runs = &what
		}
		report.Servers = append(report.Servers, r)
	}
	slices.SortFunc(report.Servers, func(a, b accounts.ServerReport) int {
		return strings.Compare(a.Name, b.Name)
	})
	return report
}

// describe adds what the session knows of a nats-server. A reason is given only for a change that
// it has not acknowledged.
func (s *session) describe(r *accounts.ServerReport, key string) {
	srv := s.servers.byName[r.Name]
	if srv == nil {
		return
	}
	r.Here, r.ID, r.Version = true, srv.id, srv.version
	if r.Acked {
		return
	}
	switch a := s.announcements.byKey[key]; {
	case srv.state == silent:
		r.Reason = "it does not answer"
	case a == nil:
	case a.notCached[r.Name]:
		r.Reason = "it has not cached the account: it gets the update when a client connects"
	case a.refused[r.Name] != "":
		r.Reason = a.refused[r.Name]
	case a.followUp == afterSkip:
		r.Reason = "it has not loaded the account: the update is sent again in a moment"
	}
}

// ask asks every nats-server that is there what it runs for an account, and returns the answers by
// server. That takes up to a second.
func (s *session) ask(ctx context.Context, key string) map[string]accounts.Running {
	s.n.mu.Lock()
	number, q := s.questions.begin(s.servers)
	s.n.mu.Unlock()
	s.publish(whatRunsSubject, aboutRuns+"."+number, fmt.Appendf(nil, `{"account":%q}`, key))
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	select {
	case <-q.done:
	case <-ctx.Done():
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.questions.end(number)
	return q.answers
}

// confirm asks which servers run the JWT that is stored. A change that came by a broadcast has
// reached every nats-server that was there. This finds the others without a second update for all.
func (s *session) confirm(ctx context.Context, o outgoing, token []byte) {
	answers := s.ask(ctx, o.Key)
	s.n.mu.Lock()
	defer s.n.unlock()
	defer s.wakeUp()
	want := bytes.TrimSpace(token)
	a := s.announcements.active[o.Key]
	if a == nil || a.Seq != o.Seq || a.number != o.number {
		return
	}
	for name, r := range answers {
		srv := s.servers.byName[name]
		switch {
		case r.State == accounts.Loaded && bytes.Equal(bytes.TrimSpace(r.JWT), want),
			// It fetches the account when it needs it, or has saved what it heard. Only a cache may
			// get an older JWT.
			r.State == accounts.NotLoaded && srv != nil && srv.resolver != caching:
			s.n.outbox.Acknowledge(name, o.Seq)
		}
	}
	s.announcements.endQuestion(a, time.Now())
}

// questions are those that wait for answers what the servers run for one account.
type questions struct {
	open  map[string]*question // by number
	count int                  // so far
}

type question struct {
	missing int                         // how many answers are not in yet
	answers map[string]accounts.Running // by server, NoAnswer before it has answered
	done    chan struct{}               // closed when all have answered, or the time is over
}

// begin returns a new question to all servers, and its number. Without servers it has ended
// already.
func (q *questions) begin(servers *servers) (number string, asked *question) {
	asked = &question{
		missing: len(servers.byName),
		answers: make(map[string]accounts.Running),
		done:    make(chan struct{}),
	}
	for name := range servers.byName {
		asked.answers[name] = accounts.Running{State: accounts.NoAnswer}
	}
	q.count++
	number = strconv.Itoa(q.count)
	q.open[number] = asked
	if asked.missing == 0 {
		q.end(number)
	}
	return number, asked
}

// answer takes one server's answer to a question. Only the first one of a server counts.
func (q *questions) answer(number string, servers *servers, a answer) {
	asked := q.open[number]
	if asked == nil {
		return
	}
	name, _ := servers.find(a.serverID)
	if r, isAsked := asked.answers[name]; !isAsked || r.State != accounts.NoAnswer {
		return
	}
	asked.answers[name] = a.running
	if asked.missing--; asked.missing == 0 {
		q.end(number)
	}
}

// end ends a question. A second call does nothing.
func (q *questions) end(number string) {
	if asked := q.open[number]; asked != nil {
		delete(q.open, number)
		close(asked.done)
	}
}
