package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// Two servers exchange what they have like this. One sends the digest of its store. One of the
// others answers, with what it has unless its digest is the same:
//
//	$SYS.REQ.CLAIMS.PACK  <digest, 32 bytes>   reply: <inbox>
//	<inbox>  A…1|<JWT>
//	<inbox>  A…2|<JWT>
//	<inbox>  <nothing>                         the end
const packSubject = "$SYS.REQ.CLAIMS.PACK"

// A pack may come from a server that is slow or goes away, and contain anything.
const (
	firstLineTimeout = 2 * time.Second // for the first message of a pack
	nextLineTimeout  = 5 * time.Second // for each further one

	// These bound what is remembered of a pack, not what is taken from it.
	maxTheirs  = 1 << 20
	maxRefused = 1000
)

// errPackLine is recorded for a line that names no account.
var errPackLine = errors.New("the line is not one key and one JWT")

// givePack answers a server that compares its store with ours. nats.go calls it for one request
// after the other.
func (s *session) givePack(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	s.ensureScanned()
	ours := s.Accounts.Digest()
	s.Log.Debug(fmt.Sprintf("Checking store state: %x", ours))
	if bytes.Equal(m.Data, ours[:]) {
		s.Log.Debug("pack request matches")
		s.logNATS(s.conn.Publish(m.Reply, nil))
		return
	}
	s.noteDigest(m.Data, ours)
	for key, token := range s.Accounts.Pack(s.ctx) {
		if err := s.conn.Publish(m.Reply, accounts.AppendPackLine(nil, key, token)); err != nil {
			s.logNATS(err)
			return
		}
	}
	// A pack that was cut off has no end marker, else it would count as the whole store.
	if s.ctx.Err() == nil {
		s.logNATS(s.conn.Publish(m.Reply, nil))
	}
}

// exchange is one pack that was asked for.
type exchange struct {
	s       *session
	ours    accounts.Digest // when the pack was asked for
	arrived chan struct{}   // of capacity 1: a message came
	ended   chan struct{}   // closed at the end marker, or if no server can answer
	end     func()          // closes ended
	merging sync.WaitGroup  // lines whose JWTs are being stored

	mu      sync.Mutex
	stopped bool             // no further line is taken
	whole   bool             // the end marker came
	same    bool             // no line came
	changed int              // accounts that are newer here now
	theirs  map[string]bool  // accounts that they have; true: in the version stored here now
	refused map[string]error // why, by key
}

// takePack asks for a pack and stores what comes.
func (s *session) takePack() (*exchange, error) {
	x := &exchange{
		s:       s,
		ours:    s.Accounts.Digest(),
		same:    true,
		arrived: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		theirs:  make(map[string]bool),
		refused: make(map[string]error),
	}
	x.end = sync.OnceFunc(func() { close(x.ended) })
	inbox := s.conn.NewInbox()
	sub, err := s.conn.Subscribe(inbox, x.receive)
	if err != nil {
		return nil, err
	}
	defer unsubscribe(sub)
	if err := s.conn.PublishRequest(packSubject, inbox, x.ours[:]); err != nil {
		return nil, err
	}
	x.wait()
	x.stop()
	return x, nil
}

// wait returns at the end of the pack, or when no message came for too long.
func (x *exchange) wait() {
	timeout := time.NewTimer(firstLineTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-x.ended:
			return
		case <-timeout.C:
			return
		case <-x.s.ctx.Done():
			return
		case <-x.arrived:
			timeout.Reset(nextLineTimeout)
		}
	}
}

// receive takes a message of the pack. An empty one ends it.
func (x *exchange) receive(m *nats.Msg) {
	signal(x.arrived)
	x.mu.Lock()
	if len(m.Data) > 0 {
		x.same = false
	} else if m.Header.Get("Status") != "503" { // nats-server's word for no other server
		x.whole = true
	}
	x.mu.Unlock()
	if len(m.Data) == 0 {
		x.end()
		return
	}
	// A message of the original has one line, but the format allows more.
	for line := range bytes.Lines(m.Data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			x.take(line)
		}
	}
}

// take has the JWT of a line stored by a worker of the pool, so that commits share a sync.
func (x *exchange) take(line []byte) {
	key, token, ok := accounts.CutPackLine(line)
	if !ok {
		x.record(key, accounts.Result{}, errPackLine)
		return
	}
	if !x.begin() {
		return
	}
	added := x.s.pool.add(key, func() {
		defer x.merging.Done()
		origin := accounts.Origin{Kind: accounts.KindPack, Peer: true}
		result, err := x.s.Accounts.Put(context.WithoutCancel(x.s.ctx), key, token, origin)
		x.record(key, result, err)
	})
	if !added {
		x.merging.Done()
	}
}

// begin reports whether another line may be taken. It counts the line under the lock, so that stop
// waits for it.
func (x *exchange) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.stopped {
		x.merging.Add(1)
	}
	return !x.stopped
}

// stop returns when every line that was taken is stored or refused.
func (x *exchange) stop() {
	x.mu.Lock()
	x.stopped = true
	x.mu.Unlock()
	x.merging.Wait()
}

// record remembers what became of a line. key may be anything.
func (x *exchange) record(key string, result accounts.Result, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if result.Changed {
		x.changed++
	}
	switch {
	case err != nil && !isOlder(err):
		if len(x.refused) < maxRefused {
			// The key of a bad line may be very long.
			x.refused[key[:min(len(key), 64)]] = err
		}
	case len(x.theirs) < maxTheirs:
		x.theirs[key] = err == nil
	}
}

// signal wakes the receiver of a channel of capacity 1. It does not block.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
