package notifier

import (
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

const (
	// fetchWindow is how long after the commit it proves nothing that a nats-server has not loaded
	// an account: it may be fetching it now and have got the JWT of before. A nats-server gives a
	// fetch up after 2 s.
	fetchWindow = 3 * time.Second
	// maxBackoff bounds the wait before a change is announced again that was refused or could not
	// be sent.
	maxBackoff = 10 * time.Minute
)

// announcement is one account's latest change on its way to the nats-servers.
type announcement struct {
	jwtstore.Change
	state state
	due   time.Time // of a queued one: when it is sent
	index int       // of a queued one: its place in the queue; else without a meaning
	next  purpose   // of the next attempt, and of the last one until it ends
	tries int       // how often it was refused or could not be sent
	// mayLack is set if a server may leave out a part of the JWT, and applied if one has
	// acknowledged it since that was asked.
	mayLack, applied bool
	// announced is set if the change was published, repeats is how often it was published again
	// for that purpose, and repeatAt when it may be the next time.
	announced bool
	repeats   int
	repeatAt  time.Time
	// owed is set if a server has not acknowledged it when it was first announced, or was away.
	owed    bool
	changed chan struct{} // closed when more is known; nil if no caller waits for that
	// notCached has the servers whose cache lacks the account. A server leaves it when a client
	// connects to the account there.
	notCached map[string]bool
	// said is what each server has answered last to an announcement of this change. A confirmation
	// keeps it.
	said map[string]outcome
	attempt
}

// attempt is what is known about the last time that a change was announced, or was to be confirmed.
// Each one begins with nothing known.
type attempt struct {
	number         int    // of all attempts of this process; 0 before the first
	seq            uint64 // of the change that was announced
	isConfirmation bool   // nothing was announced
	sent           time.Time
	answered       map[string]bool // by server
	refused        bool            // by a server, or it could not be sent
	token          []byte          // the JWT that is to be confirmed
	refuted        bool            // a server has not said that it runs that
	found          int             // other JWTs that were found stored, and are being compared
	retryAt        time.Time       // of the next attempt; zero if only a server can cause it
}

// outcome is what has become of a change at one server.
type outcome struct {
	state  accounts.ServerState
	reason string // of the state, if more is known
}

// willFetch reports whether a server that keeps no JWTs, and has said that an account is not
// loaded, will fetch this change when it needs the account. sent is when it was sent what it has
// answered. No other rule says so, whatever way a change came in and whatever the server was sent.
func willFetch(c jwtstore.Change, sent time.Time) bool { return sent.Sub(c.Known) >= fetchWindow }

// intend changes the purpose of the next attempt. An event that the table does not list changes
// nothing.
func (a *announcement) intend(e purposeEvent) {
	if next, listed := purposeTable[a.next][e]; listed {
		a.next = next
	}
}

// retry demands another attempt. The earliest moment counts.
func (a *announcement) retry(at time.Time) {
	if a.retryAt.IsZero() || at.Before(a.retryAt) {
		a.retryAt = at
	}
}

// refuse demands another attempt after a time that doubles each time, up to maxBackoff. Several
// servers that refuse the same attempt count once.
func (a *announcement) refuse(now time.Time) {
	if !a.refused {
		a.refused = true
		a.retry(now.Add(backoff(a.tries, maxBackoff)))
		a.tries++
	}
}

// whenChanged returns a channel that is closed when more is known.
func (a *announcement) whenChanged() <-chan struct{} {
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

// release tells those that wait that more is known.
func (a *announcement) release() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// outgoing is what is to be sent for an announcement. Its number keeps an answer from counting for
// another attempt, of this session or another.
type outgoing struct {
	jwtstore.Change
	number  int
	purpose purpose
}

// reply is where the answers go, below the inbox and, for an announcement, the digest.
func (o outgoing) reply() string { return fmt.Sprintf("%s.%d.%d", o.Key, o.Seq, o.number) }

// parseReply is the inverse of reply for the part after the key. It returns zeros for what can't be
// read.
func parseReply(s string) (seq uint64, number int) {
	if _, err := fmt.Sscanf(s, "%d.%d", &seq, &number); err != nil {
		return 0, 0
	}
	return seq, number
}
