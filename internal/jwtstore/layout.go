package jwtstore

import (
	"path/filepath"
	"strings"

	"nats-account-server/internal/trust"
)

// layout maps a name to the path of its file below the store's directory, and back. A name is an
// account key, or the hash of an activation token with its padding.
//
//	sharded   AB…YZ  <->  YZ/AB…YZ.jwt
//	flat      AB…YZ  <->  AB…YZ.jwt
//
// Beside it is the account's tombstone, under the same name and .deleted. Only a name has a path;
// nothing else can become part of one.
type layout struct {
	sharded bool
}

const (
	suffix = ".jwt"
	// deletedSuffix is what nats-server's full resolver adds to the name of a deleted JWT, too.
	deletedSuffix = ".deleted"
	shardLength   = 2
)

// path returns where the JWT of a name is, below a directory that is "" or ends in a separator. The
// name must be valid.
func (l layout) path(dir, name string) string {
	if l.sharded {
		return dir + shard(name) + string(filepath.Separator) + name + suffix
	}
	return dir + name + suffix
}

// shard returns the directory of a name, in the sharded layout.
func shard(name string) string { return name[trust.KeyLength-shardLength:] }

// shardOf returns the directory in a path below the store's, "" if there is none.
func shardOf(path string) string {
	return strings.TrimSuffix(filepath.Dir(path), ".")
}

// tombstone returns where the tombstone of a name is.
func (l layout) tombstone(dir, name string) string { return l.path(dir, name) + deletedSuffix }

// name is the inverse of path.
func (l layout) name(path string) (name string, ok bool) {
	name, ok = strings.CutSuffix(filepath.Base(path), suffix)
	if !ok || !IsName(name) || path != l.path("", name) {
		return "", false
	}
	return name, true
}

// IsName reports whether a text is the key of an account or the hash of an activation token.
// Changes of activation tokens are not announced, and a Scan leaves them out.
func IsName(text string) bool { return trust.IsActivationHash(text) || trust.IsAccountKey(text) }

// looksLikeName is IsName without the checksum of a key, which costs something.
func looksLikeName(name string) bool {
	return trust.IsActivationHash(name) || trust.LooksLikeAccountKey(name)
}

// isShard reports whether name can be that of a directory with the JWTs of accounts.
func isShard(name string) bool { return len(name) == shardLength && trust.IsBase32(name) }

// KeyOf returns the account key, or the hash of an activation token, that a path below a store's
// directory stands for, sharded or flat.
func KeyOf(path string) (name string, ok bool) {
	return layout{sharded: strings.Contains(path, string(filepath.Separator))}.name(path)
}
