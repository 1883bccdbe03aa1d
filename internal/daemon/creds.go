package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// creds is what a creds file has: the JWT of a user, which is not checked, and a seed. The seed
// itself is not kept.
type creds struct {
	token string
	key   string // public key of the seed
}

// readCreds reads a creds file. Its error says that nats.go can't use the seed. A server that
// starts with a bad file tries again and again, because the file may be replaced. No path is no
// file.
func readCreds(path string) (c creds, err error) {
	if path == "" {
		return c, nil
	}
	content, err := os.ReadFile(path)
	var seed nkeys.KeyPair
	if err == nil {
		seed, err = jwt.ParseDecoratedUserNKey(content)
	}
	if err == nil {
		c.key, err = seed.PublicKey()
	}
	if err != nil {
		return c, badCreds(path, err)
	}
	c.token, _ = jwt.ParseDecoratedJWT(content) // never fails
	return c, nil
}

// badCreds names the file in an error. err has no part of the file in it.
func badCreds(path string, err error) error {
	return fmt.Errorf("error loading credentials from %s: %w", path, err)
}

// checkUser checks whether nats-servers can take the user of a creds file for one of the system
// account. system has its key, or more than one during a move from one operator to another. If it
// is empty, only the file itself is checked. find returns the JWT of an account, nil if there is
// none. It is for -t: a server starts with any user, and nats-server decides. The checks are those
// of nats-server's: seed and JWT belong together, not expired, of the account, signed by it, not
// revoked.
//
// The first broken rule is the error. An account whose JWT is not here ends the check without one:
// nats-server may know it.
func checkUser(
	path string, system []string, find func(key string) *jwt.AccountClaims,
) error {
	c, err := readCreds(path)
	if err != nil || path == "" {
		return err
	}
	user, err := jwt.DecodeUserClaims(c.token)
	if err != nil {
		return badCreds(path, err)
	}
	account := cmp.Or(user.IssuerAccount, user.Issuer)
	switch {
	case user.Subject != c.key:
		return fmt.Errorf("the credentials in %s have the JWT of the user %s and the seed of %s",
			path, user.Subject, c.key)
	case user.Expires > 0 && user.Expires <= time.Now().Unix():
		return fmt.Errorf("the user %s in %s expired at %s: make new credentials",
			user.Subject, path, logging.Time(time.Unix(user.Expires, 0)))
	case len(system) > 0 && !slices.Contains(system, account):
		return fmt.Errorf("the user %s in %s belongs to the account %s, and the system account "+
			"is %s: changes can be announced only by a user of the system account",
			user.Subject, path, account,
			strings.Join(system, " or "))
	}
	switch claims := find(account); {
	case claims == nil:
	case !claims.DidSign(user):
		return fmt.Errorf("the user %s in %s was signed by the key %s, which the JWT of the "+
			"account %s does not have here: make new credentials, or renew the JWT",
			user.Subject, path, user.Issuer, account)
	case claims.IsClaimRevoked(user):
		return fmt.Errorf("the user %s in %s is revoked by the account %s: make new credentials",
			user.Subject, path, account)
	}
	return nil
}

// findAccount returns the newest good JWT of an account that the files of a configuration have, nil
// if there is none. The store is not opened. It reads files only, since the store may be open in
// another process. Signatures are checked.
func (t trusted) findAccount(c config.Store, key string) (newest *jwt.AccountClaims) {
	consider := func(token []byte) {
		token = bytes.TrimSpace(token)
		if _, err := t.Operators.Check(key, token); err != nil {
			return
		}
		claims, err := jwt.DecodeAccountClaims(string(token))
		if err == nil && (newest == nil || claims.IssuedAt > newest.IssuedAt) {
			newest = claims
		}
	}
	var paths []string
	switch {
	case !trust.IsAccountKey(key):
	case c.Dir != "":
		paths = []string{
			filepath.Join(c.Dir, key+".jwt"), filepath.Join(c.Dir, key[len(key)-2:], key+".jwt"),
		}
	case c.NSC != "":
		paths, _ = filepath.Glob(filepath.Join(c.NSC, "accounts", "*", "*.jwt"))
	}
	for _, path := range paths {
		token, _, _ := jwtstore.ReadFile(path, jwtstore.Stamp{}) // nil if it can't be read
		consider(token)
	}
	if t.System != nil {
		consider(t.System.JWT)
	}
	return newest
}
