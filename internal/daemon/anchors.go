package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// Check reads and judges everything that a configuration points at, without starting anything.
func Check(c config.Config) error {
	_, err := loadAnchors(c)
	_, inAccess := loadAccess(c.HTTP)
	_, inFolder := openFolder(c.Store)
	return errors.Join(err, inAccess, inFolder, checkNATS(c.NATS), logging.CheckAudit(c.Logging.Audit))
}

// checkNATS says what keeps the files from being used that a connection to NATS needs.
func checkNATS(c config.NATS) error {
	_, err := loadNATSTLS(c.TLS)
	return errors.Join(err, checkCredentials(c.Credentials))
}

// checkCredentials says what keeps a creds file from being used. A server that starts with one like that goes on trying:
// it may come to be good.
func checkCredentials(path string) error {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err == nil {
		_, err = jwt.ParseDecoratedUserNKey(content)
	}
	if err != nil {
		return fmt.Errorf("error loading credentials from %s: %w", path, err)
	}
	return nil
}

// anchors is whom we trust, as read from the files that the configuration names.
type anchors struct {
	accounts.Trust
	systemName string
}

func loadAnchors(c config.Config) (anchors, error) {
	var a anchors
	var err error
	if c.Operator != (config.JWTRef{}) {
		if a.Operator, err = loadOperator(c.Operator); err != nil {
			return a, fmt.Errorf("error loading operator from %s: %w", where(c.Operator), err)
		}
	}
	if c.SystemAccount != (config.JWTRef{}) {
		if err := a.loadSystem(c.SystemAccount); err != nil {
			return a, fmt.Errorf("error loading system account from %s: %w", where(c.SystemAccount), err)
		}
	}
	return a, nil
}

func loadOperator(ref config.JWTRef) (*trust.Operator, error) {
	text, err := read(ref)
	if err != nil {
		return nil, err
	}
	return trust.Parse(text)
}

// loadSystem reads the system account's JWT, or only takes its key when that is all that is configured.
func (a *anchors) loadSystem(ref config.JWTRef) error {
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
		head, err := a.Operator.Check(claims.Subject, bytes.TrimSpace(token)) // as it lies in the file it is served
		if err != nil {
			return err
		}
		a.System, a.systemName = accounts.NewAccount(token, head), claims.Name
		key = head.Subject
	}
	if op := a.Operator; op != nil && op.SystemAccount != "" && op.SystemAccount != key {
		return fmt.Errorf("the Operator System Account %s differs from configured System Account %s", op.SystemAccount, key)
	}
	return nil
}

// systemKey is the system account's public key, or a word for it where it is not known.
func (a *anchors) systemKey() string {
	switch {
	case a.System != nil:
		return a.System.Key
	case a.Operator != nil && a.Operator.SystemAccount != "":
		return a.Operator.SystemAccount
	default:
		return "<system account>"
	}
}

func read(ref config.JWTRef) ([]byte, error) {
	if ref.Path == "" {
		return []byte(ref.Token), nil
	}
	return os.ReadFile(ref.Path)
}

// where names a JWT's source for people.
func where(ref config.JWTRef) string {
	switch {
	case ref.Path != "":
		return ref.Path
	case ref.Key != "":
		return ref.Key
	default:
		return "the configuration"
	}
}

// announce writes the lines about the trust anchors, as the original has them.
func (a anchors) announce(c config.Config, say func(string, ...any), warn func(string, ...any)) {
	if a.System != nil {
		say("loading system account from %s", where(c.SystemAccount))
		say("System Account: %s", a.System.Key)
		say("System Account Name: %s", a.systemName)
		if a.System.Expires > 0 && a.System.Expires <= time.Now().Unix() {
			warn("the system account JWT in %s has expired: nats-servers will refuse it", where(c.SystemAccount))
		}
	}
	if a.Operator == nil {
		say("No Operator is configured - You will NOT be able to push jwt to this account server")
		return
	}
	say("loading operator from %s", where(c.Operator))
	say("Operator: %s", a.Operator.Key)
	say("Operator Name: %s", a.Operator.Name)
	if t := a.Operator.Expires; !t.IsZero() && t.Before(time.Now()) {
		warn("the operator JWT in %s expired at %s", where(c.Operator), t.UTC().Format(time.RFC3339))
	}
}
