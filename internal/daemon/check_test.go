package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
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

// config is a valid configuration that names all of the good files.
func (f *files) config() config.Config {
	return config.Config{
		Operators:     []config.JWTRef{{Path: f.operator}},
		SystemAccount: config.JWTRef{Path: f.system},
		HTTP: config.HTTP{TLS: config.HTTPTLS{
			Cert: f.cert, Key: f.key, Root: f.ca, Verify: config.VerifyGiven,
		}},
		NATS: config.NATS{Credentials: f.creds, TLS: config.NATSTLS{Root: f.ca, Cert: f.cert, Key: f.key}},
	}
}

func TestCheckNamesEveryFileThatCantBeUsed(t *testing.T) {
	f := newFiles(t)
	if warnings, err := daemon.Check(f.config()); err != nil || warnings != nil {
		t.Fatal(warnings, err)
	}
	account := jwttest.File(t, f.dir, "account.jwt", f.op.Account(t, jwttest.NewAccount(t)))
	forged := jwttest.File(t, f.dir, "forged.jwt", jwttest.Flip(f.op.SystemAccount(t)))
	for _, c := range []struct {
		name string
		edit func(*config.Config)
		want []string // the beginnings of the lines
	}{
		{"no operator file", func(c *config.Config) { c.Operators[0].Path = f.missing },
			[]string{"error loading operator from " + f.missing + ": open "}},
		{"an account in place of an operator", func(c *config.Config) { c.Operators[0].Path = account },
			[]string{"error loading operator from " + account + ": "}},
		{"an operator token", func(c *config.Config) { c.Operators = tokens("eyJ") },
			[]string{"error loading operator from the configuration: "}},
		{"no system account file", func(c *config.Config) { c.SystemAccount.Path = f.missing },
			[]string{"error loading system account from " + f.missing + ": open "}},
		{"an empty system account file", func(c *config.Config) { c.SystemAccount.Path = f.empty },
			[]string{"error loading system account from " + f.empty + ": "}},
		{"a system account with another signature", func(c *config.Config) { c.SystemAccount.Path = forged },
			[]string{"error loading system account from " + forged + ": "}},
		{"a system account of another operator",
			func(c *config.Config) { c.Operators[0].Path = f.otherOperator },
			[]string{"error loading system account from " + f.system + ": "}},
		{"another system account than the operator's",
			func(c *config.Config) { c.SystemAccount.Path = account },
			[]string{"error loading system account from " + account + ": the Operator System Account "}},
		{"the key of another system account",
			func(c *config.Config) { c.SystemAccount = config.JWTRef{Key: f.op.ID} },
			[]string{"error loading system account from " + f.op.ID + ": the Operator System Account "}},
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
			[]string{"error loading nats.tls.cert " + f.missing + " with nats.tls.key " + f.key + ": open "}},
		{"no key for NATS", func(c *config.Config) { c.NATS.TLS.Key = f.missing },
			[]string{"error loading nats.tls.cert " + f.cert + " with nats.tls.key " + f.missing +
				": open "}},
		{"a certificate that is none for NATS", func(c *config.Config) { c.NATS.TLS.Cert = f.empty },
			[]string{"error loading nats.tls.cert " + f.empty + " with nats.tls.key " + f.key + ": "}},
		{"no audit directory", func(c *config.Config) { c.Logging.Audit = filepath.Join(f.missing, "audit") },
			[]string{"error opening the audit file: "}},
		{"no directory to watch", func(c *config.Config) { c.Store.ReadOnly, c.Store.Dir = true, f.missing },
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
	if _, err := daemon.Check(c); err != nil {
		t.Error(err)
	}
}
