package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
)

// Check reads and checks every file and directory that a configuration names. It starts nothing and
// changes nothing on disk. Its error has a line for each mistake. A read-only folder is opened but
// not scanned. A line is for people: file or key, what is wrong, what to do. Warnings keep no
// server from starting.
//
// A mistake in one file does not hide those in others: all are read, and the errors are joined.
// Only what depends on the operators is left out without them.
func Check(c config.Config) (warnings []config.Warning, err error) {
	f, err := loadForStart(c)
	var system []string
	find := func(key string) *jwt.AccountClaims { return f.trusted.findAccount(c.Store, key) }
	if err == nil { // otherwise the system account may be another one than is meant
		system = f.trusted.knownSystems(c)
		for _, text := range append(f.trusted.warnings(c), f.secret(c), f.expired(c)) {
			if text != "" {
				warnings = append(warnings, config.Warning{Text: text})
			}
		}
	}
	_, inFolder := openFolder(c.Store)
	_, inBucket := readCreds(c.Store.KV.Credentials)
	return warnings, errors.Join(err, inFolder, inBucket, checkStore(c.Store),
		checkUser(c.NATS.Credentials, system, find),
		checkFile("audit", c.Logging.Audit), checkFile("log", c.Logging.File),
		checkFile("pid", c.PIDFile))
}

// checkStore checks the directories that the store is made in. A directory that is not there must
// have a parent in which it can be made.
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

// checkFile checks a file that is written: the audit file, say. A file that is there is opened. One
// that is not there must have a directory in which it can be made. O_NONBLOCK keeps a pipe without
// a reader from blocking. Nothing is written.
func checkFile(what, path string) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if file != nil {
		_ = file.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		// A directory that is not there is the error, with the path of the file.
		if _, missing := os.Stat(filepath.Dir(path)); missing == nil {
			err = jwtstore.CheckDir(filepath.Dir(path))
		}
	}
	if err != nil {
		// The words are those of the start, where the file itself is opened.
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			err = &fs.PathError{Op: "open", Path: path, Err: cause.Err}
		}
		return fmt.Errorf("error opening the %s file: %w", what, err)
	}
	return nil
}

// knownSystems returns the public keys of the system accounts that the operators and the
// configuration name. Each operator may name one. They are sorted, and each is there once.
func (t trusted) knownSystems(c config.Config) []string {
	keys := t.Operators.SystemAccounts()
	if c.SystemAccount.Key != "" {
		keys = append(keys, c.SystemAccount.Key)
	}
	if t.System != nil {
		keys = append(keys, t.System.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
