package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/dryrun"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// runPush runs the command push and returns its exit code, standard output and standard error.
func runPush(t *testing.T, env []string, args ...string) (code int, out, problems string) {
	t.Helper()
	c := exec.Command(binary, append([]string{"push"}, args...)...)
	c.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	c.Stderr = &stderr
	stdout, err := c.Output()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(stdout), stderr.String()
}

// wantPush fails unless the command ends so, and says that on either output.
func wantPush(t *testing.T, code int, says string, args ...string) {
	t.Helper()
	got, out, problems := runPush(t, nil, args...)
	if got != code || !strings.Contains(out+problems, says) {
		t.Errorf("push %q: exit code %d, want %d and %q:\n%s%s", args, got, code, says, out, problems)
	}
}

func TestPushAndItsDryRun(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	_, url := s.start(t)
	a := jwttest.NewAccount(t)
	file := func(name string, after time.Duration, edits ...func(*jwt.AccountClaims)) string {
		token := jwttest.Sign(t, s.op.Signing, a, time.Now().Add(after), edits...)
		return jwttest.File(t, s.dir, name, token)
	}
	first := file("first.jwt", 0)
	limited := file("limited.jwt", 2*time.Second, func(c *jwt.AccountClaims) { c.Limits.Conn = 60 })
	anew, old := file("anew.jwt", time.Second), file("old.jwt", -time.Hour)
	wantPush(t, 2, "would be stored, nothing is stored", first, "--dry-run", "--url", url)
	wantPush(t, 0, "stored; NATS is not configured", first, "--url", url+"/jwt/v1")
	wantPush(t, 0, "is stored already", "--url", url, "--dry-run", first)
	wantPush(t, 0, "no difference in meaning", anew, "--dry-run", "--url", url)
	wantPush(t, 2, "    ~ may open 60 connections, was unlimited\n", limited, "--dry-run", "--url", url)
	// Nothing says who is connected. Only what can't cut or stop anything is known to be harmless.
	failOn := []string{"--dry-run", "--fail-on", "cut,stop", "--url", url}
	wantPush(t, 3, "unknown no nats-server is known", append(failOn, limited)...)
	renamed := file("renamed.jwt", 2*time.Second, func(c *jwt.AccountClaims) { c.Name = "renamed" })
	wantPush(t, 2, "unknown no nats-server is known", append(failOn, renamed)...)
	wantPush(t, 0, "unknown no nats-server is known", append(failOn, anew)...)
	wantPush(t, 1, "newer       older: ", old, "--dry-run", "--url", url)
	wantPush(t, 1, "409 Conflict: a newer JWT is stored", old, "--url", url)
	wantPush(t, 1, "would be refused with 412", limited, "--dry-run", "--if-match", "x", "--url", url)
	wantPush(t, 1, "412 Precondition Failed", limited, "--if-match", "x", "--url", url)

	// What a dry run has compared with is what the push is for.
	code, out, _ := runPush(t, nil, limited, "--dry-run", "--json", "--url", url)
	var answer dryrun.Answer
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 2 || answer.Stored == nil {
		t.Fatalf("%v, exit code %d: %s", err, code, out)
	}
	etag := strings.Trim(answer.Stored.ETag, `"`)
	wantPush(t, 0, `"text": "stored; `, limited, "--if-match", etag, "--json", "--url", url)
	wantPush(t, 1, "412", file("later.jwt", 3*time.Second), "--if-match", etag, "--url", url)
}

func TestPushSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	a := jwttest.NewAccount(t)
	creds, _ := a.User(t)
	file := jwttest.File(t, s.dir, "a.jwt", s.op.Account(t, a))
	older := httptest.NewServer(http.NotFoundHandler())
	defer older.Close()
	wantPush(t, 1, "the server has no dry runs", file, "--dry-run", "--url", older.URL)
	wantPush(t, 1, "connection refused", file, "--dry-run", "--url", "http://127.0.0.1:1")
	wantPush(t, 1, "http://127.0.0.1:1 can't be reached: ", file, "--url", "http://127.0.0.1:1")
	wantPush(t, 1, "private key in it", jwttest.File(t, s.dir, "x.creds", creds), "--url", older.URL)
	wantPush(t, 1, "it is no JWT of an account", filepath.Join(s.dir, "op.jwt"), "--url", older.URL)
	wantPush(t, 1, "no such file", filepath.Join(s.dir, "none.jwt"), "--url", older.URL)
	wantPush(t, 1, "the URL of an account server is like https://", file, "--url", "localhost:9090")
	wantPush(t, 1, `"cute" is none of [cut stop`, file, "--dry-run", "--fail-on", "cute")
	wantPush(t, 1, "are for --dry-run", file, "--fail-on", "cut")
	wantPush(t, 1, "the arguments FILE")
	wantPush(t, 0, "nats-account-server push --dry-run", "-h")
}

// The password is not for the list of processes, and nothing is written to where it can be read.
func TestPushLogsInOverTLS(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	ca := certtest.New(t)
	cert, key := ca.Issue(t).Write(t, s.dir, "http")
	root := ca.Write(t, s.dir, "root")
	s.conf = conf(t, s.dir, `operatorjwtpath: op.jwt, store { dir: store }
		http { host: 127.0.0.1, port: 0, tls { cert: %q, key: %q },
			authorization { write: [{ user: ops, password: %q }] } }`, cert, key, hash(t, "secret"))
	_, url := s.start(t)
	url = strings.Replace(url, "http://", "https://", 1)
	a := jwttest.NewAccount(t)
	file := jwttest.File(t, s.dir, "a.jwt", s.op.Account(t, a))
	wantPush(t, 1, "certificate signed by unknown authority", file, "--dry-run", "--url", url)
	wantPush(t, 1, "401 Unauthorized", file, "--dry-run", "--url", url, "--ca", root)
	env := []string{"NATS_ACCOUNT_SERVER_URL=" + strings.Replace(url, "https://", "https://ops:secret@", 1)}
	if code, out, problems := runPush(t, env, file, "--dry-run", "--ca", root); code != 2 {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}
	with := strings.Replace(url, "https://", "https://ops:hush-hush@", 1)
	if code, out, problems := runPush(t, nil, file, "--ca", root, "--url", with); code != 1 ||
		strings.Contains(out+problems, "hush-hush") || !strings.Contains(problems, "401") {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}
}

// A signing key is taken out, with which a connected user was issued.
func TestADryRunForetellsWhoIsCut(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a, signing := jwttest.NewAccount(t), signingKey(t)
	public, _ := signing.PublicKey()
	mustPush(t, url, a.ID, s.op.Account(t, a, func(c *jwt.AccountClaims) { c.SigningKeys.Add(public) }))
	creds, _ := (&jwttest.Account{Key: signing, ID: public}).User(t, func(c *jwt.UserClaims) {
		c.IssuerAccount = a.ID
	})
	closed := make(chan struct{})
	nc := natstest.Connect(t, n.ClientURL(), creds, nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	file := jwttest.File(t, s.dir, "without.jwt",
		jwttest.Sign(t, s.op.Signing, a, time.Now().Add(time.Second)))
	// On a busy machine the nats-server may answer too late for one of them, but not each time.
	natstest.Eventually(t, "it is foretold who is cut", func() bool {
		code, out, _ := runPush(t, nil, file, "--dry-run", "--fail-on", "cut,stop", "--url", url)
		return code == 3 && strings.Contains(out, "\n    cut     1 connection")
	})
	natstest.Eventually(t, "it is said who was asked", func() bool {
		code, out, _ := runPush(t, nil, file, "--dry-run", "--fail-on", "starts", "--url", url)
		return code == 2 && strings.Contains(out, "asked of ")
	})
	if !nc.IsConnected() {
		t.Fatal("the dry run has cut the client off")
	}
	// On a busy machine the answer may come before that of the nats-server, but not each time.
	natstest.Eventually(t, "the push is acknowledged", func() bool {
		code, out, problems := runPush(t, nil, file, "--url", url)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, problems)
		}
		return strings.Contains(out, "stored; acknowledged by 1 of 1")
	})
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Errorf("the client is still connected:\n%s", p.log)
	}
}

// signingKey makes the key of an account.
func signingKey(t *testing.T) nkeys.KeyPair {
	t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is worth a warning stands after the line of a push too, up to five times.
func TestAPushWarns(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	_, url := s.start(t)
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	exports := func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: "open.>", Type: jwt.Stream})
	}
	imports := func(subjects ...string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Name = "web"
			for _, subject := range subjects {
				c.Imports.Add(&jwt.Import{Account: exporter.ID, Subject: jwt.Subject(subject),
					Type: jwt.Stream})
			}
		}
	}
	file := func(token []byte) string { return jwttest.File(t, s.dir, "a.jwt", token) }
	many := file(s.op.Account(t, importer, imports("a", "b", "c", "d", "e", "f", "open.x")))
	wantPush(t, 0, "warning: import of stream e from "+exporter.ID[:4], many, "--url", url)
	mustPush(t, url, exporter.ID, s.op.Account(t, exporter, exports))
	again := file(jwttest.Sign(t, s.op.Signing, importer, time.Now().Add(time.Second),
		imports("a", "b", "c", "d", "e", "f", "open.y")))
	wantPush(t, 0, "\nand 1 more warning\n", again, "--url", url)
	if _, body := get(t, url+"/jwt/v1/accounts/"+exporter.ID+"/impact"); !strings.Contains(body,
		"stream  open.y\n") || !strings.Contains(body, "imports from\n    none\n") {
		t.Error(body)
	}
	without := file(jwttest.Sign(t, s.op.Signing, exporter, time.Now().Add(time.Second)))
	const breaks = " imports stream open.y: it is not exported\n"
	wantPush(t, 2, "1 warning\n    web ("+importer.ID[:4], without, "--dry-run", "--url", url)
	wantPush(t, 0, breaks, without, "--url", url)
	if _, metrics := get(t, url+"/metrics"); !strings.Contains(metrics,
		`push_warnings_total{kind="breaks_importer"} 1`) {
		t.Error(metrics)
	}
}
