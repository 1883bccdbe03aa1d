package bucket

import (
	"errors"
	"sync"
	"time"
)

// State is how far a server is with the bucket. Package monitor shows it.
type State struct {
	Connected bool
	CaughtUp  bool      // once since the start
	Empty     bool      // the directory has no account, and the bucket has not been read yet
	First     bool      // it reads this bucket for the first time, and takes no push yet
	Behind    uint64    // revisions that are not applied yet, when it last asked
	Success   time.Time // when it last knew that all are applied; zero: never
	Fault     error     // why a revision can't be stored here; nil: it can
	Refusing  string    // why every push is refused although the bucket can be reached; "" if none is
	Refused   int       // keys of the bucket whose last revision is not taken here
	Denied    string    // what the nats-servers do not let this server do; "" if nothing
	Unknown   string    // of which nats-servers it is not known whether they sync each change; "" if of none
	Failing   string    // why the bucket can't be read now; "" if it can
	Revision  uint64    // the cursor
	Bucket    string    // name
}

// TakesNoPush reports whether every push is refused now. false is no promise: a single push may
// still find no leader.
func (s State) TakesNoPush() bool { return !s.Connected || s.First || s.Refusing != "" }

// status is what a server says of how far it is with the bucket. Session, watch and commits write
// it; all read it.
type status struct {
	caughtUp chan struct{} // closed when the bucket has been read once

	mu sync.Mutex // guards what follows
	standing
	lastSeq uint64 // where the stream ended when it was last asked
	outage  outage
}

// standing is how a server stands to its bucket.
type standing struct {
	isFirst    bool      // this bucket has never been read, or not to its end
	behind     uint64    // revisions that are not applied, when it was last asked
	heard      time.Time // when all was known to be applied
	fault      error     // why a revision can't be stored here; nil: it can
	failing    string    // why the last session has ended, "" if one is under way
	leaderless string    // why the bucket has no leader that answers, "" if it has one, or it was not asked
	unfit      string    // why the stream can't be used, "" if it can
}

// newStatus returns the status of a server that has not been connected yet.
func newStatus(isFirst bool) *status {
	return &status{caughtUp: make(chan struct{}), standing: standing{isFirst: isFirst}}
}

// now returns how the server stands to its bucket.
func (s *status) now() standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standing
}

// isCaughtUp reports whether the bucket has been read once.
func (s *status) isCaughtUp() bool {
	select {
	case <-s.caughtUp:
		return true
	default:
		return false
	}
}

// setFirst records whether this bucket is read for the first time. While it is, no push is taken:
// its revisions could not be compared with those that were applied.
func (s *status) setFirst(isFirst bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFirst = isFirst
}

// outage is a time in which the bucket can't be read, over several sessions and connections. It
// ends with the first message or heartbeat of a session.
type outage struct {
	since time.Time // zero: there is none
	told  time.Time // when it was logged last; zero: it was not
	what  string    // was told
}

// outageInterval is how often an outage is logged.
const outageInterval = time.Minute

// setFailed records why a session has ended, and reports whether that is to be logged now. An outage
// is logged when it begins, then once in outageInterval. Another reason is logged at once if the
// stream is unfit, for which a person must do something.
func (s *status) setFailed(why string) (isTold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = why
	if s.outage.since.IsZero() {
		s.outage.since = time.Now()
	}
	isNew := s.unfit != "" && s.outage.what != why
	if !isNew && time.Since(s.outage.told) < outageInterval {
		return false
	}
	s.outage.told, s.outage.what = time.Now(), why
	return true
}

// setReading records that the bucket can be read, and returns how long it could not be; 0: it
// could, or that was not logged.
func (s *status) setReading() (lasted time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.outage.told.IsZero() {
		lasted = time.Since(s.outage.since)
	}
	s.failing, s.outage = "", outage{}
	return lasted
}

// setUnfit records why the stream can't be used, if that is what an error says. One that says
// nothing of the stream changes nothing.
func (s *status) setUnfit(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if unfit, ok := errors.AsType[*unfitError](err); ok {
		s.unfit = unfit.Error()
	} else if err == nil {
		s.unfit = ""
	}
}

// setLeader records whether the leader of the bucket answers, as far as the error of a request says
// that. nil says that it answers. An error of another kind changes nothing.
func (s *status) setLeader(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.leaderless = ""
	} else if isLeaderless(err) {
		s.leaderless = "the bucket has no leader (" + err.Error() + ")"
	}
}

// setFault records why a revision can't be stored here. The next setApplied clears it.
func (s *status) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// setEnd records where the stream ends.
func (s *status) setEnd(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSeq = seq
}

// setApplied records that all up to a revision is applied. The bucket has been read when that is
// target: isDone reports that this is so for the first time.
//
// Behind is counted to the later of target and the end of the stream. seq and target are of the
// bucket that is followed. CaughtUp is closed here and nowhere else.
func (s *status) setApplied(seq, target uint64) (isDone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.behind = nil, 0
	if end := max(target, s.lastSeq); end > seq {
		s.behind = end - seq
	} else if s.leaderless == "" { // which may have more
		s.heard = time.Now()
	}
	isDone = seq >= target && !s.isCaughtUp()
	if isDone {
		close(s.caughtUp)
	}
	return isDone
}
