package auth

import (
	"encoding/base64"
	"strings"
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
