package resolver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

const (
	// findTimeout is how long other servers get to answer. A nats-server that waits for this one
	// does so for 1.9 s.
	findTimeout = time.Second
	// emptyTimeout is how long they get once one of them has said that it does not know the
	// account.
	emptyTimeout = 250 * time.Millisecond
	// retryInterval is how long an account that no server knew is not asked for again.
	retryInterval = 3 * time.Second
	// maxQuestions bounds the questions in a second. A client that invents keys does not make every
	// server look them up.
	maxQuestions = 50
	// maxUnknown bounds the accounts that are remembered as unknown.
	maxUnknown = 4096
	// maxAnswers bounds the answers to one question that wait to be read. It is more than there are
	// servers.
	maxAnswers = 16
)

// finder decides when other servers are asked for an account.
type finder struct {
	questions *rate.Limiter

	mu      sync.Mutex
	conn    Session              // nil while NATS is not connected
	unknown map[string]time.Time // by account: when it may be asked for again
}

// use makes conn the connection, nil for none. What was unknown may be known now.
func (f *finder) use(conn Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn, f.unknown = conn, nil
}

// session is the connection, nil while there is none.
func (f *finder) session() Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn
}

// begin returns the connection on which an account may be asked for now, nil if it may not.
func (f *finder) begin(key string, now time.Time) Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn == nil || now.Before(f.unknown[key]) || !f.questions.AllowN(now, 1) {
		return nil
	}
	return f.conn
}

// setUnknown keeps an account from being asked for again for a while.
func (f *finder) setUnknown(key string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unknown == nil || len(f.unknown) >= maxUnknown {
		f.unknown = make(map[string]time.Time)
	}
	f.unknown[key] = now.Add(retryInterval)
}

// Find implements accounts.Source: it asks all servers on NATS. The error is always
// accounts.ErrNotFound. A server that knows the account may not be connected.
func (c *Client) Find(ctx context.Context, key string, take func(token []byte) error) error {
	conn := c.finder.begin(key, time.Now())
	if conn == nil {
		return accounts.ErrNotFound
	}
	answers, stop, err := ask(conn, "$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP", nil)
	if err == nil {
		defer stop()
		if c.takeFirst(ctx, key, answers, take) {
			return nil
		}
	}
	c.finder.setUnknown(key, time.Now())
	return accounts.ErrNotFound
}

// takeFirst reports whether one of the answers was taken in time.
func (c *Client) takeFirst(
	ctx context.Context, key string, answers <-chan *nats.Msg, take func(token []byte) error,
) bool {
	late := time.NewTimer(min(findTimeout, c.signing.Load().timeout))
	defer late.Stop()
	for {
		var m *nats.Msg
		select {
		case <-ctx.Done():
			return false
		case <-late.C:
			return false
		case m = <-answers:
		}
		switch {
		case m.Header.Get("Status") == "503":
			return false
		case len(m.Data) == 0:
			late.Reset(emptyTimeout)
			continue
		}
		err := take(m.Data)
		if err == nil {
			return true
		}
		text := fmt.Sprintf("%s - another server's answer is refused - %s", logging.ShortKey(key),
			quote(err))
		c.refusals.Warn(text)
	}
}

// ask sends a request that several servers may answer. answers is filled until stop is called.
func ask(
	conn Session, subject string, data []byte,
) (answers <-chan *nats.Msg, stop func(), err error) {
	received := make(chan *nats.Msg, maxAnswers)
	inbox := conn.NewInbox()
	sub, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		select {
		case received <- m:
		default:
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if err := conn.PublishRequest(subject, inbox, data); err != nil {
		unsubscribe(sub)
		return nil, nil, err
	}
	return received, func() { unsubscribe(sub) }, nil
}

// unsubscribe ends a subscription, which may be nil. It can only fail if the connection is gone,
// and the subscription with it.
func unsubscribe(sub *nats.Subscription) {
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}
