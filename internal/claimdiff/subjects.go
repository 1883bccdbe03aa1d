package claimdiff

import (
	"cmp"

	"github.com/nats-io/jwt/v2"
)

// Subjects returns the subject of an import in the account that exports it, and in the one that
// imports it.
func Subjects(i *jwt.Import) (there, here string) { return remote(i), local(i) }

// Grantee returns the words for who may import an export.
func Grantee(e *jwt.Export) string { return cmp.Or(grantee(e), "to every account") }
