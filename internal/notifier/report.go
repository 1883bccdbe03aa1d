package notifier

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"nats-account-server/internal/accounts"
)

// accountzSubject asks all nats-servers what they run for an account. An acknowledgement does not
// say that: a nats-server that keeps JWTs may have saved one without running it.
const accountzSubject = "$SYS.REQ.SERVER.PING.ACCOUNTZ"

// accountzOf is the subject of the same request to one process.
func accountzOf(id string) string { return "$SYS.REQ.SERVER." + id + ".ACCOUNTZ" }

// accountPayload is the payload of both. Without one, they ask which accounts are loaded.
func accountPayload(key string) []byte { return fmt.Appendf(nil, `{"account":%q}`, key) }

// gatherTimeout bounds the wait for the answers that a report needs. A client waits for it.
const gatherTimeout = time.Second

// Report says what is known of every nats-server about an account's stored JWT: whether it has
// acknowledged it, and, if ask is set, which one it runs. It waits for answers to an announcement,
// up to 1.5 s, since what a server has refused is not known over a restart. If ask is set it waits
// for up to a second more.
func (n *Notifier) Report(ctx context.Context, key string, ask bool) accounts.Report {
	n.mu.Lock()
	if ask && n.session != nil {
		n.incomplete.ask(key)
	}
	n.mu.Unlock()
	n.wait(ctx, key, discoveryTimeout+mostWait, true)
	n.mu.Lock()
	s := n.session
	n.mu.Unlock()
	var running map[string]accounts.Running
	if s != nil && ask {
		running = s.gather(ctx, key)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	report := accounts.Report{Delivery: n.deliveryLocked(key)}
	latest := n.outbox.PendingFor(key)
	for _, name := range n.outbox.Servers() {
		r := accounts.ServerReport{Name: name, Seen: n.outbox.LastSeen(name), Acked: true}
		if n.outbox.IsPending(name, latest.Seq) {
			r.Acked, r.Since = false, latest.At
		}
		n.describeLocked(&r, key, latest.Seq)
		if what, asked := running[name]; asked {
			r.Runs = &what
			if r.State == accounts.ServerNotInUse && r.Acked && what.State == accounts.Loaded {
				r.State = accounts.ServerSettled // it has fetched the account since
			}
		}
		report.Servers = append(report.Servers, r)
	}
	return report
}

// describeLocked adds what is known of a nats-server. n.mu must be held.
func (n *Notifier) describeLocked(r *accounts.ServerReport, key string, seq uint64) {
	if n.session != nil {
		if srv := n.session.servers.byName[r.Name]; srv != nil {
			r.Here, r.ID, r.Version = true, srv.id, srv.version
			r.State, r.Reason = standings{n.session.announcements}.state(srv, key, seq)
			if r.State.IsAcknowledged() {
				r.Partly = n.incomplete.reason(key, r.Name)
			}
			return
		}
	}
	r.State = accounts.ServerAway
	if r.Acked {
		r.State = n.results.state(key, r.Name)
	}
}

// gathering has what nats-servers answer that they run for one account.
type gathering struct {
	missing map[string]bool             // servers that have not answered yet
	answers map[string]accounts.Running // by server, NoAnswer before it has answered
	done    chan struct{}               // closed when all have answered
}

// gatherings are those that wait for answers. Notifier.mu guards them.
type gatherings struct {
	byNumber map[string]*gathering
	begun    int // how many there were so far
}

// add adds a gathering from every server in byName, and returns its number.
func (s *gatherings) add(byName map[string]*server) (number string, q *gathering) {
	q = &gathering{
		missing: make(map[string]bool),
		answers: make(map[string]accounts.Running),
		done:    make(chan struct{}),
	}
	for name := range byName {
		q.missing[name], q.answers[name] = true, accounts.Running{State: accounts.NoAnswer}
	}
	s.begun++
	number = strconv.Itoa(s.begun)
	s.byNumber[number] = q
	return number, q
}

// answer takes one server's answer. Only the first one of a server counts.
func (s *gatherings) answer(number, server string, runs accounts.Running) {
	q := s.byNumber[number]
	if q == nil || !q.missing[server] {
		return
	}
	q.answers[server] = runs
	if delete(q.missing, server); len(q.missing) == 0 {
		close(q.done)
	}
}

// gather asks every nats-server that is there what it runs for an account, and returns the answers
// by server. That takes up to a second.
func (s *session) gather(ctx context.Context, key string) map[string]accounts.Running {
	s.n.mu.Lock()
	number, q := s.gatherings.add(s.servers.byName)
	s.n.mu.Unlock()
	if len(q.answers) > 0 {
		s.conn.request(request{accountzSubject, aboutRuns + "." + number, accountPayload(key)})
		ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
		defer cancel()
		select {
		case <-q.done:
		case <-ctx.Done():
		}
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	delete(s.gatherings.byNumber, number) // from here on the answers do not change
	return q.answers
}
