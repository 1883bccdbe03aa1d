package jwtstore

import (
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"
)

// codec maps an account key to the path of its file below the store's directory, and back.
//
//	sharded   AB…YZ  <->  YZ/AB…YZ.jwt
//	flat      AB…YZ  <->  AB…YZ.jwt
//
// Beside it is the account's tombstone, under the same name and .deleted. Only public account keys have a path; nothing
// else can become part of one.
type codec struct {
	shard bool
}

const (
	suffix    = ".jwt"
	deleted   = ".deleted" // what nats-server's full resolver adds to the name, too
	keyLength = 56
)

// path returns where the JWT of key is, below a directory that is "" or ends in a separator. The caller has seen
// that the key is valid.
func (c codec) path(dir, key string) string {
	if c.shard {
		return dir + key[keyLength-2:] + string(filepath.Separator) + key + suffix
	}
	return dir + key + suffix
}

// tombstone returns where the tombstone of key is.
func (c codec) tombstone(dir, key string) string { return c.path(dir, key) + deleted }

// name is the inverse of path: an account key or the hash of an activation token.
func (c codec) name(path string) (name string, ok bool) {
	dir, file := filepath.Split(path)
	name, ok = strings.CutSuffix(file, suffix)
	if !ok || !validName(name) {
		return "", false
	}
	if c.shard {
		return name, dir == name[keyLength-2:]+string(filepath.Separator)
	}
	return name, dir == ""
}

// key is name for accounts only.
func (c codec) key(path string) (key string, ok bool) {
	key, ok = c.name(path)
	if !ok || isHash(key) {
		return "", false
	}
	return key, true
}

// validKey says whether key is a public account key. It looks at the characters first: nkeys' decoder skips line
// breaks, which have no place in a path.
func validKey(key string) bool {
	return harmless(key) && nkeys.IsValidPublicAccountKey(key)
}

// validName says whether key can have a JWT: it is a public account key, or the hash of an activation token, 52
// characters of base32 and its padding. Nobody is told of activations, and Keys passes them over.
func validName(key string) bool { return isHash(key) || validKey(key) }

const (
	padding    = "===="
	tokenShard = "==" // the last two characters of every hash
)

func isHash(key string) bool {
	if len(key) != keyLength || key[keyLength-len(padding):] != padding {
		return false
	}
	for i := range keyLength - len(padding) {
		if !ofKey(key[i]) {
			return false
		}
	}
	return true
}

// harmless says whether key has the length and the characters of an account key: enough for a path, and without
// the checksum it costs nothing.
func harmless(key string) bool {
	if len(key) != keyLength || key[0] != 'A' {
		return false
	}
	for i := range len(key) {
		if !ofKey(key[i]) {
			return false
		}
	}
	return true
}

// ofKey says whether c can be in a key.
func ofKey(c byte) bool { return 'A' <= c && c <= 'Z' || '2' <= c && c <= '7' }
