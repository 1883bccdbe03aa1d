package httpserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/natstest"
)

// env is a Server that runs until the test ends. Requests for /wait are answered when answer is
// closed.
type env struct {
	t       *testing.T
	server  *httpserver.Server
	options httpserver.Options
	log     natstest.Log
	entered chan struct{}
	answer  chan struct{}
	stop    context.CancelFunc
	stopped chan struct{}
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, entered: make(chan struct{}, 10), answer: make(chan struct{}),
		stopped: make(chan struct{})}
	e.options = httpserver.Options{
		Host:    "127.0.0.1",
		Handler: e.says("first"),
		Log:     slog.New(slog.NewTextHandler(&e.log, nil)),
	}
	var err error
	if e.server, err = httpserver.New(e.options); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, e.stop = context.WithCancel(context.Background())
	go func() {
		defer close(e.stopped)
		if err := e.server.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		e.stop()
		<-e.stopped
	})
	return e
}

// says is a handler that answers with a text.
func (e *env) says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			e.entered <- struct{}{}
			<-e.answer
		}
		_, _ = io.WriteString(w, text)
	})
}

// reload changes the options of the server, and wants that to succeed.
func (e *env) reload(edit func(*httpserver.Options)) {
	e.t.Helper()
	edit(&e.options)
	if err := e.server.Reload(e.options); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) address() string {
	_, port := e.server.Address()
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (e *env) dial(address string) net.Conn {
	e.t.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// ask sends a request and returns the body of the answer, or the error.
func ask(c net.Conn, path string) string {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return err.Error()
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// askLater begins a request for /wait and returns where its answer arrives.
func (e *env) askLater() <-chan string {
	e.t.Helper()
	c := e.dial(e.address())
	answer := make(chan string, 1)
	go func() { answer <- ask(c, "/wait") }()
	<-e.entered
	return answer
}

func (e *env) want(got, want string) {
	e.t.Helper()
	if got != want {
		e.t.Errorf("got %q, want %q", got, want)
	}
}

func TestReloadExchangesTheHandlerUnderOpenConnections(t *testing.T) {
	e := newEnv(t)
	c := e.dial(e.address())
	e.want(ask(c, "/"), "first")
	e.reload(func(o *httpserver.Options) { o.Handler = e.says("second") })
	e.want(ask(c, "/"), "second")
	if n := e.log.Count("listening on port"); n != 1 {
		t.Errorf("it listened %d times", n)
	}
}

func TestReloadKeepsThePortOpenAndFinishesRequests(t *testing.T) {
	e := newEnv(t)
	before := e.address()
	inFlight := e.askLater()
	e.reload(func(o *httpserver.Options) {
		o.ReadTimeout, o.Handler = time.Minute, e.says("second")
	})
	if e.address() != before {
		t.Errorf("the address became %s", e.address())
	}
	e.want(ask(e.dial(before), "/"), "second")
	close(e.answer)
	e.want(<-inFlight, "first")
}

func TestReloadToAnotherPortClosesTheFirstOne(t *testing.T) {
	e := newEnv(t)
	before := e.address()
	inFlight := e.askLater()
	e.reload(func(o *httpserver.Options) { o.Port = natstest.FreePort(t) })
	e.want(ask(e.dial(e.address()), "/"), "first")
	natstest.Eventually(t, "the first port is closed", func() bool {
		c, err := net.Dial("tcp", before)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(e.answer)
	e.want(<-inFlight, "first")
}

// TestReloadToEveryInterface binds an address that the server's own listener keeps from being
// bound.
func TestReloadToEveryInterface(t *testing.T) {
	e := newEnv(t)
	port := natstest.FreePort(t)
	e.reload(func(o *httpserver.Options) { o.Port = port })
	e.reload(func(o *httpserver.Options) { o.Host, o.Handler = "", e.says("second") })
	e.want(ask(e.dial(e.address()), "/"), "second")
}

// TestAReloadThatFailsChangesNothing asks for an address that another listener has.
func TestAReloadThatFailsChangesNothing(t *testing.T) {
	e := newEnv(t)
	port := natstest.FreePort(t)
	e.reload(func(o *httpserver.Options) { o.Port = port })
	others := []string{"127.0.0.1:0"}
	if runtime.GOOS == "linux" { // only there all of 127.0.0.0/8 is this machine
		others = append(others, fmt.Sprintf("127.0.0.2:%d", port))
	}
	for _, address := range others {
		other, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		next := e.options
		next.Host, next.Port, next.Handler = "", other.Addr().(*net.TCPAddr).Port, e.says("second")
		err = e.server.Reload(next)
		if err == nil || !strings.HasPrefix(err.Error(), "error creating listener: ") {
			t.Errorf("%s: %v", address, err)
		}
		e.want(ask(e.dial(fmt.Sprintf("127.0.0.1:%d", port)), "/"), "first")
		other.Close()
	}
}

func TestNewSaysWhyItCantListen(t *testing.T) {
	e := newEnv(t)
	_, e.options.Port = e.server.Address()
	if _, err := httpserver.New(e.options); err == nil ||
		!strings.HasPrefix(err.Error(), "error creating listener: ") {
		t.Error(err)
	}
}

func TestAStopAnswersRequestsInFlight(t *testing.T) {
	e := newEnv(t)
	inFlight := e.askLater()
	e.stop()
	natstest.Eventually(t, "nothing is accepted", func() bool {
		c, err := net.Dial("tcp", e.address())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case <-e.stopped:
		t.Error("it stopped before the request was answered")
	default:
	}
	close(e.answer)
	e.want(<-inFlight, "first")
	<-e.stopped
}

// A client that has just connected may have sent a request that was not read yet.
func TestAStopWaitsForTheFirstRequestOfAConnection(t *testing.T) {
	e := newEnv(t)
	late := e.dial(e.address())
	e.want(ask(e.dial(e.address()), "/"), "first") // late was accepted before it
	e.stop()
	time.Sleep(50 * time.Millisecond)
	e.want(ask(late, "/"), "first")
	<-e.stopped
}

func TestAStopDoesNotWaitForSilentConnections(t *testing.T) {
	e := newEnv(t)
	silent, half := e.dial(e.address()), e.dial(e.address())
	_, _ = io.WriteString(half, "GET / HTTP/1.1\r\nHo")
	e.want(ask(e.dial(e.address()), "/"), "first")
	began := time.Now()
	e.stop()
	<-e.stopped
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, c := range []net.Conn{silent, half} {
		if _, err := io.Copy(io.Discard, c); err != nil &&
			strings.Contains(err.Error(), "timeout") {
			t.Error("a connection stays open")
		}
	}
}

func TestReloadExchangesCertificates(t *testing.T) {
	e := newEnv(t)
	first, second := certtest.New(t), certtest.New(t)
	config := func(a *certtest.Authority) *tls.Config {
		p := a.Issue(t)
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	trusts := func(a *certtest.Authority) bool {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(a.PEM)
		c, err := tls.Dial("tcp", e.address(), &tls.Config{RootCAs: roots})
		if err != nil {
			return false
		}
		defer c.Close()
		return ask(c, "/") == "first"
	}
	e.reload(func(o *httpserver.Options) { o.TLS = config(first) })
	if scheme, _ := e.server.Address(); scheme != "https" {
		t.Errorf("the scheme is %s", scheme)
	}
	if !trusts(first) || trusts(second) {
		t.Error("it does not show the first certificate")
	}
	e.reload(func(o *httpserver.Options) { o.TLS = config(second) })
	if trusts(first) || !trusts(second) {
		t.Error("it does not show the second certificate")
	}
	e.reload(func(o *httpserver.Options) { o.TLS = nil })
	natstest.Eventually(t, "it speaks HTTP",
		func() bool { return ask(e.dial(e.address()), "/") == "first" })
}

func TestTimeoutsAndHeaderLimit(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := httpserver.NewHTTP(nil, 5*time.Second, 3*time.Second, log)
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 5*time.Second ||
		s.IdleTimeout != 5*time.Second ||
		s.WriteTimeout != 8*time.Second || s.MaxHeaderBytes != 28<<10 || s.ErrorLog == nil {
		t.Errorf("%+v", s)
	}
	if w := httpserver.NewHTTP(nil, 0, 3*time.Second, log).WriteTimeout; w != 0 {
		t.Errorf("a body without a limit leaves %v for the answer", w)
	}
	if w := httpserver.NewHTTP(nil, 3*time.Second, 0, log).WriteTimeout; w != 0 {
		t.Errorf("no limit for the answer became %v", w)
	}
}
