package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
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
)

// Check reads and checks every file and directory that a configuration names. It starts nothing and
// changes nothing on disk. Its error has a line for each mistake. A read-only folder is opened but
// not scanned.
func Check(c config.Config) (warnings []config.Warning, err error) {
	f, err := load(c)
	if err == nil {
		err = f.trusted.startable(c)
	}
	var system []string
	if err == nil { // otherwise the system account may be another one than is meant
		system = f.trusted.knownSystems(c)
		for _, text := range f.trusted.warnings(c) {
			warnings = append(warnings, config.Warning{Text: text})
		}
	}
	_, inFolder := openFolder(c.Store)
	return warnings, errors.Join(err, inFolder, checkStore(c.Store),
		checkUser(c.NATS.Credentials, system), checkAudit(c.Logging.Audit))
}

// checkStore checks the directories that the store is made in.
func checkStore(c config.Store) error {
	var inDir, inState error
	if c.Dir != "" && !c.ReadOnly {
		if inDir = jwtstore.CheckStore(c.Dir); inDir != nil {
			inDir = fmt.Errorf("store.dir %s can't be used: %w", c.Dir, inDir)
		}
	}
	if c.StateDir != "" {
		if inState = jwtstore.CheckDir(c.StateDir); inState != nil {
			inState = fmt.Errorf("store.statedir %s can't be used: %w", c.StateDir, inState)
		}
	}
	return errors.Join(inDir, inState)
}

// checkAudit checks the audit file. A file that is there is opened. One that is not there must have
// a directory in which it can be made.
func checkAudit(path string) error {
	_, err := os.Stat(path)
	if path == "" || !errors.Is(err, fs.ErrNotExist) {
		file, err := logging.OpenAudit(path)
		if file != nil {
			_ = file.Close()
		}
		return err
	}
	dir := filepath.Dir(path)
	if _, missing := os.Stat(dir); missing == nil {
		err = jwtstore.CheckDir(dir)
	}
	if err != nil {
		// The words are those of the start, where the file itself is opened.
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			err = &fs.PathError{Op: "open", Path: path, Err: cause.Err}
		}
		return fmt.Errorf("error opening the audit file: %w", err)
	}
	return nil
}

// checkCredentials checks a creds file. A server that starts with a bad one tries again and again,
// because the file may be replaced.
func checkCredentials(path string) error {
	_, err := readUser(path)
	return err
}

// readUser returns the public key of the user in a creds file; "" for no file. The JWT beside the
// seed is not read.
func readUser(path string) (key string, err error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	var seed nkeys.KeyPair
	if err == nil {
		// nats.go needs the seed.
		seed, err = jwt.ParseDecoratedUserNKey(content)
	}
	if err == nil {
		key, err = seed.PublicKey()
	}
	if err != nil {
		return "", fmt.Errorf("error loading credentials from %s: %w", path, err)
	}
	return key, nil
}

// checkUser checks whether nats-servers can take the user of a creds file for one of the system
// account. system has its key, or more than one during a move from one operator to another. If it is
// empty, only the file itself is checked.
func checkUser(path string, system []string) error {
	key, err := readUser(path)
	if err != nil || path == "" {
		return err
	}
	user, err := decodeUser(path)
	if err != nil {
		return fmt.Errorf("error loading credentials from %s: %w", path, err)
	}
	account := cmp.Or(user.IssuerAccount, user.Issuer)
	switch {
	case user.Subject != key:
		return fmt.Errorf("the credentials in %s have the JWT of the user %s and the seed of %s",
			path, user.Subject, key)
	case user.Expires > 0 && user.Expires <= time.Now().Unix():
		return fmt.Errorf("the user %s in %s expired at %s: make new credentials", user.Subject, path,
			time.Unix(user.Expires, 0).UTC().Format(time.RFC3339))
	case len(system) > 0 && !slices.Contains(system, account):
		return fmt.Errorf("the user %s in %s belongs to the account %s, and the system account is %s: "+
			"changes can be announced only by a user of the system account", user.Subject, path, account,
			strings.Join(system, " or "))
	}
	return nil
}

// decodeUser reads the JWT of a creds file.
func decodeUser(path string) (*jwt.UserClaims, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	token, err := jwt.ParseDecoratedJWT(content)
	if err != nil {
		return nil, err
	}
	return jwt.DecodeUserClaims(token)
}

// knownSystems returns the public keys of the system accounts that the operators and the
// configuration name. Each operator may name one.
func (t trusted) knownSystems(c config.Config) (keys []string) {
	if c.SystemAccount.Key != "" {
		keys = append(keys, c.SystemAccount.Key)
	}
	if t.System != nil {
		keys = append(keys, t.System.Key)
	}
	for _, o := range t.Operators {
		if o.SystemAccount != "" {
			keys = append(keys, o.SystemAccount)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
