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
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// When stores are compared, and how much of that is logged.
const (
	// The interval between two comparisons doubles while they change nothing.
	minSyncInterval = time.Minute
	maxSyncInterval = 10 * time.Minute
	// See Options.EarlySyncInterval.
	defaultEarlySyncInterval = 5 * time.Second
	// maxSeenDigests bounds the pairs of digests that are remembered.
	maxSeenDigests = 64
	// maxNamed bounds the accounts that a line about a difference names, maxReasonBytes why each is
	// refused.
	maxNamed       = 3
	maxReasonBytes = 200
)

// seenDigests remembers which pairs of different stores have caused a comparison: theirs, ours.
type seenDigests struct {
	mu    sync.Mutex
	pairs map[[2]accounts.Digest]bool
}

// add reports whether a pair is new.
func (d *seenDigests) add(theirs, ours accounts.Digest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	pair := [2]accounts.Digest{theirs, ours}
	if d.pairs[pair] {
		return false
	}
	if d.pairs == nil || len(d.pairs) >= maxSeenDigests {
		d.pairs = make(map[[2]accounts.Digest]bool)
	}
	d.pairs[pair] = true
	return true
}

// noteDigest takes the digest of a server that asks for our pack. It may have something for us, so
// the stores are compared soon, once for each pair of digests.
func (s *session) noteDigest(theirs []byte, ours accounts.Digest) {
	if len(theirs) == len(ours) && s.seen.add(accounts.Digest(theirs), ours) {
		signal(s.compareSoon)
	}
}

// sync compares the store with those of other servers until the session ends: at once, and then
// again and again.
func (s *session) sync() {
	if s.ReadOnly {
		s.markSynced()
		s.ready()
		<-s.ctx.Done()
		return
	}
	interval := minSyncInterval
	for s.ctx.Err() == nil {
		began := time.Now()
		changed := s.compare()
		if early := s.wait(interval, began); early || changed {
			interval = minSyncInterval
		} else {
			interval = min(2*interval, maxSyncInterval)
		}
	}
}

// compare takes the pack of another server and reports whether that has changed anything here.
func (s *session) compare() (changed bool) {
	// Files that were changed by hand count too.
	if err := s.Accounts.Rescan(s.ctx); err != nil {
		s.Log.Debug(fmt.Sprintf("the store is compared as far as it can be read: %s", err))
	}
	x, err := s.takePack()
	s.logNATS(err)
	if s.ctx.Err() != nil {
		return false
	}
	// Also without an answer: there may be no other server.
	s.markSynced()
	s.ready()
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s.reportLocked(x)
	return x.changed > 0
}

// wait returns when the stores are to be compared again. early is true if another server's digest
// has caused that.
func (s *session) wait(interval time.Duration, began time.Time) (early bool) {
	regular := time.NewTimer(interval)
	defer regular.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-regular.C:
		return false
	case <-s.compareSoon:
	}
	pause.For(s.ctx, time.Until(began.Add(s.EarlySyncInterval)))
	return true
}

// difference is what keeps another store different from ours. The zero value is no difference that
// is known.
type difference struct {
	hash  string // tells differences apart
	text  string
	level slog.Level
}

// reportLocked logs what keeps another store different from ours, once. x.mu must be held.
func (s *session) reportLocked(x *exchange) {
	if x.changed > 0 {
		s.Log.Info(fmt.Sprintf("%d accounts are newer than before: another server had them",
			x.changed))
	}
	d := x.differenceLocked(s.Accounts.Keys())
	if !x.whole && d.hash == "" {
		return // an unfinished pack proves no agreement
	}
	// The other server fetches what it lacks. A line is only worth it if it still lacks that at the
	// next comparison.
	lasting := d.level == slog.LevelWarn || d.hash == s.lastDifference
	if d.hash != "" && d.hash != s.loggedDifference && lasting {
		s.Log.Log(s.ctx, d.level, d.text)
		s.loggedDifference = d.hash
	}
	s.lastDifference = d.hash
}

// differenceLocked names what was refused, or else what the other store lacks of our keys. x.mu
// must be held.
func (x *exchange) differenceLocked(ours []string) difference {
	all := sha256.New()
	if len(x.refused) > 0 {
		for _, key := range slices.Sorted(maps.Keys(x.refused)) {
			// a hash has no write errors
			fmt.Fprintf(all, "%s %s\n", key, accounts.Reason(x.refused[key]))
		}
		text := "another server's accounts are refused: " + nameFirst(x.refused)
		return difference{hash: string(all.Sum(nil)), text: text, level: slog.LevelWarn}
	}
	// What was taken may have been all that differed: the next comparison shows it.
	if !x.whole || x.same || x.changed > 0 {
		return difference{}
	}
	lacking := make(map[string]error)
	for _, key := range ours {
		if !x.theirs[key] {
			lacking[key] = nil
			fmt.Fprintln(all, key)
		}
	}
	if len(lacking) == 0 {
		return difference{}
	}
	return difference{hash: string(all.Sum(nil)), text: "another server lacks, or has older: " +
		nameFirst(lacking)}
}

// nameFirst names the first accounts of a set, with why each is refused if that is not nil.
func nameFirst(set map[string]error) string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if len(names) == maxNamed {
			names = append(names, fmt.Sprintf("and %d more", len(set)-maxNamed))
			break
		}
		name := logging.ShortKey(key)
		if why := set[key]; why != nil {
			name += " (" + logging.Quote(why.Error(), maxReasonBytes) + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
