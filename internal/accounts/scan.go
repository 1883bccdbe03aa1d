package accounts

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// scanner brings the index up to date with what was changed in the store by hand, and knows whether
// the whole store was seen. The atomics are read without the lock, by readiness and by packs.
type scanner struct {
	*catalog
	seen     atomic.Pointer[view] // when the last rescan began; nil: it has not seen everything
	compared atomic.Bool          // a Review has been finished

	scanning sync.Mutex // one rescan at a time; guards what follows
	unread   string     // what the last one has logged that can't be read
	judged   *Trust     // under which the whole index was judged; nil: none
	lost     int        // how often the index had been lost when the last one began
}

// view is under what the store is seen. What was seen under another view is to be seen again.
type view struct {
	trust *Trust
	lost  int // how often the index has been lost
}

// view returns the present one.
func (c *scanner) view() view { return view{c.trust.Load(), c.index.Lost()} }

// RescanChanged brings the index up to date with the directories of the store in which a file has
// come, has gone, or was replaced. If there is none it costs next to nothing. A file that was
// edited in place is found by Sweep, and when the account is asked for.
func (c *scanner) RescanChanged(ctx context.Context) error { return c.rescan(ctx, jwtstore.Scan{}) }

// When files are looked for that were edited in place.
const (
	sweepDelay    = 30 * time.Second // after the start
	sweepInterval = time.Hour
)

// Sweep looks at every file of the store, soon and then every hour until ctx ends. It leaves
// processor and disk to others.
func (c *scanner) Sweep(ctx context.Context) {
	for wait := sweepDelay; pause.For(ctx, wait); wait = sweepInterval {
		_ = c.rescan(ctx, jwtstore.Scan{Every: true, Gently: true}) // logs what can't be read
	}
}

// rescan brings the index up to date with what was changed in the store by hand, and fills one that
// is new. It reads only what the index does not know. The error says what can't be read, which is
// logged too, and wraps ErrUnreadable. It wraps ErrPartly if the rest counts.
//
// The order: the view is taken before the work, so that a change of the trust meanwhile makes it an
// old one. What only the trust has changed is judged from the index next. The scan of the store
// comes last and finds the rest.
func (c *scanner) rescan(ctx context.Context, o jwtstore.Scan) error {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	now := c.view()
	if now.lost != c.lost {
		c.lost = now.lost
		c.filled.Store(false)
	}
	s := &scan{scanner: c, begun: time.Now(), logged: time.Now()}
	if o.Every || c.judged != now.trust {
		// It is skipped if the index was judged under this trust and not every file is wanted.
		s.rejudge(ctx, now.trust)
		c.judged = now.trust
	}
	o.Look, o.Progress = s.look, s.progress
	if err := c.Store.Scan(ctx, o); err != nil {
		c.seen.Store(nil)
		c.judged = nil
		return err
	}
	c.seen.Store(&now)
	// From here on a JWT that the index does not know was put there by hand.
	c.filled.Store(true)
	if s.unknown > 0 {
		c.Log.Info(fmt.Sprintf("the index had no entry for %s: read and verified in %s",
			logging.Count(s.unknown, "stored JWT", "stored JWTs"),
			time.Since(s.begun).Round(time.Millisecond)))
	}
	return s.reportUnread()
}

// scan is one rescan.
type scan struct {
	*scanner
	begun time.Time

	mu          sync.Mutex // guards what follows
	unknown     int        // JWTs of which the index had nothing
	looked      int        // accounts that were looked at
	failed      unread
	listed, all int       // directories
	logged      time.Time // when the progress was logged last
}

// look brings the index up to date for one account. err says that something can't be read. The
// store calls it from several goroutines. It reads the file without s.mu.
func (s *scan) look(key string, err error) (ok bool) {
	isNew := false
	if err == nil {
		var u updated
		u, err = s.update(key, false)
		isNew = !u.had.Stored() && u.now.Stored()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looked++; isNew {
		s.unknown++
	}
	if err != nil {
		s.failed.add(key, err)
	}
	s.logProgressLocked()
	return err == nil
}

// progress records how many directories have been listed.
func (s *scan) progress(listed, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed, s.all = listed, all
}

// progressInterval is how often a long rescan logs how far it is.
const progressInterval = 5 * time.Second

// logProgressLocked logs how far the rescan is, now and then. s.mu must be held.
func (s *scan) logProgressLocked() {
	if time.Since(s.logged) < progressInterval {
		return
	}
	s.logged = time.Now()
	where := ""
	if s.all > 0 {
		where = fmt.Sprintf("%d of %d directories, ", s.listed, s.all)
	}
	s.Log.Info(fmt.Sprintf("looking through the store: %s%s so far, %.0f a second", where,
		logging.Count(s.looked, "JWT", "JWTs"), float64(s.looked)/time.Since(s.begun).Seconds()))
}

// rejudge brings up to date what was judged under another trust. The key that has signed a JWT says
// whether it is still good. So it need not be read, unless it was not good before.
func (s *scan) rejudge(ctx context.Context, t *Trust) {
	var looks errgroup.Group
	looks.SetLimit(runtime.GOMAXPROCS(0))
	for key, v := range s.index.All() {
		if ctx.Err() != nil {
			break
		}
		if v.Mark == t.mark && !lacksSummary(v) || s.rejudgeByIssuer(t, key, v) {
			continue
		}
		looks.Go(func() error { s.look(key, nil); return nil })
	}
	_ = looks.Wait() // the functions return no error
}

// rejudgeByIssuer judges an account again, if that needs no look at its JWT. false also means that
// the entry has changed meanwhile: look compares it again.
func (s *scan) rejudgeByIssuer(t *Trust, key string, v jwtstore.Version) (done bool) {
	isTrusted := t.trusts(v.Summary.Issuer)
	if v.Summary.Issuer == "" || isTrusted && !v.Servable {
		return false
	}
	next := v
	next.Mark, next.Servable = t.mark, isTrusted && v.Servable
	return s.index.Swap(key, v, next)
}

// unread is what a rescan could not read.
type unread struct {
	count int    // shards and files
	first string // account of the first of them, whatever comes first; "" for a shard
	err   error  // why it can't be read
}

// add counts one that can't be read. Which one is named does not depend on the order of the
// goroutines: a missing directory counts most, and then the first text.
func (u *unread) add(key string, err error) {
	u.count++
	first := logging.ShortKey(key)
	isGone := errors.Is(err, jwtstore.ErrDirectory)
	wasGone := errors.Is(u.err, jwtstore.ErrDirectory)
	if u.err == nil || isGone && !wasGone ||
		isGone == wasGone && first+err.Error() < u.first+u.err.Error() {
		u.first, u.err = first, err
	}
}

// reportUnread returns the error of a rescan. It logs what can't be read once, as long as that
// stays the same. c.scanning must be held.
func (s *scan) reportUnread() error {
	u, text := s.failed, ""
	if u.count > 0 {
		text = logging.Count(u.count, "directory or file of the store can't be read, and what is "+
			"in it is in no pack: mend or remove it; the fault",
			"directories and files of the store can't be read, and what is in them is in no pack: "+
				"mend or remove them; the first") +
			" is " + strings.TrimPrefix(u.first+": "+u.err.Error(), ": ")
	}
	switch {
	case text == s.unread:
	case text == "":
		s.Log.Info("the whole store can be read again")
	default:
		s.Log.Warn(text)
	}
	switch s.unread = text; {
	case u.count == 0:
		return nil
	case errors.Is(u.err, jwtstore.ErrDirectory):
		return fmt.Errorf("%w: %w", ErrUnreadable, u.err)
	}
	return fmt.Errorf("%w: %w", ErrPartly, u.err)
}

// Rescanned reports whether a rescan has seen the whole store since the trust was last set and the
// index was last lost.
func (c *scanner) Rescanned() bool {
	seen := c.seen.Load()
	return seen != nil && *seen == c.view()
}
