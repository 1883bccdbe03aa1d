package httpapi_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/httpserver"
)

// FuzzConnection sends any bytes over a connection and closes it. The answers are HTTP, no request
// makes the handler panic, and nothing but the one valid JWT is stored.
func FuzzConnection(f *testing.F) {
	env, a, valid := fixedEnvironment(f)
	fill := strings.NewReplacer("$A", "/jwt/v1/accounts/"+a.ID, "$JWT", string(valid), "$HEXLEN",
		"1", "$LEN", itoa(len(valid)))
	f.Add([]byte(fill.Replace("POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: " +
		"$LEN\r\n\r\n$JWTGET $A?decode=true HTTP/1.1\r\nHost: x\r\n\r\n")))
	f.Add([]byte(fill.Replace("HEAD $A HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS $A HTTP/1.1\r\nHost: " +
		"x\r\nOrigin: y\r\n\r\nGET /JWT/v1//help HTTP/1.0\r\n\r\n")))
	f.Add([]byte(fill.Replace("POST $A HTTP/1.1\r\nHost: x\r\nExpect: " +
		"100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\neyJ\r\n0\r\nX: y\r\n\r\n")))
	for _, row := range hostileRows {
		if len(row.send) < 10<<10 {
			f.Add([]byte(fill.Replace(row.send)))
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		for id := range env.store.tokens {
			delete(env.store.tokens, id)
		}
		env.forget()
		var methods []string
		var answers []byte
		synctest.Test(t, func(t *testing.T) { answers, methods = converse(env, sent) })
		checkAnswers(t, answers, methods)
		for id, token := range env.store.tokens {
			if id != a.ID || !bytes.Equal(token, valid) {
				t.Errorf("stored for %q: %q", id, token)
			}
		}
		for _, line := range env.log.kept {
			if strings.Contains(line, "panic") || len(line) > 2000 ||
				strings.ContainsAny(line, "\r\n\x00\x1b") {
				t.Errorf("log: %q", line)
			}
		}
	})
}

// converse gives the server of the program one connection. It returns what was answered, and the
// methods of the requests that reached the handler.
func converse(env *environment, sent []byte) (answers []byte, methods []string) {
	s := httpserver.NewHTTP(env.api, 5*time.Second, 5*time.Second, slog.New(env.log))
	inner := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		inner.ServeHTTP(w, r)
	})
	c := &wireConn{in: bytes.NewReader(sent), closed: make(chan struct{})}
	l := &oneConn{conns: make(chan net.Conn, 1), over: make(chan struct{})}
	l.conns <- c
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	<-c.closed
	_ = s.Close()
	<-done
	synctest.Wait()
	return c.out.Bytes(), methods
}

func checkAnswers(t *testing.T, answers []byte, methods []string) {
	t.Helper()
	for r := bufio.NewReader(bytes.NewReader(answers)); ; {
		if _, err := r.Peek(1); err == io.EOF {
			return
		}
		method := "GET"
		if len(methods) > 0 {
			method = methods[0]
		}
		answer, err := http.ReadResponse(r, &http.Request{Method: method})
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		switch {
		case err != nil:
			t.Fatalf("not an answer: %v in %q", err, answers)
		case answer.StatusCode == http.StatusContinue:
			continue
		case answer.StatusCode == http.StatusInternalServerError:
			t.Errorf("%d: %q", answer.StatusCode, answers)
		}
		methods = methods[min(1, len(methods)):]
	}
}

// wireConn is a client that has sent everything and then closed its half.
type wireConn struct {
	net.Conn // nil: only the methods below are called
	mu       sync.Mutex
	in       *bytes.Reader
	out      bytes.Buffer
	once     sync.Once
	closed   chan struct{}
}

func (c *wireConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.Read(p)
}

func (c *wireConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *wireConn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }
func (c *wireConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2,
		2), Port: 80}
}
func (c *wireConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2,
		1), Port: 1234}
}
func (c *wireConn) SetDeadline(time.Time) error      { return nil }
func (c *wireConn) SetReadDeadline(time.Time) error  { return nil }
func (c *wireConn) SetWriteDeadline(time.Time) error { return nil }

// oneConn is a listener with one connection.
type oneConn struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, errors.New("closed")
	}
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.over) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80} }
