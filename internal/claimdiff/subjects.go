package claimdiff

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// Subjects returns the subject of an import in the account that exports it, and in the one that
// imports it.
func Subjects(i *jwt.Import) (there, here string) { return remote(i), local(i) }

// Grantee returns the words for who may import an export, as the subject of a sentence.
func Grantee(e *jwt.Export) string {
	switch {
	case e.TokenReq:
		return "accounts with a token"
	case e.AccountTokenPosition > 0:
		return fmt.Sprintf("the account that token %d of the subject names", e.AccountTokenPosition)
	}
	return "every account"
}
