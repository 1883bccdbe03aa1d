package resolver

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// laneCount is how many updates are under way at once; their commits share a sync. Those of one account follow each
// other on one lane.
const (
	laneCount  = 32
	laneLength = 16
)

// lanes is a bounded pool of workers. Who brings more than they can take waits, and what he would have brought waits
// in nats.go's own bounded buffer.
type lanes struct {
	seed    maphash.Seed
	work    [laneCount]chan func()
	workers sync.WaitGroup

	mu     sync.RWMutex // held by who puts something in, and by who closes
	closed bool
}

func newLanes() *lanes {
	l := &lanes{seed: maphash.MakeSeed()}
	for i := range l.work {
		l.work[i] = make(chan func(), laneLength)
	}
	for _, work := range l.work {
		l.workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	return l
}

// put has f done by the account's worker; false if the lanes are closed.
func (l *lanes) put(key string, f func()) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return false
	}
	l.work[maphash.String(l.seed, key)%laneCount] <- f
	return true
}

// close returns when everything that was put in is done.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	for _, work := range l.work {
		close(work)
	}
	l.mu.Unlock()
	l.workers.Wait()
}

// update takes an update on any of its subjects. On $SYS.REQ.CLAIMS.UPDATE, where nats-servers with a URL resolver do
// not listen, only the claims say which account it is.
func (s *session) update(m *nats.Msg) {
	said := accountOf(m.Subject)
	key := said
	if key == "" {
		key = accounts.SubjectOf(m.Data)
	}
	src := accounts.Origin{Kind: accounts.KindNATS, Broadcast: said != "", Peer: isOutbox(m.Reply, said)}
	s.lanes.put(key, func() {
		_, err := s.Gate.Put(context.WithoutCancel(s.ctx), key, m.Data, src)
		if err != nil {
			s.refused(key, m.Subject, err)
		}
		switch {
		case src.Peer: // it counts nats-servers, and compares stores with us anyway
		case err != nil:
			s.respond(m, failed(key, "jwt update resulted in error - "+harmless(err.Error(), 512)))
		default:
			s.respond(m, done(key, "jwt updated"))
		}
	})
}

// refused writes a line about what was not taken. That two servers contradict each other is the gate's to say.
func (s *session) refused(key, subject string, err error) {
	if _, older := errors.AsType[*accounts.OlderError](err); older || errors.Is(err, accounts.ErrLesser) {
		return
	}
	s.warn(fmt.Sprintf("%s - the update on %s is refused - %s", short(key), harmless(subject, 128), harmless(err.Error(), 512)))
}

// isOutbox says whether a reply subject is that of an account server's announcement, <inbox>.<key>.<seq>.<attempt>.
func isOutbox(reply, key string) bool {
	rest, attempt, _ := cutLast(reply)
	rest, seq, _ := cutLast(rest)
	_, account, found := cutLast(rest)
	return found && key != "" && account == key && isNumber(seq) && isNumber(attempt)
}

func cutLast(s string) (before, last string, found bool) {
	i := strings.LastIndexByte(s, '.')
	return s[:max(i, 0)], s[i+1:], i >= 0
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
