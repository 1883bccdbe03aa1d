package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// hostileRows are requests that no honest client sends, and the statuses of all answers on their
// connection. $A is an account, $JWT its valid JWT, $LEN the length of that.
var hostileRows = []struct {
	name, send, want string
}{
	// This server must not see two requests where a proxy before it sees one.
	{"a length and chunks",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"two lengths",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: $LEN\r\n\r\n$JWT",
		"400"},
	{"a list of lengths",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 4, $LEN\r\n\r\n$JWT", "400"},
	{"a signed length", "POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: +$LEN\r\n\r\n$JWT", "400"},
	{"a negative length", "POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n$JWT", "400"},
	{"a hexadecimal length",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\n$JWT", "400"},
	{"a length beyond all",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
	{"10 GB", "POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\nx", "413"},
	{"chunks twice",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n0\r\n\r\n", "501"},
	{"an unknown coding",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"},
	{"a coding around chunks",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
	{"a blank before the colon",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
	{"a chunk beyond all",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
		"400"},
	{"a chunk that is none",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nx", "400"},
	{"a chunk without an end",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxGET /healthz " +
			"HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"a chunked body of HTTP/1.0",
		"POST $A HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n$HEXLEN\r\n$JWT\r\n0\r\n\r\n", "400"},
	{"a folded header", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", "200"},
	{"a folded coding",
		"POST $A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"},
	{"a header that begins folded", "GET /healthz HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n", "400"},
	{"bare line feeds", "GET /healthz HTTP/1.1\nHost: x\n\n", "200"},
	{"bare carriage returns", "GET /healthz HTTP/1.1\rHost: x\r\r", "400"},
	{"a carriage return in a header",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", "400"},
	{"a NUL in a header", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "400"},
	{"a NUL in a name", "GET /healthz HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n", "400"},
	{"no host", "GET /healthz HTTP/1.1\r\n\r\n", "400"},
	{"two hosts", "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
	{"a host of many", "GET /healthz HTTP/1.1\r\nHost: x y\r\n\r\n", "400"},

	{"a NUL in the path", "GET /jwt/v1/accounts/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"an escaped NUL", "GET /jwt/v1/accounts/%00 HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"an escape that is none", "GET /jwt/v1/accounts/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"half an escape", "GET /jwt/v1/accounts/% HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"dots", "GET /jwt/v1/accounts/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"escaped dots",
		"GET /jwt/v1/accounts/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"a whole URL", "GET http://elsewhere$A HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"a whole URL of a route", "GET http://elsewhere/healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
	{"a path without a slash", "GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"an authority", "CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"a path of 40 KiB", "GET /" + strings.Repeat("a", 40<<10) +
		" HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
	{"a path of 30 KiB", "GET /" + strings.Repeat("a", 30<<10) +
		" HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	{"a method of 30 KiB", strings.Repeat("A", 30<<10) +
		" /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
	{"a method that is none", "GE\x01T /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
	{"a header without an end", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a",
		40<<10), "431"},
	{"headers without an end", "GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n",
		7<<10), "431"},
	{"an expectation",
		"POST $A HTTP/1.1\r\nHost: x\r\nExpect: riches\r\nContent-Length: 1\r\n\r\nx", "417"},

	{"HTTP/0.9", "GET /healthz\r\n", "400"},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "404"},
	{"HTTP/3", "GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n", "505"},
	{"HTTP/1.2", "GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n", "200"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
	{"SSH", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "400"},
	{"NATS", "CONNECT {\"verbose\":false}\r\nPUB x 1\r\nx\r\n\r\n", "400"},
	{"nothing but line breaks", strings.Repeat("\r\n", 20<<10), "400"},
	{"zeros", strings.Repeat("\x00", 1000) + "\r\n\r\n", "400"},

	{"one after the other, past a refusal",
		"POST $A HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz" +
			"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nDELETE $A HTTP/1.1\r\nHost: x\r\n\r\nGET " +
			"/healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400 404 405 200"},
	{"a GET with a body",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 29\r\n\r\nGET /nowhere " +
			"HTTP/1.1\r\n\r\nxxxxGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200 200"},
}

// None of them is taken for another request, stores anything, or forges a line of the log.
func TestHostileRequests(t *testing.T) {
	for _, row := range hostileRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			env, a := newEnvironment(t), jwttest.NewAccount(t)
			token := string(env.op.Account(t, a))
			c := dial(t, timed(t, env, 700*time.Millisecond, 700*time.Millisecond))
			_, _ = io.WriteString(c,
				strings.NewReplacer("$A", "/jwt/v1/accounts/"+a.ID, "$JWT", token,
					"$HEXLEN", fmt.Sprintf("%x", len(token)), "$LEN",
					itoa(len(token))).Replace(row.send))
			if got := strings.Join(statuses(c), " "); got != row.want {
				t.Errorf("answered %q, want %q", got, row.want)
			}
			if len(env.store.tokens) > 0 {
				t.Error("something was stored")
			}
			for _, line := range env.log.lines("") {
				if len(line) > 2000 || strings.ContainsAny(line, "\r\n\x00") {
					t.Errorf("log: %d bytes, %.200q", len(line), line)
				}
			}
			if bad := append(env.log.lines("ERR"), env.log.lines("WRN")...); len(bad) > 1 {
				t.Errorf("log: %q", bad)
			}
		})
	}
}

// statuses reads every answer until the connection is closed.
func statuses(c io.Reader) (all []string) {
	r := bufio.NewReader(c)
	for {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return all
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		all = append(all, itoa(answer.StatusCode))
	}
}
