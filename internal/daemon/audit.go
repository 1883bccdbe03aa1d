package daemon

import (
	"sync/atomic"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/monitor"
)

// auditor writes the events of the registries to the audit log. Their members have names of their
// own there, which other programs read and which never change. *auditor meets accounts.Observer and
// activations.Observer.
type auditor struct {
	*logging.Audit
	// required is how many nanoseconds a client insists on its entry; 0: none does. A reload
	// changes it.
	required atomic.Int64
	metrics  *monitor.Metrics // count the events
}

// openAudit opens the audit file of o.Config. Use(nil) closes it.
func openAudit(o Options, metrics *monitor.Metrics) (*auditor, error) {
	file, err := logging.OpenAudit(o.Config.Logging.Audit)
	if err != nil {
		return nil, err
	}
	a := &auditor{Audit: logging.NewAudit(o.Logging, file), metrics: metrics}
	a.require(o.Config)
	return a, nil
}

// maxAuditWait is how long a request waits for its entry, if that is required.
const maxAuditWait = 3 * time.Second

// require sets whether clients insist on their entries. Each still gets its answer, also if
// writetimeout is short. Half of writetimeout is left for the answer.
func (a *auditor) require(c config.Config) {
	limit := time.Duration(0)
	if c.Logging.AuditRequired {
		limit = min(maxAuditWait, c.HTTP.WriteTimeout/2)
	}
	a.required.Store(int64(limit))
}

// Observe implements accounts.Observer. The registries call it for each JWT that is decided about.
// No client waits for what another server passes on, or for what comes from a file. The error is
// that the entry was not written in time. The decision stands, and the client is told.
func (a *auditor) Observe(v accounts.Event) error {
	a.metrics.Decided(v)
	var required time.Duration
	if (v.Kind == accounts.KindHTTP || v.Kind == accounts.KindNATS) && !v.Peer {
		required = time.Duration(a.required.Load())
	}
	return a.Write(logging.AuditEntry{
		Result:  v.Result,
		Reason:  v.Reason,
		Address: v.Address,
		User:    v.User,
		Origin:  v.Kind,
		Account: v.Account,
		Issuer:  v.Issuer,
		Old:     v.Old,
		New:     v.New,
		Name:    v.Name,
		Changes: auditChanges(v.Changes),
		More:    v.More,
	}, v.Result == accounts.Refused, required)
}

// auditChanges are changes as the audit has them. Signs and effects are left out: Words have them.
func auditChanges(changes []claimdiff.Change) (all []logging.AuditChange) {
	for _, c := range changes {
		all = append(all, logging.AuditChange{Code: c.Code, Field: c.Field, Words: c.Words})
	}
	return all
}
