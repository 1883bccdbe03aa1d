package notifier

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// verifyWithin bounds the question what the nats-servers run.
const verifyWithin = time.Second

// inquiry asks every nats-server what it runs for one account.
type inquiry struct {
	open    int                         // how many have not answered
	answers map[string]accounts.Running // by name
	done    chan struct{}
}

func (q *inquiry) end() {
	if q.open > 0 {
		q.open = 0
		close(q.done)
	}
}

// Report says what is known of every nats-server about an account's stored JWT: whether it has acknowledged it, and,
// if they are to be asked, which one it runs. It takes no longer than a second.
func (n *Notifier) Report(ctx context.Context, key string, ask bool) accounts.Report {
	var running map[string]accounts.Running
	if ask {
		running = n.ask(ctx, key)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	report := accounts.Report{State: n.state()}
	latest := n.Outbox.PendingFor(key)
	for _, name := range n.Outbox.Servers() {
		r := accounts.ServerReport{Name: name, Seen: n.Outbox.LastSeen(name), Acked: true}
		if n.Outbox.IsPending(name, latest.Seq) {
			r.Acked, r.Since = false, latest.At
		}
		if n.live != nil {
			n.live.describe(&r, key)
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
	p := s.peers[r.Name]
	if p == nil {
		return
	}
	r.Here, r.ID, r.Version = true, p.id, p.version
	if r.Acked {
		return
	}
	switch it := s.items[key]; {
	case p.late:
		r.Reason = "it does not answer"
	case it == nil:
	case it.cold[r.Name]:
		r.Reason = "it has not cached the account: it is told when somebody connects to it there"
	case it.refused[r.Name] != "":
		r.Reason = it.refused[r.Name]
	case it.early:
		r.Reason = "it has not loaded the account, and is told again in a moment"
	}
}

// ask asks every nats-server that is there what it runs, and waits a moment for the answers.
func (n *Notifier) ask(ctx context.Context, key string) map[string]accounts.Running {
	s, q, subjects, reply := n.pose(key)
	if s == nil {
		return nil
	}
	for _, subject := range subjects {
		s.publish(subject, reply, fmt.Appendf(nil, `{"account":%q}`, key))
	}
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	select {
	case <-q.done:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(s.questions, strings.TrimPrefix(reply, replyRuns+"."))
	q.open = 0
	return q.answers
}

// pose prepares a question to every nats-server that is there.
func (n *Notifier) pose(key string) (s *session, q *inquiry, subjects []string, reply string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s = n.live; s == nil || len(s.peers) == 0 {
		return nil, nil, nil, ""
	}
	q = &inquiry{answers: make(map[string]accounts.Running), done: make(chan struct{}), open: len(s.peers)}
	for name, p := range s.peers {
		q.answers[name] = accounts.Running{State: accounts.NoAnswer}
		if p.id != "" {
			subjects = append(subjects, "$SYS.REQ.SERVER."+p.id+".ACCOUNTZ")
		}
	}
	s.asked++
	number := strconv.Itoa(s.asked)
	s.questions[number] = q
	return s, q, subjects, replyRuns + "." + number
}

// runs takes an answer to such a question.
func (s *session) runs(number string, r reply, unanswered bool) {
	q := s.questions[number]
	if q == nil || q.open == 0 || unanswered {
		return
	}
	name, p := s.find(r.Server.serverID)
	if p == nil || q.answers[name].State != accounts.NoAnswer {
		return
	}
	q.answers[name] = running(r)
	if q.open--; q.open == 0 {
		close(q.done)
	}
}

func running(r reply) accounts.Running {
	switch {
	case r.Data != nil && r.Data.Detail != nil && r.Data.Detail.JWT != "":
		return accounts.Running{State: accounts.Loaded, JWT: []byte(r.Data.Detail.JWT)}
	case r.Error != nil && !strings.Contains(r.Error.Description, "does not exist"):
		return accounts.Running{State: accounts.NoAnswer, Reason: r.Error.Description}
	default:
		return accounts.Running{State: accounts.NotLoaded}
	}
}
