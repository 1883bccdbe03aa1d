package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"nats-account-server/internal/operator"
)

// remindEvery is how often an account is announced again since somebody else announced another JWT of it.
const remindEvery = time.Second

// Overheard judges an update of an account that somebody else has announced. A nats-server runs any JWT that the
// operator signed, an older one too, and one that keeps JWTs in a directory keeps whatever it is given. So if the
// update may not replace what is stored here, the stored one is announced again, at most once a second per account.
func (r *Registry) Overheard(ctx context.Context, key string, token []byte) {
	if !operator.IsAccountKey(key) {
		return
	}
	stored, err := r.Lookup(ctx, key)
	if err != nil || r.mayReplace(stored, bytes.TrimSpace(token)) {
		return
	}
	if r.reminders.begin(key, func() { r.remind(key) }) {
		r.log.Warn(fmt.Sprintf("%s - somebody announced a JWT that is older than the stored one, or not the operator's: "+
			"the stored one is announced again", short(key)))
		r.remind(key)
	}
}

// mayReplace says whether the nats-servers may run token although another JWT is stored.
func (r *Registry) mayReplace(stored *Account, token []byte) bool {
	if bytes.Equal(bytes.TrimSpace(stored.JWT), token) {
		return true
	}
	head, err := operator.Peek(token)
	if err != nil || head.IssuedAt < stored.IssuedAt && !ahead(stored.IssuedAt, r.now()) || ahead(head.IssuedAt, r.now()) {
		return false
	}
	_, err = r.trust.Load().Operator.Check(stored.Key, token)
	return err == nil
}

// remind announces the stored JWT again.
func (r *Registry) remind(key string) {
	seq, err := r.committer.Touch(context.Background(), key, "overheard")
	if errors.Is(err, fs.ErrNotExist) {
		return // it is the configured system account
	}
	if err != nil {
		r.log.Warn(fmt.Sprintf("%s - can't be announced again - %s", short(key), err))
		return
	}
	r.announcer.Announce(key, seq, r.now())
}

// reminders keeps what follows an event from happening more than once in a period, without losing the last event.
type reminders struct {
	mu    sync.Mutex
	again map[string]bool // keys whose period has not ended, and whether there was another event in it
}

// begin says whether the event is to be followed at once. If not, then is called at the end of the period.
func (m *reminders) begin(key string, then func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, running := m.again[key]; running {
		m.again[key] = true
		return false
	}
	if m.again == nil {
		m.again = make(map[string]bool)
	}
	m.again[key] = false
	time.AfterFunc(remindEvery, func() { m.end(key, then) })
	return true
}

func (m *reminders) end(key string, then func()) {
	m.mu.Lock()
	again := m.again[key]
	if again {
		m.again[key] = false
		time.AfterFunc(remindEvery, func() { m.end(key, then) })
	} else {
		delete(m.again, key)
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
