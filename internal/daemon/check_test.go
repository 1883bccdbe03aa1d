package daemon_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// files are good ones in a directory, and the paths of some that are not.
type files struct {
	dir                           string
	op                            *jwttest.Operator
	operator, system, creds       string
	ca, cert, key                 string
	missing, empty, otherOperator string
}

func newFiles(t *testing.T) *files {
	t.Helper()
	f := &files{dir: t.TempDir(), op: jwttest.NewOperator(t)}
	f.operator = jwttest.File(t, f.dir, "operator.jwt", []byte(f.op.Token(t)))
	f.system = jwttest.File(t, f.dir, "system.jwt", f.op.SystemAccount(t))
	f.otherOperator = jwttest.File(t, f.dir, "other.jwt", []byte(jwttest.NewOperator(t).Token(t)))
	creds, _ := f.op.System.User(t)
	f.creds = jwttest.File(t, f.dir, "system.creds", creds)
	authority := certtest.New(t)
	f.ca = authority.Write(t, f.dir, "ca")
	f.cert, f.key = authority.Issue(t).Write(t, f.dir, "server")
	f.missing = filepath.Join(f.dir, "missing")
	f.empty = jwttest.File(t, f.dir, "empty", nil)
	return f
}

// userID returns the key of the user in creds.
func (f *files) userID(t *testing.T) string {
	t.Helper()
	token, err := jwt.ParseDecoratedJWT([]byte(read(t, f.creds)))
	if err != nil {
		t.Fatal(err)
	}
	user, err := jwt.DecodeUserClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	return user.Subject
}

// config is a valid configuration that names all of the good files.
func (f *files) config() config.Config {
	return config.Config{
		Operators:     []config.JWTRef{{Path: f.operator}},
		SystemAccount: config.JWTRef{Path: f.system},
		HTTP: config.HTTP{TLS: config.HTTPTLS{
			Cert: f.cert, Key: f.key, Root: f.ca, Verify: config.VerifyGiven,
		}},
		NATS: config.NATS{Credentials: f.creds,
			TLS: config.NATSTLS{Root: f.ca, Cert: f.cert, Key: f.key}},
	}
}

func TestCheckNamesEveryFileThatCantBeUsed(t *testing.T) {
	f := newFiles(t)
	if warnings, err := daemon.Check(f.config()); err != nil || warnings != nil {
		t.Fatal(warnings, err)
	}
	account := jwttest.File(t, f.dir, "account.jwt", f.op.Account(t, jwttest.NewAccount(t)))
	forged := jwttest.File(t, f.dir, "forged.jwt", jwttest.Flip(f.op.SystemAccount(t)))
	link, damaged := filepath.Join(f.dir, "link"), t.TempDir()
	if err := os.Symlink(f.missing, link); err != nil {
		t.Skip(err)
	}
	jwttest.File(t, damaged, ".journal", nil)
	other := jwttest.NewAccount(t)
	write := func(name string, a *jwttest.Account,
		edits ...func(*jwt.UserClaims)) (path, id string) {
		creds, id := a.User(t, edits...)
		return jwttest.File(t, f.dir, name, creds), id
	}
	user, userID := write("user.creds", other)
	foreign, foreignID := write("foreign.creds", jwttest.NewOperator(t).System)
	signed, signedID := write("signed.creds", jwttest.NewAccount(t), func(c *jwt.UserClaims) {
		c.IssuerAccount = other.ID
	})
	expired, expiredID := write("expired.creds", f.op.System, func(c *jwt.UserClaims) {
		c.Expires = time.Now().Add(-time.Hour).Unix()
	})
	stranger := *jwttest.NewAccount(t)
	unsigned, unsignedID := write("unsigned.creds", &stranger, func(c *jwt.UserClaims) {
		c.IssuerAccount = f.op.System.ID
	})
	revoking, systemID := t.TempDir(), f.userID(t)
	jwttest.File(t, revoking, f.op.System.ID+".jwt", jwttest.Sign(t, f.op.Signing, f.op.System,
		time.Now().Add(time.Minute), func(c *jwt.AccountClaims) {
			c.RevokeAt(systemID, time.Now().Add(time.Hour))
		}))
	two := jwttest.File(t, f.dir, "two.jwt", []byte(f.op.Token(t)+"\n"+f.op.Token(t)))
	jwtPart, _, _ := strings.Cut(read(t, foreign), "-----BEGIN USER NKEY")
	_, seedPart, _ := strings.Cut(read(t, user), "-----BEGIN USER NKEY")
	mixed := jwttest.File(t, f.dir, "mixed.creds", []byte(jwtPart+"-----BEGIN USER NKEY"+seedPart))
	seedOnly := jwttest.File(t, f.dir, "seed.creds", []byte("-----BEGIN USER NKEY"+seedPart))
	before := tree(t, f.dir) + tree(t, damaged)
	for _, c := range []struct {
		name string
		edit func(*config.Config)
		want []string // the beginnings of the lines
	}{
		{"no operator file", func(c *config.Config) { c.Operators[0].Path = f.missing },
			[]string{"error loading operator from " + f.missing + ": open "}},
		{"an account in place of an operator", func(c *config.Config) {
			c.Operators[0].Path = account
		},
			[]string{"error loading operator from " + account + ": "}},
		{"an operator token", func(c *config.Config) { c.Operators = tokens("eyJ") },
			[]string{"error loading operator from the configuration: "}},
		{"no system account file", func(c *config.Config) { c.SystemAccount.Path = f.missing },
			[]string{"error loading system account from " + f.missing + ": open "}},
		{"an empty system account file", func(c *config.Config) { c.SystemAccount.Path = f.empty },
			[]string{"error loading system account from " + f.empty + ": "}},
		{"a system account with another signature", func(c *config.Config) {
			c.SystemAccount.Path = forged
		},
			[]string{"error loading system account from " + forged + ": "}},
		{"a system account of another operator",
			func(c *config.Config) { c.Operators[0].Path = f.otherOperator },
			[]string{"error loading system account from " + f.system + ": "}},
		{"another system account than the operator's",
			func(c *config.Config) { c.SystemAccount.Path = account },
			[]string{"error loading system account from " + account +
				": the Operator System Account "}},
		{"the key of another system account",
			func(c *config.Config) { c.SystemAccount = config.JWTRef{Key: f.op.ID} },
			[]string{"error loading system account from " + f.op.ID +
				": the Operator System Account "}},
		{"no certificate", func(c *config.Config) { c.HTTP.TLS.Cert = f.missing },
			[]string{"error loading X509 certificate/key pair: open "}},
		{"no authorities", func(c *config.Config) { c.HTTP.TLS.Root = f.empty },
			[]string{"error loading http.tls.root: there is no PEM certificate in " + f.empty}},
		{"no credentials", func(c *config.Config) { c.NATS.Credentials = f.missing },
			[]string{"error loading credentials from " + f.missing + ": open "}},
		{"empty credentials", func(c *config.Config) { c.NATS.Credentials = f.empty },
			[]string{"error loading credentials from " + f.empty + ": "}},
		{"no authorities of NATS", func(c *config.Config) { c.NATS.TLS.Root = f.missing },
			[]string{"error loading nats.tls.root: open "}},
		{"no certificate for NATS", func(c *config.Config) { c.NATS.TLS.Cert = f.missing },
			[]string{"error loading nats.tls.cert " + f.missing + " with nats.tls.key " +
				f.key + ": open "}},
		{"no key for NATS", func(c *config.Config) { c.NATS.TLS.Key = f.missing },
			[]string{"error loading nats.tls.cert " + f.cert + " with nats.tls.key " + f.missing +
				": open "}},
		{"a certificate that is none for NATS", func(c *config.Config) {
			c.NATS.TLS.Cert = f.empty
		},
			[]string{"error loading nats.tls.cert " + f.empty +
				" with nats.tls.key " + f.key + ": "}},
		{"no audit directory", func(c *config.Config) {
			c.Logging.Audit = filepath.Join(f.missing, "audit")
		},
			[]string{"error opening the audit file: "}},
		{"a file in the place of the store", func(c *config.Config) { c.Store.Dir = f.empty },
			[]string{"store.dir " + f.empty + " can't be used: mkdir " + f.empty +
				": not a directory"}},
		{"a store below a file", func(c *config.Config) {
			c.Store.Dir = filepath.Join(f.empty, "a", "b")
		},
			[]string{"store.dir " + filepath.Join(f.empty, "a", "b") + " can't be used: "}},
		{"a store that is a link to nothing", func(c *config.Config) { c.Store.Dir = link },
			[]string{"store.dir " + link + " can't be used: mkdir " + link + ": file "}},
		{"a file in the place of the journal", func(c *config.Config) { c.Store.Dir = damaged },
			[]string{"store.dir " + damaged + " can't be used: mkdir " +
				filepath.Join(damaged, ".journal")}},
		{"a file in the place of the state", func(c *config.Config) {
			c.Store.Dir, c.Store.StateDir = f.dir, f.empty
		}, []string{"store.statedir " + f.empty + " can't be used: mkdir "}},
		{"the audit in a file", func(c *config.Config) {
			c.Logging.Audit = filepath.Join(f.empty, "audit")
		}, []string{"error opening the audit file: open " + filepath.Join(f.empty, "audit")}},
		{"a user of another account", func(c *config.Config) { c.NATS.Credentials = user },
			[]string{"the user " + userID + " in " + user + " belongs to the account " + other.ID +
				", and the system account is " + f.op.System.ID}},
		{"a user of another account by a signing key", func(c *config.Config) {
			c.NATS.Credentials = signed
		},
			[]string{"the user " + signedID + " in " + signed +
				" belongs to the account " + other.ID}},
		{"a user of another operator, whose system account has no file", func(c *config.Config) {
			c.NATS.Credentials, c.SystemAccount = foreign, config.JWTRef{}
		}, []string{"the user " + foreignID + " in " + foreign + " belongs to the account "}},
		{"a user of another system account than the one whose key is configured",
			func(c *config.Config) {
				c.NATS.Credentials = foreign
				c.Operators, c.SystemAccount = nil, config.JWTRef{Key: f.op.System.ID}
			}, []string{"the user " + foreignID + " in " + foreign + " belongs to the account "}},
		{"an expired user", func(c *config.Config) { c.NATS.Credentials = expired },
			[]string{"the user " + expiredID + " in " + expired + " expired at "}},
		{"a user signed by a key that the system account lacks", func(c *config.Config) {
			c.NATS.Credentials = unsigned
		}, []string{"the user " + unsignedID + " in " + unsigned + " was signed by the key "}},
		{"a user that the system account has revoked since", func(c *config.Config) {
			c.Store.Dir = revoking
		}, []string{"the user " + systemID + " in " + f.creds + " is revoked by the account " +
			f.op.System.ID}},
		{"two operators in one file", func(c *config.Config) { c.Operators[0].Path = two },
			[]string{"error loading operator from " + two + ": expected 3 chunks: " +
				"there are 2 JWTs in it: put each into a file"}},
		{"the seed of another user", func(c *config.Config) { c.NATS.Credentials = mixed },
			[]string{"the credentials in " + mixed + " have the JWT of the user " + foreignID +
				" and the seed of " + userID}},
		{"a seed without a JWT", func(c *config.Config) { c.NATS.Credentials = seedOnly },
			[]string{"error loading credentials from " + seedOnly + ": "}},
		{"no directory to watch", func(c *config.Config) {
			c.Store.ReadOnly, c.Store.Dir = true, f.missing
		},
			[]string{""}},
		{"several mistakes", func(c *config.Config) {
			c.Operators[0].Path, c.NATS.Credentials = f.missing, f.missing
		},
			[]string{"error loading operator from ", "error loading credentials from "}},
	} {
		edited := f.config()
		c.edit(&edited)
		_, err := daemon.Check(edited)
		if err == nil {
			t.Errorf("%s is no error", c.name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(c.want) {
			t.Errorf("%s: %d lines: %v", c.name, len(lines), err)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%s: %q, want %q", c.name, lines[i], want)
			}
		}
	}
	if after := tree(t, f.dir) + tree(t, damaged); after != before {
		t.Errorf("the checks have changed\n%s\nto\n%s", before, after)
	}
}

// TestAStoreOnAFileSystemOfTheKernelIsRefused, although its permissions let root write there.
func TestAStoreOnAFileSystemOfTheKernelIsRefused(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has such file systems")
	}
	c := newFiles(t).config()
	for _, c.Store.Dir = range []string{"/proc/store", "/sys/store"} {
		if _, err := daemon.Check(c); err == nil ||
			!strings.HasPrefix(err.Error(), "store.dir "+c.Store.Dir+" can't be used: write to ") {
			t.Errorf("%v", err)
		}
	}
}

// TestAGoodCheckChangesNothing names directories and files that are not there, and a store that is.
func TestAGoodCheckChangesNothing(t *testing.T) {
	f := newFiles(t)
	used := filepath.Join(f.dir, "used")
	store, err := jwtstore.OpenDir(t.Context(), jwtstore.Options{Dir: used})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	before := tree(t, f.dir)
	for name, edit := range map[string]func(*config.Config){
		"new directories": func(c *config.Config) {
			c.Store.Dir, c.Store.StateDir = filepath.Join(f.dir, "a", "b"),
				filepath.Join(f.dir, "c")
			c.Logging.Audit = filepath.Join(f.dir, "audit")
		},
		"a store in use":         func(c *config.Config) { c.Store.Dir = used },
		"an audit that is there": func(c *config.Config) { c.Logging.Audit = f.empty },
		"a directory of programs": func(c *config.Config) {
			c.Store.ReadOnly, c.Store.Dir = true, used
		},
	} {
		c := f.config()
		edit(&c)
		if _, err := daemon.Check(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := tree(t, f.dir); after != before {
			t.Fatalf("%s: the check has changed\n%s\nto\n%s", name, before, after)
		}
	}
}

// tree lists everything below a directory, with sizes and times.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			fmt.Fprintln(&list, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What the server logs at each start is a warning of -t, too.
func TestCheckWarnsOfAnExpiredCertificateAndOfAPassword(t *testing.T) {
	f := newFiles(t)
	c := f.config()
	authority := certtest.New(t)
	c.HTTP.TLS.Cert, c.HTTP.TLS.Key = authority.Issue(t,
		certtest.Expired).Write(t, f.dir, "expired")
	f.op.Claims.AccountServerURL = "http://ops:hush@localhost:9090/jwt/v1"
	c.Operators = tokens(f.op.Token(t))
	warnings, err := daemon.Check(c)
	got := fmt.Sprint(warnings)
	for _, want := range []string{"there is a password in the operator JWT " +
		"in the configuration, in ",
		"the certificate in " + c.HTTP.TLS.Cert + " expired at "} {
		if err != nil || !strings.Contains(got, want) || strings.Contains(got, "hush") {
			t.Errorf("%s, %v, want %q", got, err, want)
		}
	}
}

// The system account may be in the store. Then only its key is configured.
func TestASystemAccountMayBeAKey(t *testing.T) {
	f := newFiles(t)
	c := f.config()
	c.SystemAccount = config.JWTRef{Key: f.op.System.ID}
	if _, err := daemon.Check(c); err != nil {
		t.Error(err)
	}
	op := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.SystemAccount = "" })
	c.Operators, c.SystemAccount = tokens(op.Token(t)), config.JWTRef{Key: jwttest.AccountKey(t)}
	c.NATS.Credentials = "" // they are of another account
	if _, err := daemon.Check(c); err != nil {
		t.Error(err)
	}
}
