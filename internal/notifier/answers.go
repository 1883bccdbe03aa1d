package notifier

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// reply is what nats-servers answer, to a PING and to an update.
type reply struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"ver"`
	} `json:"server"`
	Stats struct {
		ActiveServers int `json:"active_servers"` // that this one knows of, itself included
	} `json:"statsz"`
	Data *struct {
		Message string `json:"message"`
	} `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// hear takes every message that comes to the session's inbox.
func (s *session) hear(m *nats.Msg) {
	what, rest, _ := strings.Cut(strings.TrimPrefix(m.Subject, s.inbox+"."), ".")
	seq, number := parseAttempt(rest)
	var r reply
	unanswered := m.Header.Get("Status") == "503"
	if !unanswered && (json.Unmarshal(m.Data, &r) != nil || r.Server.Name == "") {
		return
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	now := time.Now()
	if what == "ping" {
		s.pong(r, unanswered, now)
		return
	}
	it := s.flying[what]
	if it == nil || it.Seq != seq || it.attempt != number {
		s.late(r, what, seq)
		return
	}
	if unanswered {
		s.conclude(it, now)
		return
	}
	s.answered(it, r, now)
}

// parseAttempt reads the end of a reply subject, "<seq>.<number>". What is none is an attempt that never was.
func parseAttempt(s string) (seq uint64, number int) {
	a, b, _ := strings.Cut(s, ".")
	seq, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return 0, 0
	}
	if number, err = strconv.Atoi(b); err != nil {
		return 0, 0
	}
	return seq, number
}

// pong takes an answer to PING.
func (s *session) pong(r reply, unanswered bool, now time.Time) {
	if unanswered {
		s.meetBy = now
		s.prod()
		return
	}
	s.expected = max(s.expected, r.Stats.ActiveServers)
	s.n.Outbox.Meet(r.Server.Name, now)
	p := s.peers[r.Server.Name]
	if p == nil {
		p = &peer{}
		s.peers[r.Server.Name] = p
		s.n.Log.Debug(fmt.Sprintf("nats-server %s is there, version %s", r.Server.Name, r.Server.Version))
		s.owe(r.Server.Name)
	}
	p.seen, p.old = now, before(r.Server.Version, 2, 2) // it may come back from a restart as a newer version
	if s.meeting && s.complete() {
		s.prod()
	}
}

// owe takes up what a nats-server that has just appeared is still owed.
func (s *session) owe(name string) {
	for _, c := range s.n.Outbox.Changes() {
		if s.items[c.Key] == nil && s.n.Outbox.Lacks(name, c.Seq) {
			s.enqueue(c, nil)
		}
	}
}

// late takes an acknowledgement that comes after its attempt has ended. It counts all the same.
func (s *session) late(r reply, key string, seq uint64) {
	p := s.peers[r.Server.Name]
	if p == nil || !r.applied() {
		return
	}
	s.isBack(r.Server.Name, p)
	s.n.Outbox.Confirm(r.Server.Name, seq)
	if it := s.items[key]; it != nil {
		s.settle(it)
	}
}

func (r reply) applied() bool { return r.Data != nil && r.Error == nil && !r.skipped() }

// skipped says that the nats-server has not loaded the account: it will fetch it when it needs it.
func (r reply) skipped() bool { return r.Data != nil && strings.Contains(r.Data.Message, "skipped") }

// answered takes one nats-server's answer to an announcement.
func (s *session) answered(it *item, r reply, now time.Time) {
	name := r.Server.Name
	p := s.peers[name]
	if p == nil { // it has come since the last PING, or is no nats-server at all
		s.pingSoon(pingSoonest)
		return
	}
	s.isBack(name, p)
	it.heard[name] = true
	switch {
	case r.applied(), r.skipped() && it.sent.Sub(it.At) >= skipWindow:
		s.n.Outbox.Confirm(name, it.Seq)
	case r.skipped():
		it.early = true
	case r.Error != nil:
		s.complain(fmt.Sprintf("nats-server %s refuses the update of %s: %s", name, short(it.Key), r.Error.Description))
	}
	if !s.settle(it) && s.allHeard(it) {
		s.conclude(it, now)
	}
}

// isBack notes that a nats-server that was overdue answers.
func (s *session) isBack(name string, p *peer) {
	if p.late {
		p.late = false
		s.n.Log.Info(fmt.Sprintf("nats-server %s answers again", name))
	}
}

func (s *session) allHeard(it *item) bool {
	for name := range s.peers {
		if !it.heard[name] {
			return false
		}
	}
	return true
}

// settle removes an item that every nats-server there has acknowledged, and says whether it did.
func (s *session) settle(it *item) bool {
	if len(s.peers) == 0 || s.meeting {
		return false
	}
	for name := range s.peers {
		if s.n.Outbox.Lacks(name, it.Seq) {
			return false
		}
	}
	s.remove(it)
	return true
}

func (s *session) remove(it *item) {
	delete(s.items, it.Key)
	delete(s.flying, it.Key)
	if it.index >= 0 {
		heap.Remove(&s.queue, it.index)
	}
	it.release()
	s.prod() // there is room in the air
}

// release lets those go who wait for the end of the attempt.
func (it *item) release() {
	for _, r := range it.waiting {
		close(r.answered)
	}
	it.waiting = nil
}

// conclude ends an attempt that not every nats-server has acknowledged.
func (s *session) conclude(it *item, now time.Time) {
	for name, p := range s.peers {
		switch {
		case it.heard[name] || !s.n.Outbox.Lacks(name, it.Seq):
		case p.old && it.flushed:
			s.n.Outbox.Confirm(name, it.Seq)
		case !p.late && now.Sub(it.sent) >= answerWithin:
			p.late = true
			s.n.Log.Warn(fmt.Sprintf("nats-server %s does not answer account updates: they stay owed to it and are sent again", name))
			s.pingSoon(pingSoonest)
		}
	}
	if !s.settle(it) {
		s.retry(it, now)
	}
}

// retry puts an item off after an attempt: until a skip counts, or for a while that doubles.
func (s *session) retry(it *item, now time.Time) {
	it.release()
	if it.early {
		due := it.At.Add(skipWindow)
		if most := now.Add(skipWindow); due.After(most) {
			due = most // the clock was set back
		}
		s.again(it, due)
		return
	}
	wait := min(time.Second<<min(it.tries, 5), backoffMost)
	it.tries++
	s.again(it, now.Add(wait))
}

// delivery says how far the latest change of an account has got.
func (s *session) delivery(key string) accounts.Delivery {
	d := accounts.Delivery{State: accounts.Sent, Servers: max(1, len(s.peers))}
	it := s.items[key]
	for name := range s.peers {
		if it == nil || !s.n.Outbox.Lacks(name, it.Seq) {
			d.Acked++
		}
	}
	return d
}

// overdue says that nobody is there who answers, or somebody who does not.
func (s *session) overdue() bool {
	for _, p := range s.peers {
		if p.late {
			return true
		}
	}
	return len(s.peers) == 0 && !s.meeting
}

// nextReceipt follows the attempt that is nearest, nil when there is none worth waiting for.
func (s *session) nextReceipt() *receipt {
	var nearest *item
	for _, it := range s.items {
		if it.tries < 2 && (nearest == nil || it.due.Before(nearest.due)) {
			nearest = it
		}
	}
	if nearest == nil {
		return nil
	}
	r := &receipt{n: s.n, key: nearest.Key, answered: make(chan struct{})}
	nearest.waiting = append(nearest.waiting, r)
	return r
}

// before says whether a version such as "2.1.9" is older than major.minor. What can't be read is not.
func before(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// queue is a heap of items, the one that is due first on top.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	it := x.(*item)
	it.index = len(*q)
	*q = append(*q, it)
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	last.index = -1
	*q = (*q)[:len(*q)-1]
	return last
}
