package daemon

import (
	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

// auditor writes the gate's verdicts to the audit.
type auditor struct{ *logging.Audit }

// Observe implements accounts.Observer.
func (a auditor) Observe(v accounts.Event) {
	a.Write(logging.AuditEntry{
		Result:  v.Result,
		Reason:  v.Reason,
		Address: v.Address,
		User:    v.User,
		Origin:  v.Kind,
		Account: v.Account,
		Issuer:  v.Issuer,
		Old:     audited(v.Old),
		New:     audited(v.New),
	}, v.Result == accounts.Refused)
}

func audited(v *accounts.Version) *logging.AuditVersion {
	if v == nil {
		return nil
	}
	return &logging.AuditVersion{JTI: v.ID, IAT: v.IssuedAt, Hash: v.Hash, Size: v.Size}
}

func (d *daemon) startAudit() error {
	f, err := logging.OpenAudit(d.Config.Logging.Audit)
	if err != nil {
		return err
	}
	d.audit = logging.NewAudit(d.log, f)
	return nil
}

// reopen makes the audit write to the file of the configured name again, after somebody has renamed it.
func (d *daemon) reopen() {
	f, err := logging.OpenAudit(d.Config.Logging.Audit)
	if err != nil {
		d.log.Error(err.Error() + ": the old one goes on")
		return
	}
	d.audit.Use(f)
	d.say("audit file reopened")
}
