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

// Two stores exchange what they have like this. Whoever asks sends the digest of its store; one of the others answers,
// with what it has unless that is the same:
//
//	$SYS.REQ.CLAIMS.PACK  <digest, 32 bytes>   reply: <inbox>
//	<inbox>  A…1|<JWT>
//	<inbox>  A…2|<JWT>
//	<inbox>  <nothing>                         the end
const packSubject = "$SYS.REQ.CLAIMS.PACK"

const (
	// firstWithin is how long the first message of a pack may take to come, restWithin every other one.
	firstWithin = 2 * time.Second
	restWithin  = 5 * time.Second
)

// givePack answers whoever compares his store with ours. nats.go calls it for one request after the other.
func (s *session) givePack(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	s.survey()
	ours := s.Gate.Digest()
	s.Log.Debug(fmt.Sprintf("Checking store state: %x", ours))
	if bytes.Equal(m.Data, ours[:]) {
		s.Log.Debug("pack request matches")
		s.complain(s.conn.Publish(m.Reply, nil))
		return
	}
	s.differs(m.Data, ours)
	for key, token := range s.Gate.Pack(s.ctx) {
		if err := s.conn.Publish(m.Reply, accounts.AppendPackLine(nil, key, token)); err != nil {
			s.complain(err)
			return
		}
	}
	if s.ctx.Err() == nil {
		s.complain(s.conn.Publish(m.Reply, nil))
	}
}

// exchange is one pack on its way to us.
type exchange struct {
	s        *session
	ours     accounts.Digest // when it was asked for
	alive    chan struct{}   // of capacity 1: something came
	end      chan struct{}   // closed at the end marker, or when there is nobody to answer
	merging  sync.WaitGroup
	finished sync.Once

	mu      sync.Mutex
	over    bool // nothing is taken any more
	nobody  bool
	whole   bool            // the end marker came
	same    bool            // and nothing else
	changed int             // accounts that are newer here now
	theirs  map[string]bool // accounts that they have; true: and that we have in the same version now
	bad     map[string]error
}

// mostLines and mostBad bound what is remembered of a pack, not what is taken from it.
const (
	mostLines = 1 << 20
	mostBad   = 1000
)

// takePack asks for a pack and takes what comes.
func (s *session) takePack() (*exchange, error) {
	x := &exchange{
		s: s, ours: s.Gate.Digest(), same: true,
		alive: make(chan struct{}, 1), end: make(chan struct{}),
		theirs: make(map[string]bool), bad: make(map[string]error),
	}
	inbox := s.conn.NewInbox()
	sub, err := s.conn.Subscribe(inbox, x.hear)
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

// wait returns at the end of the pack, or when nothing comes any more.
func (x *exchange) wait() {
	patience := time.NewTimer(firstWithin)
	defer patience.Stop()
	for {
		select {
		case <-x.end:
			return
		case <-patience.C:
			return
		case <-x.s.ctx.Done():
			return
		case <-x.alive:
			patience.Reset(restWithin)
		}
	}
}

// hear takes a message of the pack.
func (x *exchange) hear(m *nats.Msg) {
	select {
	case x.alive <- struct{}{}:
	default:
	}
	if len(m.Data) == 0 {
		x.finished.Do(func() {
			x.mu.Lock()
			x.nobody = m.Header.Get("Status") == "503"
			x.whole = !x.nobody
			x.mu.Unlock()
			close(x.end)
		})
		return
	}
	x.mu.Lock()
	x.same = false
	x.mu.Unlock()
	for text := range bytes.Lines(m.Data) {
		if text = bytes.TrimSpace(text); len(text) > 0 {
			x.take(text)
		}
	}
}

// take has a line merged by the account's worker, so that commits share a sync.
func (x *exchange) take(text []byte) {
	key, token, ok := accounts.CutPackLine(text)
	if !ok {
		x.note(key, errors.New("the line is not one key and one JWT"))
		return
	}
	if !x.begin() {
		return
	}
	put := x.s.lanes.put(key, func() {
		defer x.merging.Done()
		result, err := x.s.Gate.Put(context.WithoutCancel(x.s.ctx), key, token, accounts.Origin{Kind: accounts.KindPack, Peer: true})
		if result.Changed {
			x.mu.Lock()
			x.changed++
			x.mu.Unlock()
		}
		x.note(key, err)
	})
	if !put {
		x.merging.Done()
	}
}

// begin says whether another line may be merged; stop waits for those that are.
func (x *exchange) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.merging.Add(1)
	}
	return !x.over
}

func (x *exchange) stop() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	x.merging.Wait()
}

// note remembers what became of a line.
func (x *exchange) note(key string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, older := errors.AsType[*accounts.OlderError](err)
	older = older || errors.Is(err, accounts.ErrLesser)
	switch {
	case err != nil && !older:
		if len(x.bad) < mostBad {
			x.bad[key[:min(len(key), 64)]] = err
		}
	case len(x.theirs) >= mostLines:
	default:
		x.theirs[key] = !older
	}
}
