package httpapi_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// TestMain lets more tests run at once than there are processors: most parallel ones wait for a
// timeout of the server.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(checkContract(m.Run()))
}

// fakeStore is a store in memory that can be made to fail.
type fakeStore struct {
	putting  sync.Mutex
	t        testing.TB // nil: keys are neither checked nor kept
	mu       sync.Mutex
	asked    []string // keys of all calls; only account keys and activation hashes may come here
	tokens   map[string][]byte
	version  map[string]int64
	loadErr  error
	saveErr  error
	touchErr error
	scanErr  error
	index    *jwtstore.Index // of nothing
}

func newFakeStore(t testing.TB) *fakeStore {
	return &fakeStore{t: t, tokens: map[string][]byte{}, version: map[string]int64{},
		index: jwtstore.NewMemory(false).Index()}
}

var publicAccountKey = regexp.MustCompile(`^A[A-Z2-7]{55}$`)

// noteLocked checks and keeps a key that the store is asked for. s.mu must be held.
func (s *fakeStore) noteLocked(key string) {
	if s.t == nil {
		return
	}
	if !publicAccountKey.MatchString(key) && !trust.IsActivationHash(key) {
		s.t.Errorf("the store was given %q", key)
	}
	s.asked = append(s.asked, key)
}

// put stores a token without asking the registry.
func (s *fakeStore) put(key string, token []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[key] = token
	s.version[key]++
}

func (s *fakeStore) Index() *jwtstore.Index { return s.index }

func (s *fakeStore) Tombstone(string) ([]byte, error) { return nil, nil }

func (s *fakeStore) Delete(context.Context, string, string, func(jwtstore.Stored) ([]byte,
	error)) (uint64, error) {
	return 0, errDisk
}

func (s *fakeStore) Scan(context.Context, jwtstore.Scan) error { return s.scanErr }

func (*fakeStore) Changes(string) uint64 { return 0 }

func (s *fakeStore) Load(key string, known jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(key)
	token, ok := s.tokens[key]
	stamp := jwtstore.Stamp{s.version[key], 1}
	switch {
	case s.loadErr != nil:
		return nil, jwtstore.Stamp{}, s.loadErr
	case !ok:
		return nil, jwtstore.Stamp{}, fs.ErrNotExist
	case stamp == known:
		return nil, stamp, nil
	}
	return token, stamp, nil
}

func (s *fakeStore) Put(ctx context.Context, key, _ string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error)) (uint64, error) {
	s.putting.Lock() // allow looks into the store, too
	defer s.putting.Unlock()
	s.mu.Lock()
	s.noteLocked(key)
	had := jwtstore.Stored{JWT: s.tokens[key]}
	s.mu.Unlock()
	if _, err := allow(had); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.saveErr, ctx.Err()); err != nil {
		return 0, err
	}
	s.tokens[key] = token
	s.version[key]++
	return uint64(s.version[key]), nil
}

func (s *fakeStore) Touch(ctx context.Context, _, _ string, _ bool) (uint64, error) {
	return 1, cmp.Or(s.touchErr, ctx.Err())
}

// announcer keeps what is announced and answers with a fixed delivery.
type announcer struct {
	report     accounts.Report
	mu         sync.Mutex
	announced  []string
	delivery   accounts.Delivery
	waited     time.Duration // the limit of the last Wait
	maxPayload int
}

func (a *announcer) Announce(key string, _ uint64) accounts.Receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.announced = append(a.announced, key)
	return a
}
func (a *announcer) Follow(string) accounts.Receipt { return a.delivery }
func (a *announcer) IsConfigured() bool {
	return a.delivery.State != accounts.NotConfigured
}

func (a *announcer) Contested(string)     {}
func (a *announcer) Heard(string, uint64) {}
func (a *announcer) Wait(_ context.Context, limit time.Duration) accounts.Delivery {
	a.waited = limit
	return a.delivery
}
func (a *announcer) MaxPayload() int { return a.maxPayload }

func (a *announcer) Report(context.Context, string, bool) accounts.Report { return a.report }

// signer is a signing service, if it has an answer or an error.
type signer struct {
	answer []byte
	err    error
}

func (s *signer) Signs() bool                                  { return s.answer != nil || s.err != nil }
func (s *signer) Sign(context.Context, []byte) ([]byte, error) { return s.answer, s.err }

// auditRecorder keeps what the registry reports, and checks where that came from.
type auditRecorder struct {
	t      testing.TB
	mu     sync.Mutex
	events []accounts.Event
}

func (r *auditRecorder) Observe(e accounts.Event) error {
	if host, _, err := net.SplitHostPort(e.Address); err != nil || e.Kind != accounts.KindHTTP ||
		host == "" {
		r.t.Errorf("origin: %+v", e.Origin)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil
}

// offered returns the sizes of the JWTs that the registry was offered.
func (r *auditRecorder) offered() (sizes []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.New != nil {
			sizes = append(sizes, e.New.Size)
		}
	}
	return sizes
}

// logRecorder is a slog handler that keeps every line as it comes. Only the API itself can have
// quoted a message.
type logRecorder struct {
	mu   sync.Mutex
	kept []string
}

var levels = map[slog.Level]string{
	logging.LevelTrace: "TRC", slog.LevelDebug: "DBG", slog.LevelInfo: "INF", slog.LevelWarn: "WRN",
	slog.LevelError: "ERR",
}

func (l *logRecorder) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, "["+levels[r.Level]+"] "+r.Message)
	return nil
}

func (l *logRecorder) Enabled(context.Context, slog.Level) bool { return true }
func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logRecorder) WithGroup(string) slog.Handler            { return l }

// lines returns those of one level, "" for all.
func (l *logRecorder) lines(level string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.kept {
		if strings.HasPrefix(line, "["+level) {
			found = append(found, line)
		}
	}
	return found
}

// environment is an API with a real registry, and everything of them that a test may change.
type environment struct {
	op        *jwttest.Operator
	other     *jwttest.Account  // another account than that of a test
	stranger  *jwttest.Operator // another operator
	store     *fakeStore
	announcer *announcer
	signer    *signer
	registry  *accounts.Registry
	audit     *auditRecorder
	log       *logRecorder
	now       time.Time // half past a second, so that truncation shows
	api       http.Handler
}

func newEnvironment(t testing.TB, edits ...func(*httpapi.Options)) *environment {
	t.Helper()
	env := &environment{
		op:       jwttest.NewOperator(t),
		other:    jwttest.NewAccount(t),
		stranger: jwttest.NewOperator(t),
		store:    newFakeStore(t),
		announcer: &announcer{delivery: accounts.Delivery{State: accounts.Sent,
			Acked: 1, Servers: 1}},
		signer: &signer{},
		audit:  &auditRecorder{t: t},
		log:    &logRecorder{},
		now:    time.Now().Truncate(time.Second).Add(time.Second / 2),
	}
	op, err := trust.Parse([]byte(env.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(env.log)
	env.registry = accounts.New(accounts.Options{
		Store: env.store, Committer: env.store, Announcer: env.announcer, Observer: env.audit,
		Signer: env.signer, Trust: accounts.Trust{Operators: trust.Operators{op}}, Log: log,
		CacheBytes: 32 << 20,
	})
	o := httpapi.Options{
		Accounts: env.registry,
		Activations: activations.New(activations.Options{
			Accounts: env.registry, Store: env.store, Connection: env.announcer, Log: log,
		}),
		Operator: op.Token(),
		Log:      log,
		Now:      func() time.Time { return env.now },
	}
	for _, edit := range edits {
		edit(&o)
	}
	env.api = recorded(t, httpapi.New(o))
	return env
}

// put stores an account's JWT without asking the registry, and returns it.
func (env *environment) put(
	t testing.TB, a *jwttest.Account, edits ...func(*jwt.AccountClaims),
) []byte {
	t.Helper()
	token := env.op.Account(t, a, edits...)
	env.store.put(a.ID, token)
	return token
}

func (env *environment) etag(t testing.TB, a *jwttest.Account) string {
	t.Helper()
	account, err := env.registry.Get(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	return account.ETag
}

// wantNothingOffered checks that the registry was offered no JWT and that the store was not asked.
func (env *environment) wantNothingOffered(t testing.TB) {
	t.Helper()
	if sizes := env.audit.offered(); len(sizes) > 0 || len(env.store.asked) > 0 {
		t.Errorf("JWTs of %d bytes were offered, the store was asked for %q",
			sizes, env.store.asked)
	}
}

// serve starts a server for the test's duration and returns its address.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// ask sends a request as it is written, with lines ended by LF. It returns the answer: status,
// sorted headers without Date, an empty line, the body. No HTTP client is used, since that would
// normalise both.
func ask(t testing.TB, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, wire(request)); err != nil {
		t.Logf("the server did not read all: %v", err)
	}
	method, _, _ := strings.Cut(request, " ")
	return receive(t, bufio.NewReader(conn), method)
}

// wire completes a request: version, host, length of the body.
func wire(request string) string {
	head, body, _ := strings.Cut(request, "\n\n")
	line, headers, _ := strings.Cut(head, "\n")
	text := line + " HTTP/1.1\r\n"
	if !strings.Contains(headers, "Host:") {
		text += "Host: nas.example:9090\r\n"
	}
	for h := range strings.Lines(headers) {
		text += strings.TrimSuffix(h, "\n") + "\r\n"
	}
	if body != "" && !strings.Contains(headers, "Transfer-Encoding") &&
		!strings.Contains(headers, "Content-Length") {
		text += "Content-Length: " + itoa(len(body)) + "\r\n"
	}
	return text + "\r\n" + body
}

func receive(t testing.TB, r *bufio.Reader, method string) string {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Date") == "" {
		t.Error("no Date")
	}
	resp.Header.Del("Date")
	var lines []string
	if resp.Close {
		lines = append(lines, "Connection: close")
	}
	for name, values := range resp.Header {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	slices.Sort(lines)
	return resp.Status + "\n" + strings.Join(lines, "\n") + "\n\n" + string(body)
}

var errDisk = errors.New("write /srv/x.jwt: no space left on device")
