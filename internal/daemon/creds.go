package daemon

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/logging"
)

// creds is what a creds file has: the JWT of a user, which is not checked, and a seed.
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

// badCreds names the file in an error.
func badCreds(path string, err error) error {
	return fmt.Errorf("error loading credentials from %s: %w", path, err)
}

// checkUser checks whether nats-servers can take the user of a creds file for one of the system
// account. system has its key, or more than one during a move from one operator to another. If it
// is empty, only the file itself is checked.
func checkUser(path string, system []string) error {
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
	return nil
}
