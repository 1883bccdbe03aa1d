package resolver

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

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
	// unknownPeriod is how long an account that no server knew is not asked for again.
	unknownPeriod = 3 * time.Second
	// maxQuestions bounds the questions in a second. A client that invents keys does not make every
	// server look them up.
	maxQuestions = 50
	// maxUnknown bounds the accounts that are remembered as unknown.
	maxUnknown = 4096
)

// Find implements accounts.Source: it asks all servers on NATS. The error is always
// accounts.ErrNotFound. A server that knows the account may not be connected.
func (c *Client) Find(ctx context.Context, key string, take func(token []byte) error) error {
	conn := c.mayAsk(key, time.Now())
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
	c.setUnknown(key, time.Now())
	return accounts.ErrNotFound
}

// mayAsk returns the connection on which an account may be asked for now, nil if it may not.
func (c *Client) mayAsk(key string, now time.Time) Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || now.Before(c.unknown[key]) || !c.questions.AllowN(now, 1) {
		return nil
	}
	return c.conn
}

// setUnknown keeps an account from being asked for again for a while.
func (c *Client) setUnknown(key string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unknown) >= maxUnknown {
		clear(c.unknown)
	}
	c.unknown[key] = now.Add(unknownPeriod)
}

// takeFirst reports whether one of the answers was taken in time.
func (c *Client) takeFirst(
	ctx context.Context, key string, answers <-chan *nats.Msg, take func(token []byte) error,
) bool {
	late := time.NewTimer(min(findTimeout, c.signing.Load().timeout))
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-late.C:
			return false
		case m := <-answers:
			if isNoResponder(m) {
				return false
			}
			if len(m.Data) == 0 {
				late.Reset(emptyTimeout)
				continue
			}
			err := take(m.Data)
			if err == nil {
				return true
			}
			c.refusals.Warn(fmt.Sprintf("%s - another server's answer is refused - %s",
				logging.ShortKey(key), quote(err)))
		}
	}
}

// ask sends a request that several servers may answer, and returns their answers until stop is
// called. Those that are not taken yet wait in nats.go's own bounded buffer.
func ask(
	conn Session, subject string, data []byte,
) (answers <-chan *nats.Msg, stop func(), err error) {
	received, stopped := make(chan *nats.Msg), make(chan struct{})
	inbox := conn.NewInbox()
	sub, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		select {
		case received <- m:
		case <-stopped:
		}
	})
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		close(stopped)
		_ = sub.Unsubscribe() // fails if the connection is gone, and the subscription with it
	}
	if err := conn.PublishRequest(subject, inbox, data); err != nil {
		stop()
		return nil, nil, err
	}
	return received, stop, nil
}

// isNoResponder reports whether m is nats-server's own message that no other server listens to the
// subject of a request.
func isNoResponder(m *nats.Msg) bool { return m.Header.Get("Status") == "503" }
