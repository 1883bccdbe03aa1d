package bucket_test

import (
	"context"
	encoding "encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/trust"
)

// keeper is one nats-server that keeps the bucket.
type keeper struct {
	*server.Server
	address string
	conf    string
}

// usersConf has the user of the bucket, and the system's. PUBLISH and SUBSCRIBE are what the former may.
const usersConf = `accounts {
  KV { jetstream: enabled, users: [
    { user: nas, password: pw, permissions { publish: [PUBLISH], subscribe: [none, SUBSCRIBE] } }
    { user: admin, password: pw } ] }
  SYS { users: [{ user: sys, password: pw }] }
}
system_account: SYS
`

// listed are the permissions that the manual lists, for a bucket of the name B.
var listed = sync.OnceValue(func() (all []permission) {
	page, err := os.ReadFile("../manual/many-machines.md")
	if err != nil {
		panic(err)
	}
	text := strings.ReplaceAll(string(page), "ACCOUNT_JWTS", "B")
	rows := regexp.MustCompile("(?m)^\\| (publish|subscribe) `(\\S+)` \\|")
	for _, row := range rows.FindAllStringSubmatch(text, -1) {
		all = append(all, permission{row[1], row[2]})
	}
	return all
})

// permission is one that a user needs.
type permission struct{ verb, subject string }

// usersWith returns the users, of which that of the bucket has these permissions and no other.
func usersWith(permissions []permission) string {
	of := map[string][]string{}
	for _, p := range permissions {
		of[p.verb] = append(of[p.verb], strconv.Quote(p.subject))
	}
	return strings.NewReplacer("PUBLISH", strings.Join(of["publish"], ", "),
		"SUBSCRIBE", strings.Join(of["subscribe"], ", ")).Replace(usersConf)
}

// users are those with no more permissions than the manual lists.
var users = usersWith(listed())

// startKeeper starts a nats-server alone. more is appended to its jetstream section.
func startKeeper(t *testing.T, more string) *keeper {
	t.Helper()
	return startKeeperWith(t, more, users)
}

// startKeeperWith starts one with other users.
func startKeeperWith(t *testing.T, more, users string) *keeper {
	t.Helper()
	port := natstest.FreePort(t)
	conf := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nserver_name: kv1\njetstream { store_dir: %q, %s }\n%s",
		port, t.TempDir(), more, users)
	return &keeper{natstest.Start(t, conf), fmt.Sprintf("127.0.0.1:%d", port), conf}
}

// restart stops a nats-server and starts it again.
func (k *keeper) restart(t *testing.T) {
	t.Helper()
	natstest.Stop(k.Server)
	k.Server = natstest.Start(t, k.conf)
}

// url returns the URL of a nats-server for a user.
func (k *keeper) url(user string) string {
	return fmt.Sprintf("nats://%s:pw@%s", user, k.address)
}

// connect connects as a user.
func (k *keeper) connect(t *testing.T, user string) *nats.Conn {
	t.Helper()
	return natstest.Dial(t, k.url(user))
}

// member is one account server.
type member struct {
	t        *testing.T
	dir      string
	options  bucket.Options
	registry accounts.Options
	op       *jwttest.Operator
	log      *lines
	policy   func(bucket.Accounts) bucket.Accounts // around the registry; nil: it is the policy

	*bucket.Store
	accounts *accounts.Registry
	tokens   *activations.Registry
	notifier *notifier.Notifier
	stop     func()
}

// newMember makes an account server with a new directory.
func newMember(t *testing.T, op *jwttest.Operator, edits ...func(*member)) *member {
	t.Helper()
	m := &member{t: t, dir: t.TempDir(), op: op, log: &lines{}}
	m.options = bucket.Options{Bucket: "B", Replicas: 1, History: 8, Timeout: 5 * time.Second,
		Sync: bucket.SyncOff}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// start opens the directory and follows the bucket at these nats-servers until the test ends, or stop is
// called.
func (m *member) start(keepers ...*keeper) *member {
	m.t.Helper()
	var urls []string
	for _, k := range keepers {
		urls = append(urls, k.url("nas"))
	}
	log := slog.New(loggingtest.New(m.log, logging.Format{}))
	dir, err := jwtstore.OpenDir(m.t.Context(), jwtstore.Options{Dir: m.dir, Shard: true, Announce: true,
		Newer: accounts.Newer, IssuedAt: trust.IssuedAt})
	if err != nil {
		m.t.Fatal(err)
	}
	m.options.Dir, m.options.Path, m.options.Log = dir, m.dir, log
	m.Store = bucket.New(m.options)
	m.notifier = notifier.New(notifier.Options{Outbox: dir.Outbox(), Log: log})
	operator, err := trust.Parse([]byte(m.op.Token(m.t)))
	if err != nil {
		m.t.Fatal(err)
	}
	o := m.registry
	o.AllowDelete, o.CacheBytes = true, 32<<20
	o.Store, o.Committer, o.Announcer, o.Unsaved = m.Store, m.Store, m.notifier, m.Store
	o.Trust, o.Log = accounts.Trust{Operators: trust.Operators{operator}}, log
	m.accounts = accounts.New(o)
	m.tokens = activations.New(activations.Options{Accounts: m.accounts, Store: m.Store,
		Connection: m.notifier, Log: log, AllowOlder: o.AllowOlder})
	var policy bucket.Accounts = m.accounts
	if m.policy != nil {
		policy = m.policy(m.accounts)
	}
	serve := func(ctx context.Context, nc *nats.Conn) { m.Serve(ctx, nc, policy, m.tokens) }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		natsconn.Run(ctx, natsconn.Options{Servers: urls, ConnectTimeout: time.Second,
			ReconnectWait: 100 * time.Millisecond, Log: log, Bucket: true}, serve)
	})
	m.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := m.Close(); err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(func() {
		m.stop()
		if m.t.Failed() {
			m.t.Logf("%s\n%s", m.dir, m.log)
		}
	})
	return m
}

// await returns when the bucket has been read.
func (m *member) await() *member {
	m.t.Helper()
	select {
	case <-m.CaughtUp():
	case <-time.After(time.Minute): // of a busy machine
		m.t.Fatalf("the bucket is not read:\n%s", m.log)
	}
	return m
}

// push puts a JWT as HTTP does.
func (m *member) push(token []byte) error {
	head, _ := trust.Peek(token)
	_, err := m.accounts.Put(m.t.Context(), head.Subject, token, accounts.Origin{Kind: accounts.KindHTTP})
	return err
}

// serves waits until a JWT is served; nil: until none is.
func (m *member) serves(key string, token []byte) {
	m.t.Helper()
	natstest.Eventually(m.t, "the JWT is served", func() bool {
		a, err := m.accounts.GetLocal(m.t.Context(), key)
		if token == nil {
			return err != nil
		}
		return err == nil && string(a.JWT) == string(token)
	})
}

// began is when the tests began.
var began = time.Now()

// issue makes a JWT of an account that was issued some seconds after a fixed time an hour ago.
func issue(t *testing.T, op *jwttest.Operator, a *jwttest.Account, seconds int) []byte {
	t.Helper()
	at := began.Add(time.Duration(seconds)*time.Second - time.Hour)
	return jwttest.Sign(t, op.Key, a, at, func(c *jwt.AccountClaims) { c.Limits.Conn = int64(seconds) })
}

// file returns the path of an account's file.
func (m *member) file(key string) string { return filepath.Join(m.dir, key[len(key)-2:], key+".jwt") }

// plant puts a file into the directory of a member that is stopped, as a person does.
func (m *member) plant(key string, token []byte) {
	m.t.Helper()
	path := m.file(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, token, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func base64(b []byte) string { return encoding.StdEncoding.EncodeToString(b) }

// issuedAt returns the iat of a JWT.
func issuedAt(token []byte) int64 {
	head, _ := trust.Peek(token)
	return head.IssuedAt
}

// rename adds a suffix to the name of a file.
func (m *member) rename(key, suffix string) {
	m.t.Helper()
	if err := os.Rename(m.file(key), m.file(key)+suffix); err != nil {
		m.t.Fatal(err)
	}
}
