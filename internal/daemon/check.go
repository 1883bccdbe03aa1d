package daemon

import (
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
)

// Check reads and checks every file that a configuration names. It starts nothing.
func Check(c config.Config) error {
	_, err := loadTrust(c)
	_, inAccess := loadAccess(c.HTTP)
	_, inFolder := openFolder(c.Store)
	return errors.Join(err, inAccess, inFolder, checkNATS(c.NATS), logging.CheckAudit(c.Logging.Audit))
}

// checkNATS checks the files that a connection to NATS needs.
func checkNATS(c config.NATS) error {
	_, err := loadNATSTLS(c.TLS)
	return errors.Join(err, checkCredentials(c.Credentials))
}

// checkCredentials checks a creds file. A server that starts with a bad one tries again and again,
// because the file may be replaced.
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
