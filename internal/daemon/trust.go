package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// trusted is the operators and the system account, as read from the files that the configuration
// names. It is read anew by each reload, and is not changed then.
type trusted struct {
	accounts.Trust
	systemName string // for the log; "" if the configuration has no JWT of it
	// unusable says why what the configuration has of the system account can't be used; nil: it can
	// be, or there is none.
	unusable error
}

// loadTrust reads and checks the operators and the system account. Its error names the file, and is
// never about the system account: see unusable. The operators come first, because one of them must
// have signed the system account. All operators are read, so that the error names each that is
// wrong.
//
// The system account is read only if all operators could be: otherwise its signature can't be
// judged. An unusable one does not prevent a start, because the store may have a newer JWT of it.
func loadTrust(c config.Config) (trusted, error) {
	var t trusted
	t.WarnOnly = c.ClaimChecks == config.ChecksWarn
	var failed []error
	for _, ref := range c.Operators {
		operator, err := loadOperator(ref)
		if err != nil {
			failed = append(failed,
				fmt.Errorf("error loading operator from %s: %w", location(ref), err))
			continue
		}
		t.Operators = append(t.Operators, operator)
	}
	if len(failed) > 0 {
		return t, errors.Join(failed...)
	}
	if c.SystemAccount != (config.JWTRef{}) {
		if err := t.loadSystem(c.SystemAccount); err != nil {
			t.unusable = fmt.Errorf("error loading system account from %s: %w",
				location(c.SystemAccount), err)
		}
	}
	return t, nil
}

// loadOperator reads and checks the JWT of an operator. Its error does not name the file. An
// expired JWT is no error: nats-server uses it too. The text is a bare JWT, or one between the
// lines that nsc writes.
func loadOperator(ref config.JWTRef) (*trust.Operator, error) {
	text, err := read(ref)
	if err != nil {
		return nil, err
	}
	return trust.Parse(text)
}

// loadSystem reads the JWT of the system account. If only its key is configured, there is none.
// With an error, t.System stays nil. t.Operators must be loaded before. Its JWT in the
// configuration counts only as long as the store has no newer one.
func (t *trusted) loadSystem(ref config.JWTRef) error {
	if ref.Key != "" {
		t.SystemKey = ref.Key
		return t.checkSystem(ref.Key)
	}
	text, err := read(ref)
	if err != nil {
		return err
	}
	token, claims, err := trust.ParseAccount(text)
	if err != nil {
		return err
	}
	// It is served as it is in the file.
	head, err := t.Operators.Check(claims.Subject, bytes.TrimSpace(token))
	if err == nil {
		err = t.checkSystem(head.Subject)
	}
	if err != nil {
		return err
	}
	t.System, t.systemName = accounts.NewAccount(token, head), claims.Name
	return nil
}

// checkSystem returns an error if the operators name system accounts, and none of them is this one.
// nats-server has the same rule. The error has the original's words. key is the public key of the
// system account.
func (t *trusted) checkSystem(key string) error {
	named := t.Operators.SystemAccounts()
	if len(named) == 0 || slices.Contains(named, key) {
		return nil
	}
	return fmt.Errorf("the Operator System Account %s differs from configured System Account %s",
		strings.Join(named, " or "), key)
}

// startable returns why the server does not start without the JWT of the system account that the
// configuration names; nil if it does. A store that begins empty, and other servers that can't be
// asked, have no other JWT of it. Only a memory without a primary and without NATS is such a store.
func (t *trusted) startable(c config.Config) error {
	if c.Store.Dir != "" || c.Store.NSC != "" || c.Primary != "" || len(c.NATS.Servers) > 0 {
		return nil
	}
	return t.unusable
}

// warnMissing warns if what the configuration has of the system account can't be used, and the
// store has nothing in its place.
func (t *trusted) warnMissing(ctx context.Context, r *accounts.Registry, log logger) {
	if t.unusable == nil {
		return
	}
	key := t.systemKey()
	if _, err := r.GetLocal(ctx, key); err != nil {
		log.warnf("there is no good JWT of the system account %s here, and nats-servers may not "+
			"get it: push it (%s)", key, err)
	}
}

// systemKey is the public key of the system account, or a placeholder if it is not known. It is for
// texts only: the placeholder is no key.
func (t *trusted) systemKey() string {
	if t.System != nil {
		return t.System.Key
	}
	return cmp.Or(t.SystemKey, append(t.Operators.SystemAccounts(), "<system_account>")[0])
}

// read returns the text of a JWT: the content of a file, or what the configuration has. The text is
// not checked, and may be decorated.
func read(ref config.JWTRef) ([]byte, error) {
	if ref.Path == "" {
		return []byte(ref.Token), nil
	}
	return os.ReadFile(ref.Path)
}

// location says where a JWT comes from. It never shows the JWT itself.
func location(ref config.JWTRef) string { return cmp.Or(ref.Path, ref.Key, "the configuration") }

// log writes the lines about the operators and the system account, in the original's words.
func (t trusted) log(c config.Config, log logger) {
	if t.System != nil {
		log.infof("loading system account from %s", location(c.SystemAccount))
		log.infof("System Account: %s", t.System.Key)
		log.infof("System Account Name: %s", t.systemName)
	}
	if len(t.Operators) == 0 {
		log.infof("No Operator is configured - You will NOT be able to push " +
			"jwt to this account server")
	}
	for i, o := range t.Operators {
		log.infof("loading operator from %s", location(c.Operators[i]))
		log.infof("Operator: %s", o.Key)
		log.infof("Operator Name: %s", o.Name)
	}
	for _, text := range t.warnings(c) {
		log.Warn(text)
	}
}

// warnings returns what is wrong with the operators and the system account, but prevents nothing.
// An expired JWT is used all the same.
func (t trusted) warnings(c config.Config) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if t.unusable != nil {
		add("%s; it is only used while the store has no good JWT of the system account: replace "+
			"it by the present one, or take it out of the configuration", t.unusable)
	}
	if t.System != nil && t.System.Expires > 0 && t.System.Expires <= time.Now().Unix() {
		add("the system account JWT in %s has expired, and nats-servers will "+
			"refuse it: issue it anew", location(c.SystemAccount))
	}
	seen := make(map[string]string) // where an operator is, by key
	for i, o := range t.Operators {
		from := location(c.Operators[i])
		if end := o.Expires; !end.IsZero() && end.Before(time.Now()) {
			add("the operator JWT in %s expired at %s: it is trusted all the same; issue it anew",
				from, logging.Time(end))
		}
		if o.SignsNothing() {
			add("the operator %s in %s requires signing keys and has none: nothing that it "+
				"signs is accepted, and no account of it is served; add a signing key", o.Key, from)
		}
		if first, again := seen[o.Key]; again {
			add("the operator %s is given twice, in %s and in %s: the keys of both JWTs are "+
				"trusted, also one that was removed in the newer JWT", o.Key, first, from)
		}
		seen[o.Key] = from
	}
	return all
}
