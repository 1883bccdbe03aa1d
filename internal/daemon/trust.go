package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/trust"
)

// trusted is the operator and the system account, as read from the files that the configuration
// names.
type trusted struct {
	accounts.Trust
	systemName string // for the log; "" if the JWT of the system account is not configured
}

// loadTrust reads and checks the operator and the system account. Its error names the file. What is
// not configured stays nil. The operator comes first, because it must have signed the system
// account.
func loadTrust(c config.Config) (trusted, error) {
	var t trusted
	var err error
	if c.Operator != (config.JWTRef{}) {
		if t.Operator, err = loadOperator(c.Operator); err != nil {
			return t, fmt.Errorf("error loading operator from %s: %w", location(c.Operator), err)
		}
	}
	if c.SystemAccount != (config.JWTRef{}) {
		if err := t.loadSystem(c.SystemAccount); err != nil {
			return t, fmt.Errorf("error loading system account from %s: %w", location(c.SystemAccount), err)
		}
	}
	return t, nil
}

// loadOperator reads and checks the JWT of the operator. Its error does not name the file. An
// expired JWT is no error.
func loadOperator(ref config.JWTRef) (*trust.Operator, error) {
	text, err := read(ref)
	if err != nil {
		return nil, err
	}
	return trust.Parse(text)
}

// loadSystem reads the JWT of the system account. If only its key is configured, there is none.
// t.Operator must be loaded before, or be nil.
func (t *trusted) loadSystem(ref config.JWTRef) error {
	key := ref.Key
	if key == "" {
		text, err := read(ref)
		if err != nil {
			return err
		}
		token, claims, err := trust.ParseAccount(text)
		if err != nil {
			return err
		}
		// It is served as it is in the file.
		head, err := t.Operator.Check(claims.Subject, bytes.TrimSpace(token))
		if err != nil {
			return err
		}
		t.System, t.systemName = accounts.NewAccount(token, head), claims.Name
		key = head.Subject
	}
	// An operator that names a system account must name this one. The error has the original's
	// words.
	if op := t.Operator; op != nil && op.SystemAccount != "" && op.SystemAccount != key {
		return fmt.Errorf("the Operator System Account %s differs from configured System Account %s",
			op.SystemAccount, key)
	}
	return nil
}

// systemKey is the public key of the system account, or a placeholder if it is not known. It is for
// texts only: the placeholder is no key.
func (t *trusted) systemKey() string {
	switch {
	case t.System != nil:
		return t.System.Key
	case t.Operator != nil && t.Operator.SystemAccount != "":
		return t.Operator.SystemAccount
	default:
		return "<system account>"
	}
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

// log writes the lines about the operator and the system account, in the original's words. An
// expired JWT is reported, but it is used all the same.
func (t trusted) log(c config.Config, log logger) {
	if t.System != nil {
		log.infof("loading system account from %s", location(c.SystemAccount))
		log.infof("System Account: %s", t.System.Key)
		log.infof("System Account Name: %s", t.systemName)
		if t.System.Expires > 0 && t.System.Expires <= time.Now().Unix() {
			log.warnf("the system account JWT in %s has expired: nats-servers will refuse it",
				location(c.SystemAccount))
		}
	}
	if t.Operator == nil {
		log.infof("No Operator is configured - You will NOT be able to push jwt to this account server")
		return
	}
	log.infof("loading operator from %s", location(c.Operator))
	log.infof("Operator: %s", t.Operator.Key)
	log.infof("Operator Name: %s", t.Operator.Name)
	if end := t.Operator.Expires; !end.IsZero() && end.Before(time.Now()) {
		log.warnf("the operator JWT in %s expired at %s", location(c.Operator),
			end.UTC().Format(time.RFC3339))
	}
}
