package monitor

import (
	"fmt"
	"time"

	"nats-account-server/internal/notifier"
)

// maxWaiting is how long a change may wait for the answer of a nats-server that is there.
const maxWaiting = 5 * time.Minute

// readyParts are the parts of Readiness, as the labels name them.
var readyParts = [...]string{"store", "trust", "compared", "delivery", "replica", "bucket"}

// Part says whether one part of the server is ready.
type Part struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why it is not
	Note   string `json:"note,omitempty"`   // what is to be known although it is
}

// Readiness says whether the server is ready, and why each part is not.
type Readiness struct {
	Status string           `json:"status"` // "ok" or "unavailable"
	Parts  map[string]*Part `json:"parts"`
}

// Ready reports whether all parts are ready.
func (r Readiness) Ready() bool { return r.Status == "ok" }

// Ready says whether the server is ready to be sent requests.
func (m *Monitor) Ready() Readiness {
	r := Readiness{Status: "ok", Parts: map[string]*Part{
		"store":    m.storeReady(),
		"trust":    m.trustReady(),
		"compared": m.comparedReady(),
		"delivery": m.deliveryReady(m.overview()),
		"replica":  m.replicaReady(),
		"bucket":   m.bucketReady(),
	}}
	for _, p := range r.Parts {
		if p.Ready = p.Reason == ""; !p.Ready {
			r.Status = "unavailable"
		}
	}
	return r
}

// storeReady: the store is there and can be written to.
func (m *Monitor) storeReady() *Part {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.Store.Check(); err != nil {
		m.failing.Log(m.Log, fmt.Errorf("/readyz: the store is not there or can't be written to: %w", err))
		return &Part{Reason: "the store is not there or can't be written to: the log says why"}
	}
	m.failing.Log(m.Log, nil)
	return &Part{}
}

// trustReady: there is an operator. A server that only reads a directory can do without.
func (m *Monitor) trustReady() *Part {
	if !m.ReadOnly && !m.Accounts.HasOperator() {
		return &Part{Reason: "no operator is configured: no JWT can be stored"}
	}
	return &Part{}
}

// comparedReady: what is stored has been compared with the index once.
func (m *Monitor) comparedReady() *Part {
	if !m.Accounts.Compared() {
		return &Part{Reason: "the index is still being compared with what is stored"}
	}
	return &Part{}
}

// deliveryReady: no change waits for too long. While NATS is away that does not count: nats-servers with
// a URL resolver can't start before this server answers.
func (m *Monitor) deliveryReady(v notifier.Overview) *Part {
	switch {
	case v.Waiting > maxWaiting:
		return &Part{Reason: fmt.Sprintf("a change has been waiting for the answer of a nats-server for %s",
			v.Waiting.Round(time.Second))}
	case v.Configured && !v.Connected:
		return &Part{Note: "NATS is not connected: this server is ready all the same, since " +
			"nats-servers with a URL resolver need it before NATS can start"}
	}
	return &Part{}
}

// replicaReady: the accounts of the primary are here.
func (m *Monitor) replicaReady() *Part {
	s, follows := m.Replica()
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

// bucketGrace is how long a server that can't reach its bucket is not ready after its start.
const bucketGrace = 15 * time.Second

// bucketReady: what the bucket has is here. While nothing of the bucket can be reached, what is stored is
// served all the same; otherwise an outage of the bucket would be one of all accounts.
func (m *Monitor) bucketReady() *Part {
	s, shares := m.Bucket()
	isCutOff := !s.Connected || s.Failing != ""
	switch {
	case !shares:
		return &Part{}
	case s.Fault != nil:
		return &Part{Reason: "a change is committed to the bucket, and can't be stored on this server: " +
			"the log says why"}
	case !s.CaughtUp && (!isCutOff || time.Since(m.start) < bucketGrace):
		return &Part{Reason: "the bucket has not been read since the start"}
	case !s.CaughtUp:
		return &Part{Note: "the bucket can't be reached since the start: what is stored is served, and " +
			"nothing is announced"}
	case isCutOff:
		return &Part{Note: "the bucket can't be reached: what is stored is served, and no push is taken"}
	case s.Refusing != "":
		return &Part{Note: "pushes are refused: " + s.Refusing}
	}
	return &Part{}
}
