package notifier

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// questionTimeout bounds the wait for the answers to a question.
const questionTimeout = time.Second

// Report says what is known of every nats-server about an account's stored JWT: whether it has acknowledged it, and,
// if ask is set, which one it runs. It takes up to a second then.
func (n *Notifier) Report(ctx context.Context, key string, ask bool) accounts.Report {
	var running map[string]accounts.Running
	if ask {
		running = n.ask(ctx, key)
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
	slices.SortFunc(report.Servers, func(a, b accounts.ServerReport) int { return strings.Compare(a.Name, b.Name) })
	return report
}

// describe adds what the session knows of a nats-server.
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
		r.Reason = "it has not cached the account: it is told when somebody connects to it there"
	case a.refused[r.Name] != "":
		r.Reason = a.refused[r.Name]
	case a.followUp == afterSkip:
		r.Reason = "it has not loaded the account, and is told again in a moment"
	}
}

// ask asks every nats-server that is there what it runs for an account, and returns the answers by server; nil when
// there is no server to ask.
func (n *Notifier) ask(ctx context.Context, key string) map[string]accounts.Running {
	n.mu.Lock()
	s := n.session
	if s == nil || len(s.servers.byName) == 0 {
		n.mu.Unlock()
		return nil
	}
	number, q, subjects := s.questions.begin(s.servers)
	n.mu.Unlock()
	for _, subject := range subjects {
		s.publish(subject, aboutRuns+"."+number, accountQuery(key))
	}
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	select {
	case <-q.done:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.questions.end(number)
	return q.answers
}

// questions are those that wait for answers what the servers run for one account.
type questions struct {
	open  map[string]*question // by number
	count int                  // so far
}

type question struct {
	missing int                         // how many answers are
	answers map[string]accounts.Running // by server, NoAnswer before it has answered
	done    chan struct{}               // closed when all have answered, or the session has ended
}

// begin returns a new question to all servers, and the subjects to ask.
func (q *questions) begin(servers *servers) (number string, asked *question, subjects []string) {
	asked = &question{answers: make(map[string]accounts.Running), done: make(chan struct{}), missing: len(servers.byName)}
	for name, srv := range servers.byName {
		asked.answers[name] = accounts.Running{State: accounts.NoAnswer}
		if srv.id != "" {
			subjects = append(subjects, "$SYS.REQ.SERVER."+srv.id+".ACCOUNTZ")
		}
	}
	q.count++
	number = strconv.Itoa(q.count)
	if q.open == nil {
		q.open = make(map[string]*question)
	}
	q.open[number] = asked
	return number, asked, subjects
}

// answer takes one server's answer to a question.
func (q *questions) answer(number string, servers *servers, a answer) {
	asked := q.open[number]
	name, srv := servers.find(a.serverID)
	if asked == nil || srv == nil {
		return
	}
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

// endAll ends all questions.
func (q *questions) endAll() {
	for number := range q.open {
		q.end(number)
	}
}
