package trust

import (
	"bytes"
	"crypto/sha256"
	"strings"

	"github.com/nats-io/nkeys"
)

// KeyLength is the length of a public key, and of the hash of an activation token with its padding,
// in characters. A key is base32 of a byte for the kind, 32 bytes, and a checksum of 2 bytes: 35
// bytes are 56 characters.
const KeyLength = 56

// hashPadding ends every hash: 32 bytes in base32 are 52 characters.
const hashPadding = "===="

// IsAccountKey reports whether key is a public account key in its one spelling. nkeys alone accepts
// line breaks. Its checksum is looked at, which costs about a microsecond.
func IsAccountKey(key string) bool { return isKey(key) && nkeys.IsValidPublicAccountKey(key) }

// IsOperatorKey reports whether key is a public operator key in its one spelling. Signing keys of
// an operator are such keys too.
func IsOperatorKey(key string) bool { return isKey(key) && nkeys.IsValidPublicOperatorKey(key) }

// IsServerKey reports whether key is the public key of a nats-server's process in its one spelling.
func IsServerKey(key string) bool { return isKey(key) && nkeys.IsValidPublicServerKey(key) }

// LooksLikeAccountKey reports whether key has the length, the prefix and the characters of an
// account key. It does not compute the checksum, so it costs next to nothing. Such a key is safe in
// a path and in a subject.
func LooksLikeAccountKey(key string) bool { return isKey(key) && key[0] == 'A' }

// HashOf returns the SHA-256 of a JWT or a tombstone, by which versions are told apart. White space
// around it does not count: people add a newline with an editor.
func HashOf(token []byte) [sha256.Size]byte { return sha256.Sum256(bytes.TrimSpace(token)) }

// IsActivationHash reports whether text can be the hash of an activation token: base32 with its
// padding. Such a text is safe in a path and in a subject. Such a hash is the SHA-256 of issuer,
// account and subject.
func IsActivationHash(text string) bool {
	digits, padded := strings.CutSuffix(text, hashPadding)
	return padded && len(text) == KeyLength && IsBase32(digits)
}

// IsBase32 reports whether text has only characters of base32, which keys and hashes are written
// in.
func IsBase32(text string) bool { return !strings.ContainsFunc(text, isNotBase32) }

// isNotBase32 reports whether a character is none of base32.
func isNotBase32(c rune) bool { return (c < 'A' || c > 'Z') && (c < '2' || c > '7') }

// isKey reports whether key has the length and the characters of a key of any kind.
func isKey(key string) bool { return len(key) == KeyLength && IsBase32(key) }
