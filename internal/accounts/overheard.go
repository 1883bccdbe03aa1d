package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

const (
	// remindEvery is how often an account is announced again since somebody else announced another JWT of it.
	remindEvery = time.Second
	// remindMost is how long two servers who contradict each other for ever come to wait.
	remindMost = 10 * time.Minute
)

// overheard takes an update that passed by on a subject of the nats-servers. key is what the subject says, unchecked. A
// nats-server runs any JWT that the operator signed, an older one too, and one that keeps JWTs in a directory keeps
// whatever it is given. So if the update may not replace what is stored here, the stored one is announced again, at
// most once a second per account.
func (r *Registry) overheard(ctx context.Context, key string, token []byte, src Origin) (Result, error) {
	if !trust.IsAccountKey(key) {
		return Result{}, ErrBadSubject
	}
	result, err := r.offered(ctx, key, token, src)
	if err != nil && !errors.Is(err, ErrSave) && !errors.Is(err, ErrReadOnly) {
		r.contradict(ctx, key, token, src)
	}
	return result, err
}

// contradict announces what is stored, if something is.
func (r *Registry) contradict(ctx context.Context, key string, token []byte, src Origin) {
	if _, err := r.GetLocal(ctx, key); err != nil {
		return
	}
	if r.reminders.begin(key, sha256.Sum256(token), src.Peer, func() { r.remind(key) }) {
		r.log.Warn(fmt.Sprintf("%s - somebody announced a JWT that may not replace the stored one: "+
			"the stored one is announced again", short(key)))
		r.remind(key)
	}
}

// remind announces the stored JWT again.
func (r *Registry) remind(key string) {
	seq, err := r.committer.Touch(context.Background(), key, KindReassert)
	if errors.Is(err, fs.ErrNotExist) {
		return // it is the configured system account, or has just been deleted
	}
	if err != nil {
		r.log.Warn(fmt.Sprintf("%s - can't be announced again - %s", short(key), err))
		return
	}
	r.announcer.Announce(key, seq, r.now())
}

// reminders keeps what follows an event from happening more than once in a period, without losing the last event.
type reminders struct {
	mu      sync.Mutex
	running map[string]*reminder
}

// reminder is the period of one account, and one more period in which it is remembered.
type reminder struct {
	again  bool   // there was another event in it
	over   bool   // it has ended without one
	of     Digest // what was announced to begin it
	period time.Duration
	turn   int // how many have begun
}

// begin says whether the event is to be followed at once. If not, then is called at the end of the period. When it is
// another account server that announces the same thing after each reminder, neither will give in: the periods double.
func (m *reminders) begin(key string, of Digest, peer bool, then func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.running[key]
	if now == nil {
		now = &reminder{period: remindEvery, over: true}
		if m.running == nil {
			m.running = make(map[string]*reminder)
		}
		m.running[key] = now
	} else if peer && now.of == of {
		now.period = min(2*now.period, remindMost)
	} else {
		now.period = remindEvery
	}
	if now.of = of; !now.over {
		now.again = true
		return false
	}
	now.over = false
	m.run(key, now, then)
	return true
}

// run begins a period, for who holds mu.
func (m *reminders) run(key string, r *reminder, then func()) {
	r.turn++
	turn := r.turn
	time.AfterFunc(r.period, func() { m.end(key, r, turn, then) })
}

func (m *reminders) end(key string, r *reminder, turn int, then func()) {
	m.mu.Lock()
	again := false
	switch {
	case r.turn != turn: // another period has begun
	case r.again:
		again, r.again = true, false
		m.run(key, r, then)
	case !r.over:
		r.over = true
		m.run(key, r, then)
	default:
		delete(m.running, key)
	}
	m.mu.Unlock()
	if again {
		then()
	}
}

// Report says what is known of every nats-server about an account's stored JWT. If they are to be asked which one
// they run, it takes up to a second.
func (r *Registry) Report(ctx context.Context, key string, ask bool) Report {
	return r.announcer.Report(ctx, key, ask)
}

// SubjectOf is the account that a JWT claims to be of, unchecked; "" if it does not say.
func SubjectOf(token []byte) string {
	head, err := trust.Peek(bytes.TrimSpace(token))
	if err != nil {
		return ""
	}
	return head.Subject
}
