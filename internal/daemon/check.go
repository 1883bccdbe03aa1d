package daemon

import (
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
)

// Check reads and checks every file that a configuration names. It starts nothing. Its error has a
// line for each mistake. A read-only folder is opened but not scanned, and no audit file stays
// behind.
func Check(c config.Config) (warnings []config.Warning, err error) {
	f, err := load(c)
	if err == nil {
		err = f.trusted.startable(c)
	}
	if err == nil {
		for _, text := range f.trusted.warnings(c) {
			warnings = append(warnings, config.Warning{Text: text})
		}
	}
	_, inFolder := openFolder(c.Store)
	return warnings, errors.Join(err, inFolder, checkCredentials(c.NATS.Credentials),
		logging.CheckAudit(c.Logging.Audit))
}

// checkCredentials checks a creds file. A server that starts with a bad one tries again and again,
// because the file may be replaced.
func checkCredentials(path string) error {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err == nil {
		// The key is parsed because nats.go needs it. The JWT beside it is the nats-server's
		// business.
		_, err = jwt.ParseDecoratedUserNKey(content)
	}
	if err != nil {
		return fmt.Errorf("error loading credentials from %s: %w", path, err)
	}
	return nil
}
