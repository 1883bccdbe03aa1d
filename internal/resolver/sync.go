package resolver

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
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
	// maxNamed bounds the accounts that a line about a difference names, maxReasonBytes why each is
	// refused.
	maxNamed       = 3
	maxReasonBytes = 200
)

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
	_ = s.Accounts.RescanChanged(s.ctx) // logs what can't be read; the rest is compared
	x := s.takePack()
	if s.ctx.Err() != nil {
		return false
	}
	// Also without an answer: there may be no other server.
	s.markSynced()
	s.ready()
	s.report(x)
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

// report logs what keeps another store different from ours, once: what was refused, or else what
// the other store lacks.
func (s *session) report(x *exchange) {
	if x.changed > 0 {
		s.Log.Info(logging.Count(x.changed, "account is", "accounts are") +
			" newer than before, from another server")
	}
	level, text, set := slog.LevelWarn, "another server's accounts are refused: ", x.refused
	if len(x.refused) == 0 {
		if !x.whole {
			return // an unfinished pack proves no agreement
		}
		level, text = slog.LevelInfo, "another server lacks, or has older: "
		// What was taken may have been all that differed: the next comparison shows it.
		if !x.same && x.changed == 0 {
			set = x.lacking(s.Accounts.Keys())
		}
	}
	names, difference := describe(set)
	// The other server fetches what it lacks. A line is only worth it if it still lacks that at the
	// next comparison.
	lasting := level == slog.LevelWarn || difference == s.lastDifference
	if len(set) > 0 && difference != s.loggedDifference && lasting {
		s.Log.Log(s.ctx, level, text+names)
		s.loggedDifference = difference
	}
	s.lastDifference = difference
}

// lacking returns those of our keys that the other store lacks or has in another version.
func (x *exchange) lacking(ours []string) map[string]error {
	set := make(map[string]error)
	for _, key := range ours {
		if !x.theirs[key] {
			set[key] = nil
		}
	}
	return set
}

// describe names the first accounts of a set, with why each is refused if that is not nil. The
// digest tells sets apart. It does not depend on the times that the text of an error has.
func describe(set map[string]error) (text string, digest accounts.Digest) {
	all := sha256.New()
	var names []string
	for i, key := range slices.Sorted(maps.Keys(set)) {
		why := set[key]
		fmt.Fprintln(all, key, accounts.Reason(why)) // a hash has no write errors
		if i >= maxNamed {
			continue
		}
		name := logging.ShortKey(key)
		if why != nil {
			name += " (" + logging.Quote(why.Error(), maxReasonBytes) + ")"
		}
		names = append(names, name)
	}
	if more := len(set) - maxNamed; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", "), accounts.Digest(all.Sum(nil))
}
