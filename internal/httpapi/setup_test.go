package httpapi_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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
	"nats-account-server/internal/trust"
)

// shelf is a store in memory that can be told to fail.
type shelf struct {
	mu       sync.Mutex
	tokens   map[string][]byte
	version  map[string]int64
	loadErr  error
	saveErr  error
	touchErr error
}

func newShelf() *shelf {
	return &shelf{tokens: map[string][]byte{}, version: map[string]int64{}}
}

func (s *shelf) lay(key string, token []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[key] = token
	s.version[key]++
}

func (s *shelf) Tombstone(string) ([]byte, error) { return nil, nil }

func (s *shelf) Delete(context.Context, string, string, func(_, _ []byte) ([]byte, error)) (uint64, error) {
	return 0, errDisk
}

func (s *shelf) Keys() iter.Seq2[string, error] { return func(func(string, error) bool) {} }

func (s *shelf) Load(key string, known jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *shelf) Put(ctx context.Context, key, _ string, token []byte, allow func(_, _ []byte) error) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allow(s.tokens[key], nil); err != nil {
		return 0, err
	}
	if err := cmp.Or(s.saveErr, ctx.Err()); err != nil {
		return 0, err
	}
	s.tokens[key] = token
	s.version[key]++
	return uint64(s.version[key]), nil
}

func (s *shelf) Touch(ctx context.Context, _, _ string) (uint64, error) {
	return 1, cmp.Or(s.touchErr, ctx.Err())
}

// announcer counts what it is told and answers with a fixed delivery.
type announcer struct {
	report     accounts.Report
	mu         sync.Mutex
	told       []string
	delivery   accounts.Delivery
	maxPayload int
}

func (a *announcer) Announce(key string, _ uint64, _ time.Time) accounts.Receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, key)
	return a
}
func (a *announcer) Delivery(string) accounts.Delivery      { return a.delivery }
func (a *announcer) Heard(string, uint64, time.Time)        {}
func (a *announcer) Wait(context.Context) accounts.Delivery { return a.delivery }
func (a *announcer) MaxPayload() int                        { return a.maxPayload }

func (a *announcer) Report(context.Context, string, bool) accounts.Report { return a.report }

var publicAccountKey = regexp.MustCompile(`^A[A-Z2-7]{55}$`)

// guard is the gate behind a check that nothing but account keys comes near it.
type guard struct {
	httpapi.Gate
	t testing.TB

	mu    sync.Mutex
	calls []string
}

func (g *guard) see(call, key string) {
	if !publicAccountKey.MatchString(key) {
		g.t.Errorf("the gate was given %q", key)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
}

func (g *guard) Get(ctx context.Context, key string) (*accounts.Account, error) {
	g.see("Find", key)
	return g.Gate.Get(ctx, key)
}

func (g *guard) GetRaw(ctx context.Context, key string) ([]byte, error) {
	g.see("Raw", key)
	return g.Gate.GetRaw(ctx, key)
}

func (g *guard) Put(ctx context.Context, key string, token []byte, src accounts.Origin) (accounts.Result, error) {
	g.see("Put", key)
	if host, _, err := net.SplitHostPort(src.Address); err != nil || src.Kind != accounts.KindHTTP || host == "" {
		g.t.Errorf("source: %+v", src)
	}
	return g.Gate.Put(ctx, key, token, src)
}

func (g *guard) Announce(ctx context.Context, key string) error {
	g.see("Announce", key)
	return g.Gate.Announce(ctx, key)
}

// logbook is a slog handler that keeps every line as it comes: nothing but the API itself makes a message harmless.
type logbook struct {
	mu   sync.Mutex
	kept []string
}

var levels = map[slog.Level]string{-8: "TRC", slog.LevelDebug: "DBG", slog.LevelInfo: "INF", slog.LevelWarn: "WRN", slog.LevelError: "ERR"}

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, "["+levels[r.Level]+"] "+r.Message)
	return nil
}

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }

// lines returns those of one level, "" for all.
func (l *logbook) lines(level string) []string {
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

// bench is an API before a real gate, with everything that a test may want to turn.
type bench struct {
	op        *jwttest.Operator
	store     *shelf
	announcer *announcer
	gate      *guard
	log       *logbook
	now       time.Time // half past a second, so that truncation shows
	api       *httpapi.API
}

func newBench(t testing.TB, edits ...func(*httpapi.Options)) *bench {
	t.Helper()
	b := &bench{
		op:        jwttest.NewOperator(t),
		store:     newShelf(),
		announcer: &announcer{delivery: accounts.Delivery{State: accounts.Sent, Acked: 1, Servers: 1}},
		log:       &logbook{},
		now:       time.Now().Truncate(time.Second).Add(time.Second / 2),
	}
	op, err := trust.Parse([]byte(b.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(b.log)
	registry := accounts.New(accounts.Options{
		Store: b.store, Committer: b.store, Announcer: b.announcer,
		Trust: accounts.Trust{Operator: op}, Log: log,
	})
	b.gate = &guard{t: t, Gate: registry}
	tokens := activations.New(activations.Options{Accounts: registry, Store: b.store, Connection: b.announcer, Log: log})
	o := httpapi.Options{Gate: b.gate, Activations: tokens, Operator: op.Token(), Log: log, Now: func() time.Time { return b.now }}
	for _, edit := range edits {
		edit(&o)
	}
	b.api = httpapi.New(o)
	return b
}

// lay puts an account's JWT on the shelf past the gate and returns it.
func (b *bench) lay(t testing.TB, a *jwttest.Account, edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	token := b.op.Account(t, a, edits...)
	b.store.lay(a.ID, token)
	return token
}

func (b *bench) etag(t testing.TB, a *jwttest.Account) string {
	t.Helper()
	account, err := b.gate.Gate.Get(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	return account.ETag
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

// ask sends a request as it is written here, lines ended by LF, and shows the answer: status, sorted headers
// without Date, an empty line, the body. Nothing between may normalise it.
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
	if body != "" && !strings.Contains(headers, "Transfer-Encoding") && !strings.Contains(headers, "Content-Length") {
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
