package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxHeader is how long an Authorization header may be, in bytes; bcrypt looks at 72 bytes of a password.
const maxHeader = 1024

// parseBasic reads the value of an Authorization header of the scheme Basic, RFC 7617.
func parseBasic(header string) (user, password string, ok bool) {
	scheme, encoded, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

// maxCost is the dearest hash that is taken. Each step doubles the time of a compare, and nats-server waits 1.9 s for
// an answer.
const maxCost = 14

// bcryptHash is what htpasswd ($2y$), nats ($2a$) and other tools ($2b$) write; all three mean the same.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// CheckHash says what keeps a text from being used as the hash of a password. The error does not show the text.
func CheckHash(hash string) error {
	if !bcryptHash.MatchString(hash) {
		return errors.New("it is not a bcrypt hash")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil:
		return errors.New("it is not a bcrypt hash")
	case cost > maxCost:
		return fmt.Errorf("its bcrypt cost is %d, more than %d: a login would take seconds", cost, maxCost)
	}
	return nil
}
