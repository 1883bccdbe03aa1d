package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
)

// env is a daemon that runs until the test ends. Its configuration is changed by reload.
type env struct {
	t      *testing.T
	op     *jwttest.Operator
	config config.Config // what the next reload reads
	broken error         // what the next reload fails with
	log    *log
	hangup chan os.Signal
	stop   func()
}

// log is what a daemon has logged.
type log struct {
	written natstest.Log
	handler *logging.Handler
}

func newLog() *log {
	l := &log{}
	l.handler = logging.New(&l.written, logging.Format{})
	return l
}

// String returns all lines up to now.
func (l *log) String() string {
	l.handler.Flush(time.Minute)
	return l.written.String()
}

// Count returns how often text is in the log.
func (l *log) Count(text string) int { return strings.Count(l.String(), text) }

// tokens are operators in the configuration itself.
func tokens(all ...string) (refs []config.JWTRef) {
	for _, token := range all {
		refs = append(refs, config.JWTRef{Token: token})
	}
	return refs
}

func newEnv(t *testing.T, edits ...func(*config.Config)) *env {
	t.Helper()
	op := jwttest.NewOperator(t)
	e := &env{t: t, op: op, log: newLog(), hangup: make(chan os.Signal), config: config.Config{
		Operators: tokens(op.Token(t)),
		HTTP: config.HTTP{
			Host: "127.0.0.1", Port: natstest.FreePort(t), ReadTimeout: time.Minute,
			WriteTimeout: time.Minute,
		},
		ForgetServer: time.Hour,
	}}
	for _, edit := range edits {
		edit(&e.config)
	}
	e.start()
	t.Cleanup(func() { e.stop() })
	return e
}

// start runs a daemon on the configuration, and stop ends it.
func (e *env) start() {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{
			Config:  e.config,
			Logging: e.log.handler,
			Ready:   func() { close(ready) },
			Hangup:  e.hangup,
			Reload:  func(config.Config) (config.Config, error) { return e.config, e.broken },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		e.stop = func() {}
		e.t.Fatal(err)
	}
	e.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			e.t.Error(err)
		}
	}
}

// reload changes the configuration and returns what is logged about the reload.
func (e *env) reload(edit func(*config.Config)) string {
	e.t.Helper()
	edit(&e.config)
	before := len(e.log.String())
	e.hangup <- syscall.SIGHUP
	done := regexp.MustCompile("configuration reloaded|the old one goes on: ")
	natstest.Eventually(e.t, "the reload is logged",
		func() bool { return done.MatchString(e.log.String()[before:]) })
	return e.log.String()[before:]
}

// push pushes a new account that this operator signed, and returns the status.
func (e *env) push(op *jwttest.Operator, edits ...func(*jwt.AccountClaims)) int {
	e.t.Helper()
	a := jwttest.NewAccount(e.t)
	url := fmt.Sprintf("http://127.0.0.1:%d/jwt/v1/accounts/%s", e.config.HTTP.Port, a.ID)
	r, err := http.Post(url, "application/jwt", bytes.NewReader(op.Account(e.t, a, edits...)))
	if err != nil {
		e.t.Error(err)
		return 0
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

func (e *env) wantPush(op *jwttest.Operator, status int, edits ...func(*jwt.AccountClaims)) {
	e.t.Helper()
	if got := e.push(op, edits...); got != status {
		e.t.Errorf("a push is %d, want %d", got, status)
	}
}

const reloaded = "configuration reloaded"

func wantText(t *testing.T, log string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("%q is missing:\n%s", text, log)
		}
	}
}

func TestReloadExchangesTheOperator(t *testing.T) {
	e := newEnv(t)
	other := jwttest.NewOperator(t)
	e.wantPush(e.op, http.StatusOK)
	e.wantPush(other, http.StatusBadRequest)
	log := e.reload(func(c *config.Config) { c.Operators = tokens(other.Token(t)) })
	wantText(t, log, "Operator: "+other.ID, reloaded)
	e.wantPush(e.op, http.StatusBadRequest)
	e.wantPush(other, http.StatusOK)
}

func TestReloadExchangesThePolicy(t *testing.T) {
	e := newEnv(t)
	e.reload(func(c *config.Config) {
		c.HTTP.Write = []config.Login{{User: "ops", Hash: "$2a$04$x"}}
	})
	e.wantPush(e.op, http.StatusUnauthorized)
	e.reload(func(c *config.Config) { c.HTTP.Write = nil })
	e.wantPush(e.op, http.StatusOK)
}

func TestReloadExchangesTheClaimChecks(t *testing.T) {
	bad := func(c *jwt.AccountClaims) { c.Mappings["a"] = []jwt.WeightedMapping{{Subject: "b.$1"}} }
	e := newEnv(t)
	e.wantPush(e.op, http.StatusBadRequest, bad)
	e.reload(func(c *config.Config) { c.ClaimChecks = config.ChecksWarn })
	e.wantPush(e.op, http.StatusOK, bad)
	e.reload(func(c *config.Config) { c.ClaimChecks = config.ChecksRefuse })
	e.wantPush(e.op, http.StatusBadRequest, bad)
}

func TestReloadMovesToAnotherPort(t *testing.T) {
	e := newEnv(t)
	port := natstest.FreePort(t)
	log := e.reload(func(c *config.Config) { c.HTTP.Port = port })
	wantText(t, log, fmt.Sprintf("http listening on port %d", port), reloaded)
	e.wantPush(e.op, http.StatusOK)
}

func TestReloadStartsAndStopsNATS(t *testing.T) {
	e := newEnv(t)
	wantText(t, e.log.String(), "NATS is not configured")
	n := natstest.Start(t, natstest.MemoryConf(t, e.op, natstest.AnyPort))
	creds, _ := e.op.System.User(t)
	log := e.reload(func(c *config.Config) {
		c.NATS = config.NATS{
			Servers: []string{n.ClientURL()}, ConnectTimeout: 5 * time.Second,
			ReconnectWait: time.Second,
			Credentials:   jwttest.File(t, t.TempDir(), "system.creds", creds),
		}
	})
	wantText(t, log, reloaded)
	natstest.Eventually(t, "the last line of connecting is written", func() bool {
		return e.log.Count("connected to NATS for JWT syncing") > 0
	})
	if log := e.reload(func(*config.Config) {}); strings.Contains(log, "NATS") {
		t.Errorf("a reload that changes nothing reconnects:\n%s", log)
	}
	wantText(t, e.reload(func(c *config.Config) { c.NATS = config.NATS{} }),
		"NATS is not configured", reloaded)
}

func TestReloadFollowsAnotherPrimaryAndNone(t *testing.T) {
	e := newEnv(t)
	log := e.reload(func(c *config.Config) {
		c.Primary, c.ReplicationTimeout = "http://127.0.0.1:1", time.Second
	})
	wantText(t, log, "starting in replicated mode, with primary at http://127.0.0.1:1", reloaded)
	e.wantPush(e.op, http.StatusMethodNotAllowed)
	if log := e.reload(func(*config.Config) {}); strings.Contains(log, "replicated mode") {
		t.Errorf("a reload that changes nothing begins to follow anew:\n%s", log)
	}
	e.reload(func(c *config.Config) { c.Primary = "" })
	e.wantPush(e.op, http.StatusOK)
}

// TestTheStoreStays reloads another store section together with a change that can be made.
func TestTheStoreStays(t *testing.T) {
	e := newEnv(t)
	other := jwttest.NewOperator(t)
	log := e.reload(func(c *config.Config) {
		c.Store.Dir, c.Operators = t.TempDir(), tokens(other.Token(t))
	})
	wantText(t, log, "the store section can't change while the server runs", reloaded)
	e.wantPush(other, http.StatusOK)
}

// TestARefusedReloadChangesNothing combines each mistake with another operator, which must not be
// trusted then.
func TestARefusedReloadChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	missing := t.TempDir() + "/missing/file"
	for _, c := range []struct {
		name string
		edit func(*env)
		want string
	}{
		{"the file", func(e *env) { e.broken = errors.New("server.conf:1:1: no value") },
			"server.conf:1:1: no value"},
		{"the certificate", func(e *env) { e.config.HTTP.TLS.Cert = missing },
			"error loading X509 certificate/key pair"},
		{"the credentials", func(e *env) {
			e.config.NATS.Servers, e.config.NATS.Credentials = []string{"nats://127.0.0.1:1"},
				missing
		}, "error loading credentials"},
		{"the audit file", func(e *env) { e.config.Logging.Audit = missing },
			"error opening the audit file"},
		{"the port", func(e *env) { e.config.HTTP.Port = taken.Addr().(*net.TCPAddr).Port },
			"error creating listener"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			former := e.config
			other := jwttest.NewOperator(t)
			log := e.reload(func(next *config.Config) {
				next.Operators = tokens(other.Token(t))
				c.edit(e)
			})
			wantText(t, log, "the new configuration is refused, the old one goes on: "+c.want)
			e.config = former
			e.wantPush(e.op, http.StatusOK)
			e.wantPush(other, http.StatusBadRequest)
		})
	}
}

func TestAReadOnlyServerFollowsNoPrimary(t *testing.T) {
	e := newEnv(t, func(c *config.Config) { c.Store.ReadOnly = true })
	log := e.reload(func(c *config.Config) {
		c.Primary, c.ReplicationTimeout = "http://127.0.0.1:1",
			time.Second
	})
	wantText(t, log, "refused, the old one goes on: replica mode cannot be used in read-only mode")
}
