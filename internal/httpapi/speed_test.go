package httpapi_test

import (
	"bufio"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwttest"
)

// handlers returns the API without a log, and a handler that does nothing but send the same bytes
// and headers.
func handlers(b *testing.B) (path string, ours, bare http.Handler) {
	env := newEnvironment(b, func(o *httpapi.Options) { o.Log = slog.New(slog.DiscardHandler) })
	env.store.t = nil
	a := jwttest.NewAccount(b)
	token := env.put(b, a)
	path = "/jwt/v1/accounts/" + a.ID
	ours = httpapi.New(httpapi.Options{Accounts: env.registry})
	w := httptest.NewRecorder()
	ours.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	header := w.Header()
	bare = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		_, _ = w.Write(token)
	})
	return path, ours, bare
}

// discardWriter drops an answer.
type discardWriter struct{ header http.Header }

func (w discardWriter) Header() http.Header         { return w.header }
func (w discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w discardWriter) WriteHeader(int)             {}

func BenchmarkGetHandler(b *testing.B) {
	path, ours, _ := handlers(b)
	r := httptest.NewRequest("GET", path, nil)
	b.ReportAllocs()
	for b.Loop() {
		ours.ServeHTTP(discardWriter{http.Header{}}, r)
	}
}

func BenchmarkGetSocket(b *testing.B) {
	path, ours, bare := handlers(b)
	b.Run("ours", func(b *testing.B) { overSocket(b, path, ours) })
	b.Run("bare", func(b *testing.B) { overSocket(b, path, bare) })
}

// overSocket asks again and again on one connection.
func overSocket(b *testing.B, path string, h http.Handler) {
	conn, err := net.Dial("tcp", serve(b, h))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	request := wire("GET " + path)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}
