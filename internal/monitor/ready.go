package monitor

import (
	"fmt"
	"sync"
	"time"

	"nats-account-server/internal/bucket"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/notifier"
)

// maxWaiting is how long a change may wait for the answer of a nats-server that is there. A
// nats-server that starts, or fetches accounts after a partition, needs less.
const maxWaiting = 5 * time.Minute

// readyParts are the parts of Readiness, as the labels name them.
var readyParts = [...]string{"store", "trust", "compared", "delivery", "replica", "bucket"}

// Part says whether one part of the server is ready. Ready is true if Reason is "". Of a part that
// is not configured Ready is true.
type Part struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why it is not
	Note   string `json:"note,omitempty"`   // what is to be known although it is
}

// Readiness says whether the server is ready, and why each part is not. A server that is not ready
// answers all the same; a load balancer asks another one.
type Readiness struct {
	Status string           `json:"status"` // "ok" or "unavailable"
	Parts  map[string]*Part `json:"parts"`
}

// Ready reports whether all parts are ready.
func (r Readiness) Ready() bool { return r.Status == "ok" }

// readyChecks says whether each part of the server is ready. failing remembers whether the store
// was failing, so that it is logged once and not with each probe.
type readyChecks struct {
	Options
	start time.Time

	mu      sync.Mutex // guards failing
	failing logging.Condition
}

// Ready says whether the server is ready to be sent requests. It reads no account. It costs some
// calls of the system, and a small write while the disk is failing.
func (m *Monitor) Ready() Readiness {
	c := &m.checks
	r := Readiness{Status: "ok", Parts: map[string]*Part{
		"store":    c.store(),
		"trust":    c.trust(),
		"compared": c.compared(),
		"delivery": c.delivery(m.Overview()),
		"replica":  c.replica(),
		"bucket":   c.bucket(),
	}}
	for _, p := range r.Parts {
		if p.Ready = p.Reason == ""; !p.Ready {
			r.Status = "unavailable"
		}
	}
	return r
}

// store: the store is there and can be written to. Why is in the log only: /readyz may be open to
// all, and the error has paths.
func (c *readyChecks) store() *Part {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Store.Check(); err != nil {
		c.failing.Log(c.Log,
			fmt.Errorf("/readyz: the store is not there or can't be written to: %w", err))
		return &Part{Reason: "the store is not there or can't be written to: the log says why"}
	}
	c.failing.Log(c.Log, nil)
	return &Part{}
}

// trust: there is an operator. A server that only reads a directory can do without.
func (c *readyChecks) trust() *Part {
	if !c.ReadOnly && !c.Accounts.HasOperator() {
		return &Part{Reason: "no operator is configured: no JWT can be stored"}
	}
	return &Part{}
}

// compared: what is stored has been compared with the index once.
func (c *readyChecks) compared() *Part {
	if !c.Accounts.Compared() {
		return &Part{Reason: "the index is still being compared with what is stored"}
	}
	return &Part{}
}

// delivery: no change waits for too long. While NATS is away that does not count: nats-servers with
// a URL resolver can't start before this server answers.
func (c *readyChecks) delivery(v notifier.Overview) *Part {
	switch {
	case v.Waiting > maxWaiting:
		return &Part{Reason: fmt.Sprintf(
			"a change has been waiting for the answer of a nats-server for %s",
			v.Waiting.Round(time.Second))}
	case v.Configured && !v.Connected:
		return &Part{Note: "NATS is not connected: this server is ready all the same, since " +
			"nats-servers with a URL resolver need it before NATS can start"}
	}
	return &Part{}
}

// replica: the accounts of the primary are here. It is ready when the primary is away, as long as
// it has had all accounts once.
func (c *readyChecks) replica() *Part {
	s, follows := c.Replica()
	switch {
	case !follows:
		return &Part{}
	case !s.Packed:
		return &Part{Reason: "the initial pack of the primary is not here yet"}
	case s.Failing:
		return &Part{Note: "the primary does not answer: what is stored is served"}
	}
	return &Part{}
}

// whyCutOff says why the bucket can't be used.
func whyCutOff(s bucket.State) string {
	if s.Connected && s.Failing != "" {
		return "the bucket can't be followed (" + s.Failing + ")"
	}
	return "the bucket can't be reached"
}

// notReadYet says that a server does not know yet what its bucket has.
func notReadYet(s bucket.State) string {
	text := "the bucket has not been read since the start"
	if s.Empty {
		text += ", and no account is stored here"
	}
	if s.Failing != "" {
		text += " (" + s.Failing + ")"
	}
	return text
}

// maxLag is for how long a server may lack something of its bucket before that is told.
const maxLag = 5 * time.Second

// lag says when all that the bucket has was here; "" if that was a moment ago, or never.
func lag(s bucket.State) string {
	if s.Success.IsZero() || time.Since(s.Success) < maxLag {
		return ""
	}
	return "; all of the bucket was known to be here at " + logging.Time(s.Success)
}

// bucketGrace is how long a server that can't reach its bucket is not ready after its start. A
// bucket is found within a second or two if it is there. Ready at once, a server would serve what
// is stored before it knows what the others have changed.
const bucketGrace = 15 * time.Second

// bucket: what the bucket has is here. While nothing of the bucket can be reached, what is stored
// is served all the same; otherwise an outage of the bucket would be one of all accounts.
func (c *readyChecks) bucket() *Part {
	s, shares := c.Bucket()
	isCutOff := !s.Connected || s.Failing != ""
	switch {
	case !shares:
		return &Part{}
	case s.Fault != nil:
		return &Part{Reason: "a change is committed to the bucket, and can't be stored on this " +
			"server: the log says why"}
	case !s.CaughtUp && (s.Empty || !isCutOff || time.Since(c.start) < bucketGrace):
		return &Part{Reason: notReadYet(s)}
	case !s.CaughtUp:
		return &Part{Note: whyCutOff(s) + " since the start: what is stored is served, and " +
			"nothing is announced"}
	case isCutOff && s.Connected && s.Refusing == "":
		return &Part{Note: whyCutOff(s) + ": what is stored is served, and what other servers " +
			"have taken comes later" + lag(s)}
	case isCutOff:
		return &Part{Note: whyCutOff(s) + ": what is stored is served, and no push is taken" + lag(s)}
	case s.Refusing != "":
		return &Part{Note: "pushes are refused: " + s.Refusing}
	case s.Behind > 0 && lag(s) != "":
		return &Part{Note: fmt.Sprintf("%d of the revisions of the bucket are not here yet%s", s.Behind,
			lag(s))}
	case s.Refused > 0:
		return &Part{Note: logging.Count(s.Refused, "account", "accounts") + " of the bucket can't be " +
			"taken here: the log says why (is the operator JWT the same on all account servers, and up " +
			"to date?)"}
	case s.Denied != "":
		return &Part{Note: s.Denied}
	case s.Unknown != "":
		return &Part{Note: s.Unknown}
	}
	return &Part{}
}
