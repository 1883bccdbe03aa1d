package daemon

import (
	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

// auditor writes the events of the registries to the audit log. Their members have names of their
// own there, which other programs read and which never change.
type auditor struct{ *logging.Audit }

// Observe implements accounts.Observer. The registries call it for each JWT that is decided about.
func (a auditor) Observe(v accounts.Event) {
	a.Write(logging.AuditEntry{
		Result:  v.Result,
		Reason:  v.Reason,
		Address: v.Address,
		User:    v.User,
		Origin:  v.Kind,
		Account: v.Account,
		Issuer:  v.Issuer,
		Old:     v.Old,
		New:     v.New,
	}, v.Result == accounts.Refused)
}

// reopenAudit opens the audit file of the configured name anew, after it has been renamed. If the
// file can't be opened, the server goes on writing to the renamed one.
func (d *daemon) reopenAudit() {
	f, err := logging.OpenAudit(d.Config.Logging.Audit)
	if err != nil {
		d.log.errorf("%s: the old one goes on", err)
		return
	}
	// Use closes the old file. A nil f means that the audit goes into the log.
	d.audit.Use(f)
	d.log.infof("audit file reopened")
}
