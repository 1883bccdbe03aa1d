package resolver

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	// syncEvery is how often stores are compared while that changes something, syncMost how rarely while it does not.
	syncEvery = time.Minute
	syncMost  = 10 * time.Minute
	// hurryAfter keeps a store that stays different from being compared all the time.
	hurryAfter = 5 * time.Second
)

// mostTraded bounds the pairs of digests that are remembered.
const mostTraded = 64

// traded remembers between which two states of stores an exchange has been made already: theirs, ours.
type traded struct {
	mu    sync.Mutex
	pairs map[[2]accounts.Digest]bool
}

// first says whether a pair is a new one.
func (t *traded) first(theirs, ours accounts.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	pair := [2]accounts.Digest{theirs, ours}
	if t.pairs[pair] {
		return false
	}
	if t.pairs == nil || len(t.pairs) >= mostTraded {
		t.pairs = make(map[[2]accounts.Digest]bool)
	}
	t.pairs[pair] = true
	return true
}

// differs hears that somebody has another digest. He gets ours; that he has something for us is found out soon,
// once for each pair of digests.
func (s *session) differs(theirs []byte, ours accounts.Digest) {
	if len(theirs) != len(ours) || !s.traded.first(accounts.Digest(theirs), ours) {
		return
	}
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// sync compares the store with those of others, until the session ends: at once, and then again and again.
func (s *session) sync() {
	if s.ReadOnly {
		s.first.Do(func() { close(s.synced) })
		s.ready()
		<-s.ctx.Done()
		return
	}
	wait := syncEvery
	for s.ctx.Err() == nil {
		began := time.Now()
		if err := s.Gate.Rescan(s.ctx); err != nil {
			s.Log.Debug(fmt.Sprintf("the store is compared as far as it can be read: %s", err))
		}
		x, err := s.takePack()
		s.complain(err)
		if s.ctx.Err() != nil {
			return
		}
		s.first.Do(func() { close(s.synced) })
		s.ready()
		if x != nil {
			s.report(x)
		}
		hurried := s.pause(wait, began)
		if hurried || x != nil && x.changed > 0 {
			wait = syncEvery
		} else {
			wait = min(2*wait, syncMost)
		}
	}
}

// pause waits until the stores are to be compared again, and says whether somebody turned out to be different.
func (s *session) pause(wait time.Duration, began time.Time) (hurried bool) {
	regular := time.NewTimer(wait)
	defer regular.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-regular.C:
		return false
	case <-s.hurry:
	}
	soon := time.NewTimer(time.Until(began.Add(hurryAfter)))
	defer soon.Stop()
	select {
	case <-s.ctx.Done():
	case <-soon.C:
	}
	return true
}

// report says what keeps another store apart from ours, once.
func (s *session) report(x *exchange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed > 0 {
		s.Log.Info(fmt.Sprintf("%d accounts are newer than before: another server had them", x.changed))
	}
	hash, text, level := x.difference(s.Gate.Keys())
	if !x.whole && hash == "" {
		return // it says nothing
	}
	// What they lack they fetch themselves: only if it is the same the next time it is worth a line.
	if hash != "" && hash != s.apart && (level == slog.LevelWarn || hash == s.suspect) {
		s.Log.Log(s.ctx, level, text)
		s.apart = hash
	}
	s.suspect = hash
}

// difference names what keeps the other store apart from ours; hash tells one difference from another, "" if there is
// none or nothing is known.
func (x *exchange) difference(ours []string) (hash, text string, level slog.Level) {
	if len(x.bad) > 0 {
		all := sha256.New()
		for _, key := range slices.Sorted(maps.Keys(x.bad)) {
			fmt.Fprintf(all, "%s %s\n", key, accounts.Reason(x.bad[key])) // a hash takes everything
		}
		return string(all.Sum(nil)), "another server's accounts are refused: " + some(x.bad), slog.LevelWarn
	}
	if !x.whole || x.same || x.changed > 0 {
		return "", "", slog.LevelInfo
	}
	lacking, all := make(map[string]error), sha256.New()
	for _, key := range ours {
		if !x.theirs[key] {
			lacking[key] = nil
			fmt.Fprintln(all, key)
		}
	}
	if len(lacking) == 0 {
		return "", "", slog.LevelInfo
	}
	return string(all.Sum(nil)), "another server lacks, or has older: " + some(lacking), slog.LevelInfo
}

// some names the first accounts of a set, and why.
func some(set map[string]error) string {
	const most = 3
	var names []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if len(names) == most {
			names = append(names, fmt.Sprintf("and %d more", len(set)-most))
			break
		}
		name := short(key)
		if why := set[key]; why != nil {
			name += " (" + harmless(why.Error(), 200) + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
