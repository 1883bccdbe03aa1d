package resolver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/logging"
)

const (
	// findWithin is how long others get to answer; nats-server, who may be waiting for us, does so
	// for 1.9 s.
	findWithin = time.Second
	// emptyWithin is how long others get once somebody has said that he does not know the account.
	emptyWithin = 250 * time.Millisecond
	// findAgain is how long an account that nobody knew is not asked for again.
	findAgain = 3 * time.Second
	// mostFinds bounds the questions in a second: who invents keys does not make every server look
	// them up.
	mostFinds = 50
	// mostUnknown bounds the accounts that are remembered as unknown.
	mostUnknown = 4096
)

// finder asks others for accounts that are not stored here.
type finder struct {
	mu      sync.Mutex
	conn    Session // nil while NATS is not connected
	asking  map[string]*flight
	unknown map[string]time.Time // when to ask again
	second  time.Time            // the current one
	asked   int                  // in it
}

// flight is a question on its way; whoever has the same question waits for its answer.
type flight struct {
	done  chan struct{}
	token []byte
}

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

// Find implements accounts.Finder.
func (c *Client) Find(ctx context.Context, key string, judge func(token []byte) error) []byte {
	conn, question, ours := c.finder.begin(key, time.Now())
	if question == nil {
		return nil
	}
	if ours {
		question.token = c.ask(conn, key, judge)
		c.finder.end(key, question, time.Now())
	}
	select {
	case <-question.done:
		return question.token
	case <-ctx.Done():
		return nil
	}
}

// begin gives the question about an account; nil if there is none to be asked. ours says that the
// caller is to ask it.
func (f *finder) begin(key string, now time.Time) (conn Session, question *flight, ours bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if question := f.asking[key]; question != nil {
		return nil, question, false
	}
	if now.Sub(f.second) >= time.Second {
		f.second, f.asked = now, 0
	}
	if f.conn == nil || now.Before(f.unknown[key]) || f.asked == mostFinds {
		return nil, nil, false
	}
	f.asked++
	if f.asking == nil {
		f.asking = make(map[string]*flight)
	}
	question = &flight{done: make(chan struct{})}
	f.asking[key] = question
	return f.conn, question, true
}

func (f *finder) end(key string, question *flight, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.asking, key)
	if question.token == nil {
		if f.unknown == nil || len(f.unknown) >= mostUnknown {
			f.unknown = make(map[string]time.Time)
		}
		f.unknown[key] = now.Add(findAgain)
	}
	close(question.done)
}

// ask asks everybody and returns the first answer that is a JWT of the account.
func (c *Client) ask(conn Session, key string, judge func([]byte) error) []byte {
	answers, stop, err := pose(conn, "$SYS.REQ.ACCOUNT."+key+".CLAIMS.LOOKUP", nil)
	if err != nil {
		return nil
	}
	defer stop()
	return c.firstGood(key, answers, judge)
}

// mostAnswers bounds the answers to one question that wait to be read; nobody has that many
// servers.
const mostAnswers = 16

// pose asks a question that several may answer, until stop is called.
func pose(conn Session, subject string, data []byte) (answers <-chan *nats.Msg, stop func(), err error) {
	heard := make(chan *nats.Msg, mostAnswers)
	inbox := conn.NewInbox()
	sub, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		select {
		case heard <- m:
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
	return heard, func() { unsubscribe(sub) }, nil
}

// unsubscribe fails when the connection is gone, and the subscription with it.
func unsubscribe(sub *nats.Subscription) {
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}

func (c *Client) firstGood(key string, answers <-chan *nats.Msg, judge func([]byte) error) []byte {
	late := time.NewTimer(min(findWithin, c.signing.Load().timeout))
	defer late.Stop()
	for {
		var m *nats.Msg
		select {
		case <-late.C:
			return nil
		case m = <-answers:
		}
		switch {
		case m.Header.Get("Status") == "503":
			return nil
		case len(m.Data) == 0:
			late.Reset(emptyWithin)
			continue
		}
		err := judge(m.Data)
		if err == nil {
			return m.Data
		}
		text := fmt.Sprintf("%s - another server's answer is refused - %s", logging.ShortKey(key),
			quote(err))
		c.refusals.Warn(text)
	}
}
