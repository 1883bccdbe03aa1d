package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestStories plays the scripts in testdata/story against the built program and a real nats-server.
//
//	server start ARGS…       run the program; server wait REGEXP… (in any order), server signal NAME,
//	                         server exits CODE
//	nats start FILE          run a nats-server on a configuration file; nats stop
//	client start CREDS       connect a client; client out waits until nats-server throws it out
//	http STATUS METHOD PATH [FILE]  one request to the program; its body is the standard output
//	edit FILE OLD NEW        replace text in a file
//
// In the stories' *.conf files $WORK, $PORT and $NATSPORT are replaced. Every story has op.jwt,
// sys.jwt, sys.creds, sys2.creds, acc.jwt, user.creds and revoked.jwt (which revokes that user) in
// its directory, and ACC, PORT and NATSPORT in its environment.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "../../testdata/story",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": serverCommand,
			"nats":   natsCommand,
			"client": clientCommand,
			"http":   httpCommand,
			"repeat": repeatCommand,
			"edit":   editCommand,
		},
	})
}

// story is what one script has running.
type story struct {
	t       *scriptT
	dir     string
	url     string
	process *process
	nats    *server.Server
	out     chan struct{} // closed when nats-server throws the client out
}

type storyKey struct{}

func setup(env *testscript.Env) error {
	t := &scriptT{env: env}
	op := jwttest.NewOperator(t)
	acc := jwttest.NewAccount(t)
	creds, user := acc.User(t)
	sys, _ := op.System.User(t)
	sys2, _ := op.System.User(t)
	for name, content := range map[string][]byte{
		"op.jwt":     []byte(op.Token(t)),
		"sys.jwt":    op.SystemAccount(t),
		"sys.creds":  sys,
		"sys2.creds": sys2,
		"user.creds": creds,
		"acc.jwt":    jwttest.Sign(t, op.Signing, acc, time.Now().Add(-time.Minute)),
		"revoked.jwt": jwttest.Sign(t, op.Signing, acc, time.Now(), func(c *jwt.AccountClaims) {
			c.RevokeAt(user, time.Now())
		}),
	} {
		jwttest.File(t, env.WorkDir, name, content)
	}
	s := &story{t: t, dir: env.WorkDir}
	port, natsPort := freePort(t), freePort(t)
	expand(t, env.WorkDir, strings.NewReplacer("$WORK", env.WorkDir, "$PORT", strconv.Itoa(port),
		"$NATSPORT", strconv.Itoa(natsPort)))
	s.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	env.Vars = append(env.Vars,
		"ACC="+acc.ID, "SYS="+op.System.ID, "OP="+op.ID, "SHARD="+acc.ID[54:], "USER="+user,
		"PORT="+strconv.Itoa(port), "NATSPORT="+strconv.Itoa(natsPort),
		"PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Values[storyKey{}] = s
	return nil
}

// expand fills in a story's configuration files.
func expand(t testing.TB, dir string, values *strings.Replacer) {
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, dir, filepath.Base(f), []byte(values.Replace(string(text))))
	}
}

func storyOf(ts *testscript.TestScript) *story {
	s := ts.Value(storyKey{}).(*story)
	s.t.ts = ts
	return s
}

func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	switch args[0] {
	case "start":
		s.process = start(s.t, s.dir, nil, args[1:]...)
	case "wait":
		s.process.wait(args[1:]...)
	case "signal":
		s.process.signal(map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM,
			"INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[args[1]])
	case "exits":
		want, _ := strconv.Atoi(args[1])
		if got := s.process.exited(); got != want {
			ts.Fatalf("exit code %d, want %d:\n%s", got, want, s.process.log)
		}
	case "log": // what is logged so far goes to standard output
		fmt.Fprint(ts.Stdout(), s.process.log)
	default:
		ts.Fatalf("unknown: server %s", args[0])
	}
}

func natsCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	switch args[0] {
	case "start":
		s.nats = natstest.Start(s.t, ts.ReadFile(args[1]))
	case "stop":
		natstest.Stop(s.nats)
	}
}

func clientCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	switch args[0] {
	case "start":
		out := make(chan struct{})
		s.out = out
		closed := nats.ClosedHandler(func(*nats.Conn) { close(out) })
		creds := []byte(ts.ReadFile(args[1]))
		if neg {
			natstest.WantRefused(s.t, s.nats.ClientURL(), creds)
			return
		}
		natstest.Connect(s.t, s.nats.ClientURL(), creds, nats.NoReconnect(), closed)
	case "out":
		select {
		case <-s.out:
		case <-time.After(20 * time.Second):
			ts.Fatalf("the client is still connected")
		}
	}
}

// httpCommand is http STATUS METHOD PATH [FILE].
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	_, _ = ts.Stdout().Write(httpRequest(ts, args))
}

// repeatCommand is repeat PATTERN and the arguments of http: it asks until the answer matches. The
// first answer to a push can come before that of nats-server, on a busy machine.
func repeatCommand(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(30 * time.Second); ; {
		answer := httpRequest(ts, args[1:])
		if pattern.Match(answer) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the answer is still %q", answer)
		}
	}
}

// httpRequest sends a request and returns the answer, which must have the status.
func httpRequest(ts *testscript.TestScript, args []string) []byte {
	s := storyOf(ts)
	status, method, path := args[0], args[1], args[2]
	var body io.Reader
	if len(args) > 3 {
		body = strings.NewReader(ts.ReadFile(args[3]))
	}
	r, err := http.NewRequest(method, s.url+path, body)
	ts.Check(err)
	answer, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if got := strconv.Itoa(answer.StatusCode); got != status {
		ts.Fatalf("status %s, want %s: %s", got, status, text)
	}
	return text
}

func editCommand(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]),
		[]byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// scriptT lets helpers made for tests serve a script.
type scriptT struct {
	testing.TB // nil: what is not below is not called
	env        *testscript.Env
	ts         *testscript.TestScript
}

func (t *scriptT) Helper() {}

func (t *scriptT) TempDir() string {
	dir, err := os.MkdirTemp(t.env.WorkDir, "temp")
	if err != nil {
		panic(err)
	}
	return dir
}

func (t *scriptT) Cleanup(f func()) {
	if t.ts != nil {
		t.ts.Defer(f)
		return
	}
	t.env.Defer(f)
}

func (t *scriptT) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }

func (t *scriptT) Fatalf(format string, args ...any) {
	if t.ts == nil {
		panic(fmt.Sprintf(format, args...))
	}
	t.ts.Fatalf(format, args...)
}
