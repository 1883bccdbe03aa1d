package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// servePack serves n accounts of some size in bytes, with a limit for packs, and returns the lines
// of the whole pack. edit may change what is stored.
func servePack(t *testing.T, n, size, limit int,
	edit func(i int, token []byte) []byte) (s *httptest.Server, lines []string) {
	t.Helper()
	o := jwttest.NewOperator(t)
	trusted, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	store := jwtstore.NewMemory(false)
	for i := range n {
		a := jwttest.NewAccount(t)
		token := o.Account(t, a, func(c *jwt.AccountClaims) {
			c.Description = strings.Repeat("x", size)
		})
		if edit != nil {
			token = edit(i, token)
		}
		if _, err := store.Put(t.Context(), a.ID, "test", token, always); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(accounts.AppendPackLine(nil, a.ID, bytes.TrimSpace(token))))
	}
	slices.Sort(lines)
	registry := accounts.New(accounts.Options{
		Store: store, Committer: store, Announcer: &announcer{},
		Trust: accounts.Trust{Operators: trust.Operators{trusted}},
	})
	api := httpapi.New(httpapi.Options{Accounts: registry, MaxPack: limit})
	s = httptest.NewServer(recorded(t, api))
	t.Cleanup(s.Close)
	return s, lines
}

// always allows a JWT to be stored.
func always(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text := new(strings.Builder)
	if _, err := bufio.NewReader(r.Body).WriteTo(text); err != nil {
		t.Fatal(err)
	}
	contentType := r.Header.Get("Content-Type")
	if strings.Contains(url, "/pack") && r.StatusCode == http.StatusOK &&
		contentType != "text/plain" {
		t.Errorf("Content-Type %q", contentType)
	}
	return r.StatusCode, text.String()
}

func TestThePackAndItsLimit(t *testing.T) {
	s, lines := servePack(t, 5, 2000, 4, nil)
	for query, want := range map[string]string{
		"":         strings.Join(lines[:4], "\n"),
		"?max=2":   strings.Join(lines[:2], "\n"),
		"?max=4":   strings.Join(lines[:4], "\n"),
		"?max=-1":  strings.Join(lines[:4], "\n"),
		"?max=0":   "",
		"?max=5":   "bad max parameter \"5\", no more than 4 are allowed\n",
		"?max=ABC": "bad max parameter \"abc\"\n",
		"?max=9223372036854775807": "bad max parameter \"9223372036854775807\", no more than 4 " +
			"are allowed\n",
		"?max=9223372036854775808": "bad max parameter \"9223372036854775808\"\n",
	} {
		status, body := fetch(t, s.URL+"/jwt/v1/pack"+query)
		wantStatus := map[bool]int{true: 400, false: 200}[strings.HasPrefix(want, "bad")]
		if status != wantStatus || body != want {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
	for limit, want := range map[int]int{-1: 5, 0: 0} {
		s, lines := servePack(t, 5, 2000, limit, nil)
		for _, query := range []string{"", "?max=-1"} {
			if _, body := fetch(t, s.URL+"/jwt/v1/pack"+query); body != strings.Join(lines[:want],
				"\n") {
				t.Errorf("limit %d, %s: %q", limit, query, body)
			}
		}
	}
}

// No line has a line break within it.
func TestAPackHasOnlyWhatIsServed(t *testing.T) {
	s, lines := servePack(t, 3, 2000, -1, func(i int, token []byte) []byte {
		switch i {
		case 0:
			return []byte("no JWT")
		case 1:
			return append(token, "\r\n"...)
		}
		return token
	})
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasSuffix(l, "no JWT") })
	if _, body := fetch(t, s.URL+"/jwt/v1/pack"); body != strings.Join(lines, "\n") {
		t.Errorf("%q", body)
	}
}

// Its client gets no second pack meanwhile.
func TestAPackThatIsNotReadKeepsNoOtherRequestWaiting(t *testing.T) {
	// Together this is more than the system buffers for a client that does not read.
	s, lines := servePack(t, 100, 60_000, -1, nil)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(1)
	fmt.Fprintf(conn, "GET /jwt/v1/pack HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil { // it has begun
		t.Fatal(err)
	}
	key, _, _ := accounts.CutPackLine([]byte(lines[0]))
	began := time.Now()
	for range 100 {
		if status, _ := fetch(t, s.URL+"/jwt/v1/accounts/"+key); status != 200 {
			t.Fatal(status)
		}
	}
	t.Logf("a GET beside a pack takes %s", time.Since(began)/100)
	if status, _ := fetch(t, s.URL+"/jwt/v1/pack"); status != http.StatusTooManyRequests {
		t.Errorf("a second pack: %d", status)
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset: the server's write ends at once
	conn.Close()
}
