package bench_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
)

// fixtureFormat is part of the name of a fixture. It changes with what a fixture has.
const fixtureFormat = 1

// fixture is a sharded store of accounts, and what is needed to run servers on it:
//
//	store/      the accounts' JWTs, as the original has them; and .journal, once a server has run
//	operator    the operator's JWT
//	seed        of the operator's signing key
//	system      the system account's JWT
//	creds       of a user of the system account
//	keys        the accounts' public keys, one a line; written last
type fixture struct {
	dir    string
	keys   []string // without the system account
	system string   // its key
}

func (f *fixture) path(name string) string   { return filepath.Join(f.dir, name) }
func (f *fixture) jwtPath(key string) string { return shardPath(f.path("store"), key) }

// shardPath is where a store has an account's JWT.
func shardPath(store, key string) string {
	return filepath.Join(store, key[len(key)-2:], key+".jwt")
}

// jwt returns the JWT of an account in the fixture.
func (f *fixture) jwt(t testing.TB, key string) []byte { return read(t, f.jwtPath(key)) }

// newer returns another JWT of an account.
func (f *fixture) newer(t testing.TB, key string, issued time.Time) []byte {
	signer, err := nkeys.FromSeed(read(t, f.path("seed")))
	check(t, err)
	return jwttest.Sign(t, signer, &jwttest.Account{ID: key}, issued)
}

// openFixture returns the fixture of n accounts. It is made if there is none yet, which takes some
// minutes for each million.
func openFixture(t testing.TB, n int) *fixture {
	t.Helper()
	f := &fixture{dir: filepath.Join(cacheDir(t), fmt.Sprintf("accounts-%d-%d", n, fixtureFormat))}
	if _, err := os.Stat(f.path("keys")); errors.Is(err, fs.ErrNotExist) {
		f.make(t, n)
	}
	f.keys = f.readKeys(t)
	claims, err := jwt.DecodeAccountClaims(string(read(t, f.path("system"))))
	check(t, err)
	f.system = claims.Subject
	return f
}

func (f *fixture) readKeys(t testing.TB) []string {
	return strings.Fields(string(read(t, f.path("keys"))))
}

// make creates the files of a fixture.
func (f *fixture) make(t testing.TB, n int) {
	began := time.Now()
	check(t, os.RemoveAll(f.dir)) // an unfinished one
	check(t, os.MkdirAll(f.dir, 0o755))
	o := jwttest.NewOperator(t)
	seed, err := o.Signing.Seed()
	check(t, err)
	creds, _ := o.System.User(t)
	system := o.SystemAccount(t)
	for name, content := range map[string][]byte{
		"operator": []byte(o.Token(t)), "seed": seed, "system": system, "creds": creds,
	} {
		check(t, os.WriteFile(f.path(name), content, 0o600))
	}
	f.write(t, o.System.ID, system)
	keys := make([]string, n)
	parallel(4, func(worker int) {
		for i := worker; i < n; i += 4 {
			a := &jwttest.Account{ID: jwttest.AccountKey(t)}
			f.write(t, a.ID, o.Account(t, a, func(c *jwt.AccountClaims) {
				c.Name = fmt.Sprintf("account-%07d", i)
				c.Limits.Conn = 100
			}))
			keys[i] = a.ID
		}
	})
	check(t, os.WriteFile(f.path("keys"), []byte(strings.Join(keys, "\n")), 0o600))
	fmt.Printf("made a store of %d accounts in %s, %s\n", n, f.dir,
		time.Since(began).Round(time.Second))
}

func (f *fixture) write(t testing.TB, key string, token []byte) {
	path := f.jwtPath(key)
	err := os.WriteFile(path, token, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		err = os.WriteFile(path, token, 0o644)
	}
	check(t, err)
}

// forget removes what a server knows of the store, so that the next start is a first one.
func (f *fixture) forget(t testing.TB) { check(t, os.RemoveAll(f.path("store/.journal"))) }

// cacheDir is where fixtures are kept, and where stores are made for a while: BENCH_CACHE, or a
// directory of the user's cache. Its disk is the one that is measured.
func cacheDir(t testing.TB) string {
	dir := os.Getenv("BENCH_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		check(t, err)
		dir = filepath.Join(user, "nats-account-server", "bench")
	}
	check(t, os.MkdirAll(dir, 0o755))
	return dir
}

// tempDir is a directory on the same disk as the fixtures, until the test ends. What a killed run
// has left there is removed.
func tempDir(t testing.TB) string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(cacheDir(t), "run-*"))
	check(t, err)
	for _, dir := range left {
		pid, _ := strconv.Atoi(strings.Split(filepath.Base(dir), "-")[1])
		if !alive(pid) {
			check(t, os.RemoveAll(dir))
		}
	}
	dir, err := os.MkdirTemp(cacheDir(t), fmt.Sprintf("run-%d-", os.Getpid()))
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	check(t, err)
	return content
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
