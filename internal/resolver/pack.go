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
	"nats-account-server/internal/pause"
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
	// firstLineTimeout is for the first message of a pack, nextLineTimeout for each further one.
	firstLineTimeout = 2 * time.Second
	nextLineTimeout  = 5 * time.Second

	// maxUnflushed bounds the bytes of our pack that the nats-server may not have got yet.
	maxUnflushed = 256 << 10
	// flushTimeout is how long the nats-server may take for them.
	flushTimeout = 10 * time.Second

	// maxRefused bounds the refused keys that are remembered of a pack, not what is taken from it.
	maxRefused = 1000

	// maxSeenDigests bounds the pairs of digests that are remembered.
	maxSeenDigests = 64
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
	if len(m.Data) == len(ours) {
		s.noteDigest(accounts.Digest(m.Data), ours)
	}
	// A pack that was cut off has no end marker, else it would count as the whole store.
	err := s.publishPack(m.Reply)
	if err == nil && s.ctx.Err() == nil {
		err = s.conn.Publish(m.Reply, nil)
	}
	s.logNATS(err)
}

// publishPack publishes a line for each account. It goes on only when the nats-server has got what
// was published so far: a pack that is read slowly neither fills buffers, nor keeps everything else
// that this connection sends waiting behind it.
func (s *session) publishPack(subject string) error {
	var line []byte
	unflushed := 0
	for key, token := range s.Accounts.Pack(s.ctx) {
		line = accounts.AppendPackLine(line[:0], key, token)
		if err := s.conn.Publish(subject, line); err != nil {
			return err
		}
		if unflushed += len(line); unflushed < maxUnflushed {
			continue
		}
		unflushed = 0
		if err := s.flush(); err != nil {
			return err
		}
	}
	return nil
}

// flush returns when the nats-server has got what was published so far.
func (s *session) flush() error {
	ctx, cancel := context.WithTimeout(s.ctx, flushTimeout)
	defer cancel()
	return s.conn.FlushWithContext(ctx)
}

// noteDigest takes the digest of a server that asks for our pack. It may have something for us, so
// the stores are compared soon, once for each pair of digests.
func (s *session) noteDigest(theirs, ours accounts.Digest) {
	pair := [2]accounts.Digest{theirs, ours}
	if s.seen[pair] {
		return
	}
	if len(s.seen) >= maxSeenDigests {
		clear(s.seen)
	}
	s.seen[pair] = true
	pause.Wake(s.compareSoon)
}

// exchange is one pack that was asked for. The zero value is one that nothing came of.
type exchange struct {
	// whole means that the end marker came, same that no line came.
	whole, same bool

	// merging are the lines whose JWTs are being stored. mu guards the fields below until then.
	merging sync.WaitGroup
	mu      sync.Mutex
	// changed counts the accounts that are newer here now.
	changed int
	// theirs are the accounts that they have. It is true for the version that is stored here now.
	theirs map[string]bool
	// refused says by key why a line was not taken.
	refused map[string]error
}

// takePack asks for a pack and stores what comes. It returns at the end of the pack, or when no
// message came for too long.
func (s *session) takePack() *exchange {
	x := &exchange{theirs: map[string]bool{}, refused: map[string]error{}}
	ours := s.Accounts.Digest()
	messages, stop, err := ask(s.conn, packSubject, ours[:])
	if err != nil {
		s.logNATS(err)
		return x
	}
	defer stop()
	defer x.merging.Wait()
	late := time.NewTimer(firstLineTimeout)
	defer late.Stop()
	x.same = true
	for {
		select {
		case <-s.ctx.Done():
			return x
		case <-late.C:
			return x
		case m := <-messages:
			if !isNoResponder(m) {
				s.Client.recordServers(1) // a server that gives packs answers lookups too
			}
			if len(m.Data) == 0 {
				x.whole = !isNoResponder(m)
				return x
			}
			x.same = false
			// A message of the original has one line, but the format allows more.
			for line := range bytes.Lines(m.Data) {
				if line = bytes.TrimSpace(line); len(line) > 0 {
					s.takeLine(x, line)
				}
			}
			late.Reset(nextLineTimeout)
		}
	}
}

// takeLine has the JWT of a line stored by a worker of the pool, so that commits share a sync.
func (s *session) takeLine(x *exchange, line []byte) {
	key, token, ok := accounts.CutPackLine(line)
	if !ok {
		x.record(key, accounts.Result{}, errPackLine)
		return
	}
	x.merging.Add(1)
	s.pool.add(key, func() { // the pool is open as long as packs are taken
		defer x.merging.Done()
		origin := accounts.Origin{Kind: accounts.KindPack, Peer: true}
		result, err := s.Accounts.Put(context.WithoutCancel(s.ctx), key, token, origin)
		x.record(key, result, err)
	})
}

// record remembers what became of a line. key may be anything.
func (x *exchange) record(key string, result accounts.Result, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if result.Changed {
		x.changed++
	}
	switch {
	case err == nil || isOlder(err):
		x.theirs[key] = err == nil // no more than are stored here
	case len(x.refused) < maxRefused:
		// The key of a bad line may be very long.
		x.refused[key[:min(len(key), 64)]] = err
	}
}
