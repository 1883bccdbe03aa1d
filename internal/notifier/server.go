package notifier

import (
	"fmt"
	"time"
)

// maxIgnored is how many confirmations of a change a server may ignore. The first one may have been
// sent just before it came back.
const maxIgnored = 2

// server is a nats-server that is there.
type server struct {
	name     string // in the Outbox
	id       string // of its process
	former   string // id of the process that had the name before, "" if there was none
	version  string // "" until it has answered PING
	cluster  string // "" if it is in none, or has not said
	resolver resolverKind
	since    time.Time // when the session learned of it
	appeared int       // the round in which the session learned of it; 0 before the first
	round    int       // the last round that it answered

	// A server that is not responsive gets probes, one at a time, so that it delays no other.
	state   serverState
	probeAt time.Time // when it gets the next one
	probes  int       // how many it has got since it became silent
	list    list      // of what it has loaded

	heard       time.Time // when a message of it came last, other than an answer what it runs
	confirmSent time.Time // when a probe was last to be a confirmation
	confirmSeq  uint64    // of the change that was to be confirmed
	ignored     int       // confirmations of it that were not answered, although it was heard

	// After an absence it gets what it lacks some at a time. isBehind is set if that is more than
	// what was taken up, which goes up to the change of number taken.
	isBehind bool
	taken    uint64

	hasAnswered bool          // an announcement, in whatever session
	roundTrip   time.Duration // of the last PING; 0: not measured
}

// takeConfirmation reports whether a probe of this server only confirms. It may have got a newer
// JWT from another program while it was away, which must not be replaced. As long as it is away
// that is repeated. A server that ignores it gets the change.
func (srv *server) takeConfirmation(seq uint64, now time.Time) bool {
	switch {
	case srv.id == "" || srv.isMute():
		return false
	case srv.confirmSeq != seq:
		srv.confirmSeq, srv.ignored = seq, 0
	case srv.heard.After(srv.confirmSent):
		srv.ignored++
	}
	srv.confirmSent = now
	return srv.ignored < maxIgnored
}

// isMute reports whether it is before 2.2, and so applies updates without an answer.
func (srv *server) isMute() bool { return isBefore(srv.version, 2, 2) }

// hasOldPing reports whether it is before 2.10, and so does not answer idzSubject.
func (srv *server) hasOldPing() bool { return isBefore(srv.version, 2, 10) }

// isResponsive reports whether it gets every announcement.
func (srv *server) isResponsive() bool { return srv.state == responsive }

// isSilent reports whether it has let an announcement pass.
func (srv *server) isSilent() bool { return srv.state == silent }

// neverAnswers reports whether a server has let an announcement pass, and has never answered one.
func (srv *server) neverAnswers() bool { return srv.state == silent && !srv.hasAnswered }

// mayAnswer reports whether an answer of a server is waited for. An untested one becomes responsive
// or silent by that.
func (srv *server) mayAnswer() bool { return srv.state != silent }

// getsProbes reports whether it gets probes. While its list is waited for it gets none.
func (srv *server) getsProbes() bool { return !srv.isResponsive() && !srv.list.isOpen() }

// getsMore reports whether more is to be taken up for it.
func (srv *server) getsMore() bool { return srv.isBehind && srv.isResponsive() }

// mayLackInCache reports whether a change that waits for a server, and is not in memory, waits for
// a client of this one: it answers, and was sent the change.
func (srv *server) mayLackInCache(seq uint64) bool {
	return srv.resolver == caching && srv.isResponsive() && !(srv.isBehind && seq > srv.taken)
}

// isBefore reports whether a version such as "2.1.9" is older than major.minor. One that can't be
// read is not.
func isBefore(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
