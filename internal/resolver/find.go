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
	// emptyTimeout is how long others get once one of them has said that it does not know the
	// account. An account server says so after emptyAnswerDelay.
	emptyTimeout = emptyAnswerDelay + 100*time.Millisecond
	// extraTimeout is how long others get once one of them has answered with the account: they may
	// have a newer version of it. A single server is not waited for.
	extraTimeout = 150 * time.Millisecond
	// unknownPeriod is how long an account that no server knew is not asked for again while too
	// many others are.
	unknownPeriod = 3 * time.Second
	// maxLookups bounds the lookups in a second. A client that invents keys does not make every
	// server look them up.
	maxLookups = 50
	// maxUnknown bounds the accounts that are remembered as unknown.
	maxUnknown = 4096
)

// Find implements accounts.Source: it asks all servers on NATS, and offers what each of them has.
// The error is accounts.ErrNotFound only if all servers that are known to answer lookups have said
// that they don't have the account, or if there is none to ask. Without NATS there is none.
func (c *Client) Find(ctx context.Context, key string, take func(token []byte) error) error {
	conn, err := c.mayAsk(key, time.Now())
	if err != nil {
		return err
	}
	answers, stop, err := ask(conn, "$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP", nil)
	if err != nil {
		return err
	}
	r := c.gather(ctx, key, answers, take)
	if r.found > 0 {
		go func() {
			defer stop()
			c.countRest(r, answers)
		}()
		return nil
	}
	stop()
	return c.conclude(key, r, time.Now())
}

// mayAsk returns the connection on which an account may be asked for now. The error is
// accounts.ErrNotFound if it is known that no other server has the account.
func (c *Client) mayAsk(key string, now time.Time) (Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn == nil && c.expects:
		return nil, errNotConnected
	case c.conn == nil:
		return nil, accounts.ErrNotFound
	case c.lookups.AllowN(now, 1):
		return c.conn, nil
	case c.peers.areNone(now), now.Before(c.unknown[key]):
		return nil, accounts.ErrNotFound
	}
	return nil, errTooMany
}

// conclude returns the error of Find for a round in which the account was not found. It remembers
// an account that surely no server has.
func (c *Client) conclude(key string, r round, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.peers.judge(r.answers, r.noListener, now); err != nil {
		c.limited.Warn("an account that is not stored here is answered with 503, not with 404: " +
			err.Error())
		return err
	}
	c.setUnknownLocked(key, now)
	return accounts.ErrNotFound
}

// recordServers records that so many other servers have answered. If that is more than were known,
// one of them may have what was unknown.
func (c *Client) recordServers(servers int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if servers > c.peers.expected(time.Now()) {
		clear(c.unknown)
	}
	c.peers.recordServers(servers, time.Now())
}

// expected is how many servers must say that they don't have an account, and answering how many
// answer a lookup, which is not known at first.
func (c *Client) expected() (expected, answering int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.peers.expected(now), c.peers.answering(now)
}

// setUnknownLocked records that no server has an account. c.mu must be held.
func (c *Client) setUnknownLocked(key string, now time.Time) {
	if len(c.unknown) >= maxUnknown {
		clear(c.unknown)
	}
	c.unknown[key] = now.Add(unknownPeriod)
}

// round is what came of one lookup.
type round struct {
	found      int  // answers that were taken
	answers    int  // that were not taken: there is no account, or no good JWT of it
	noListener bool // no other server listens to lookups
}

// gather offers the answers to take, until as many servers have answered as are known, or the time
// is over. Others get a little longer while it is not known whether there are more.
func (c *Client) gather(
	ctx context.Context, key string, answers <-chan *nats.Msg, take func(token []byte) error,
) (r round) {
	expected, answering := c.expected()
	began, limit := time.Now(), min(findTimeout, c.signing.Load().timeout)
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return r
		case <-late.C:
			return r
		case m := <-answers:
			if isNoResponder(m) {
				r.noListener = true
				return r
			}
			c.recordServers(1) // at once: lookups that can't be sent now depend on it
			isFirst := r.found == 0
			if len(m.Data) > 0 && c.offer(key, m.Data, take) {
				r.found++
			} else {
				r.answers++
			}
			switch {
			case r.found > 0 && r.found+r.answers >= answering:
				return r
			case r.found == 1 && isFirst:
				late.Reset(min(extraTimeout, limit-time.Since(began)))
			case r.found == 0 && len(m.Data) == 0 && r.answers >= expected:
				late.Reset(emptyTimeout)
			}
		}
	}
}

// countRest waits for further answers of a round in which the account was found, and records how
// many servers have answered.
func (c *Client) countRest(r round, answers <-chan *nats.Msg) {
	late := time.NewTimer(extraTimeout)
	defer late.Stop()
	for {
		select {
		case <-late.C:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.peers.recordAnswers(r.found+r.answers, time.Now())
			return
		case <-answers:
			r.answers++
		}
	}
}

// offer reports whether an answer was taken.
func (c *Client) offer(key string, token []byte, take func(token []byte) error) bool {
	err := take(token)
	if err != nil {
		c.refusals.Warn(fmt.Sprintf("%s - another server's answer is refused - %s",
			logging.ShortKey(key), quote(err)))
	}
	return err == nil
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
