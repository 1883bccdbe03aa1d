package tools_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/tools"
)

// fake answers as an account server may. Each route is a beginning of "METHOD path?query", the longest
// counts; what has none is a 404.
type fake map[string]http.HandlerFunc

func (f fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	best := ""
	for route := range f {
		if strings.HasPrefix(r.Method+" "+r.URL.RequestURI(), route) && len(route) > len(best) {
			best = route
		}
	}
	if best == "" {
		http.NotFound(w, r)
		return
	}
	f[best](w, r)
}

// says answers with a status and a text.
func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

// client returns the Client of a fake.
func client(t *testing.T, f fake) *tools.Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := tools.NewClient(s.URL, tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// source returns a directory with the JWTs of as many accounts, and the key of one.
func source(t *testing.T, n int) (tools.Source, string) {
	t.Helper()
	op, dir, key := jwttest.NewOperator(t), t.TempDir(), ""
	for range n {
		a := jwttest.NewAccount(t)
		key = a.ID
		jwttest.File(t, dir, a.ID+".jwt", op.Account(t, a))
	}
	s, err := tools.Open(dir, tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func TestAnImportWaitsForABusyServer(t *testing.T) {
	t.Parallel()
	from, _ := source(t, 1)
	var asked atomic.Int32
	to := client(t, fake{"POST /jwt/v1/accounts/": func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			says(http.StatusServiceUnavailable, "too many")(w, r)
			return
		}
		says(http.StatusOK, "stored; acknowledged by 0 of 0\nwarning: an import\nwarning: another\n")(w, r)
	}})
	done, err := tools.Import(t.Context(), from, to, &tools.Progress{})
	if err != nil || done.Stored != 1 || len(done.Faults) != 0 || len(done.Warnings) != 2 {
		t.Errorf("%+v %v", done, err)
	}
	if asked.Load() != 2 {
		t.Errorf("it was asked %d times", asked.Load())
	}
	if w := done.Warnings[1].String(); !strings.HasSuffix(w, ".jwt: stored, but another") {
		t.Error(w)
	}
}

// Nothing counts as taken that was not, and the reason says so in a line.
func TestWhatAServerDoesNotTakeIsAFault(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		http.StatusConflict:            "409 Conflict: a newer JWT is stored; x\\x1b",
		http.StatusAccepted:            "202 Accepted: ",
		http.StatusInternalServerError: "500 Internal Server Error: ",
	} {
		from, _ := source(t, 3)
		to := client(t, fake{"POST /jwt/v1/accounts/": says(status, "a newer JWT is stored\nx\x1b\n")})
		done, err := tools.Import(t.Context(), from, to, &tools.Progress{})
		if err != nil || done.Stored+done.Same != 0 || len(done.Faults) != 3 ||
			!strings.Contains(done.Faults[0].String(), want) {
			t.Errorf("%d: %+v %v", status, done, err)
		}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed} {
		from, _ := source(t, 200)
		var asked atomic.Int32
		to := client(t, fake{"POST /jwt/v1/accounts/": func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(status)
		}})
		done, err := tools.Import(t.Context(), from, to, &tools.Progress{})
		if err == nil || done.Stored != 0 || len(done.Faults) != 0 || asked.Load() > 100 {
			t.Errorf("%d: %+v %v, asked %d times", status, done, err, asked.Load())
		}
	}
}

// A server that gives only a part in a pack, and does not list its accounts, is no whole source.
func TestAPackThatMayBeCutOffIsAnError(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	line := a.ID + "|" + string(op.Account(t, a))
	taken := func(f fake) (n int, err error) {
		err = client(t, f).Each(t.Context(), func(e tools.Entry) error {
			if e.Err == nil {
				n++
			}
			return nil
		})
		return n, err
	}
	whole := fake{"GET /jwt/v1/pack": says(200, line), "HEAD /jwt/v1/pack?max=2": says(200, "")}
	if n, err := taken(whole); n != 1 || err != nil {
		t.Error(n, err)
	}
	whole["HEAD /jwt/v1/pack?max=2"] = says(400, "")
	if n, err := taken(whole); n != 1 || err == nil || !strings.Contains(err.Error(), "maxreplicationpack") {
		t.Error(n, err)
	}
	// What is not in the pack is taken from the list.
	b := jwttest.NewAccount(t)
	whole["GET /accountz"] = says(200, `{"accounts": [{"account": "`+a.ID+`"}, {"account": "`+b.ID+`"}]}`)
	whole["GET /jwt/v1/accounts/"+b.ID] = says(200, string(op.Account(t, b)))
	if n, err := taken(whole); n != 2 || err != nil {
		t.Error(n, err)
	}
	whole["GET /jwt/v1/pack"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		says(200, line)(w, r)
	}
	if _, err := taken(whole); err == nil {
		t.Error("a pack that breaks off is whole")
	}
	whole["GET /jwt/v1/pack"] = says(403, "no")
	if _, err := taken(whole); err == nil || !strings.Contains(err.Error(), "403 Forbidden: no") {
		t.Error(err)
	}
}

func TestAURLHasNoSecretInItsErrors(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://u:secret@", "http://u:secret@%zz", "http://u:secret@h/path"} {
		_, err := tools.NewClient(url, tools.Access{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	c, err := tools.NewClient("http://u:secret@127.0.0.1:1", tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = c.Each(ctx, func(tools.Entry) error { return nil })
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(c.String(), "secret") {
		t.Error(err)
	}
}

// The newest JWT of an account counts for its exports, wherever it is.
func TestVerifyTakesExportsFromTheNewestJWT(t *testing.T) {
	t.Parallel()
	op, exporter, importer := jwttest.NewOperator(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	exports := func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Type: jwt.Stream, Subject: "a.>"}) }
	pack := exporter.ID + "|" + string(op.Account(t, exporter, exports)) + "\n" +
		importer.ID + "|" + string(op.Account(t, importer, func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Type: jwt.Stream, Subject: "a.b", Account: exporter.ID})
	})) + "\nnot a line\n"
	from, err := tools.Open(jwttest.File(t, t.TempDir(), "pack", []byte(pack)), tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := tools.Verify(t.Context(), from, nil, now, &tools.Progress{})
	if err != nil || found.Accounts != 2 || len(found.Faults) != 1 || found.Faults[0].Code != "damaged" {
		t.Errorf("%+v %v", found, err)
	}
}

// What a server has said of an import is asked again at the end: its exporter may have come later.
func TestAnImportAsksAgainForWhatWasMissing(t *testing.T) {
	t.Parallel()
	from, _ := source(t, 1)
	stored := says(http.StatusOK,
		"stored; x\nwarning: import of service \"a\" from B: gone\nwarning: another\n")
	for impact, want := range map[string][]string{
		`{"imports": [{"subject": "a"}]}`: {"stored, but another"},
		`{"imports": [{"account": "B", "type": "service", "subject": "a", "fault": "still gone"}]}`: {
			"stored, but another", `stored, but import of service "a" from B: still gone`},
		"not JSON": {"stored, but another", `stored, but import of service "a" from B: gone`},
	} {
		to := client(t, fake{"POST /jwt/v1/accounts/": stored,
			"GET /jwt/v1/accounts/": says(http.StatusOK, impact)})
		done, err := tools.Import(t.Context(), from, to, &tools.Progress{})
		var got []string
		for _, fault := range done.Warnings {
			got = append(got, fault.Reason)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q; %v", impact, got, want, err)
		}
	}
}

// A server that sends no more packs now is asked again, and not before it says.
func TestABusyServerIsAskedForItsPackAgainWhenItSays(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	line := a.ID + "|" + string(op.Account(t, a))
	var asked []time.Time
	c := client(t, fake{
		"GET /jwt/v1/pack": func(w http.ResponseWriter, r *http.Request) {
			if asked = append(asked, time.Now()); len(asked) == 1 {
				w.Header().Set("Retry-After", "1")
				says(http.StatusServiceUnavailable, "busy")(w, r)
				return
			}
			says(http.StatusOK, line)(w, r)
		},
		"HEAD /jwt/v1/pack?max=2": says(http.StatusOK, ""),
	})
	n := 0
	err := c.Each(t.Context(), func(tools.Entry) error { n++; return nil })
	if err != nil || n != 1 || len(asked) != 2 {
		t.Fatalf("%d entries, asked %d times: %v", n, len(asked), err)
	}
	if waited := asked[1].Sub(asked[0]); waited < time.Second {
		t.Errorf("it is asked again after %s", waited)
	}
}
