package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// forget drops what is recorded, so that long fuzzing takes no more and more memory.
func (env *environment) forget() {
	env.log.kept, env.store.asked, env.audit.events = nil, nil, nil
}

// FuzzDecode renders any bytes, as a whole JWT and as the claims of one. The result is the decoded
// view, or one of three refusals.
func FuzzDecode(f *testing.F) {
	c := newFixtures(f)
	for _, g := range goldens {
		f.Add(c.sign(f, c.op, g.claims))
		f.Add(c.words(g.claims))
	}
	f.Add([]byte(c.v1))
	f.Add([]byte("..."))
	f.Add([]byte(`{"a":[[[[{"iat":1e99,"token":"\ud800"}]]]]}`))
	env := newEnvironment(f)
	_, id := fixed(f, nkeys.PrefixByteAccount, 3)
	f.Fuzz(func(t *testing.T, data []byte) {
		enc := base64.RawURLEncoding.EncodeToString
		for _, token := range []string{string(data), "e30." + enc(data) + ".AAAA"} {
			env.forget()
			env.store.put(id, []byte(token))
			w := httptest.NewRecorder()
			env.api.ServeHTTP(w,
				httptest.NewRequest("GET", "/jwt/v1/accounts/"+id+"?decode=true", nil))
			checkDecoded(t, token, w.Code, w.Body.String())
		}
	})
}

func checkDecoded(t *testing.T, token string, status int, body string) {
	t.Helper()
	switch {
	case status == 500 && (body == "error unmarshalling account claim header\n" ||
		body == "error decoding account claim\n" || body == "error marshalling account tokens\n"):
	case status != 200:
		t.Errorf("%d %q for %q", status, body, token)
	case !utf8.ValidString(body), strings.Count(body, "\n\r\n") != 2, !strings.HasSuffix(body,
		"\n"), len(body) > 8<<20:
		t.Errorf("%q for %q", body, token)
	}
}

// fixedEnvironment has the same operator and account in every process that fuzzes.
func fixedEnvironment(t testing.TB) (env *environment, a *jwttest.Account, valid []byte) {
	t.Helper()
	env = newEnvironment(t)
	env.op.Key, env.op.ID = fixed(t, nkeys.PrefixByteOperator, 1)
	env.op.Claims.Subject, env.op.Claims.SigningKeys = env.op.ID, nil
	op, err := trust.Parse([]byte(env.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	env.registry.SetTrust(accounts.Trust{Operators: trust.Operators{op}})
	a = &jwttest.Account{}
	a.Key, a.ID = fixed(t, nkeys.PrefixByteAccount, 3)
	return env, a, jwttest.Sign(t, env.op.Key, a, time.Unix(1700000000, 0))
}

// FuzzPost sends any body to any key. Nothing but the one valid JWT is stored, and every refusal is
// a 400 or a 409.
func FuzzPost(f *testing.F) {
	env, a, valid := fixedEnvironment(f)
	c := newFixtures(f)
	f.Add(a.ID, valid)
	f.Add(a.ID, append([]byte("\r\n"), valid...))
	f.Add(a.ID, jwttest.Flip(valid))
	f.Add(a.ID, append(bytes.Clone(valid), '='))
	f.Add(a.ID, []byte(c.v1))
	f.Add("junk", valid)
	f.Add("x y\r\nPUB z", []byte("..\n."))
	for _, g := range goldens {
		f.Add(c.b, c.sign(f, c.op, g.claims))
	}
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		if key == "" || strings.Contains(key, "/") {
			return // another route
		}
		env.forget()
		r := httptest.NewRequest("POST", "/jwt/v1/accounts/x", bytes.NewReader(body))
		r.URL.Path = "/jwt/v1/accounts/" + key
		w := httptest.NewRecorder()
		env.api.ServeHTTP(w, r)
		isValid := key == a.ID && bytes.Equal(bytes.TrimSpace(body), valid)
		// 409: one that is older is refused before its signature is looked at.
		isRefused := w.Code == http.StatusBadRequest || w.Code == http.StatusConflict
		if (w.Code == http.StatusOK) != isValid || !isValid && !isRefused {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		for id, token := range env.store.tokens {
			if id != a.ID || !bytes.Equal(token, valid) {
				t.Errorf("stored for %q: %q", id, token)
			}
		}
	})
}

// FuzzRoute asks for any path in any way. No answer is a 5xx but the one for jti, the store is
// given account keys only, and a redirect leads to a route.
func FuzzRoute(f *testing.F) {
	env, a, valid := fixedEnvironment(f)
	env.store.put(a.ID, valid)
	for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD"} {
		for _, r := range append(append([]row{}, readRows...), routeRows...) {
			target, _, _ := strings.Cut(r.send[strings.IndexByte(r.send, ' ')+1:], "\n")
			f.Add(method, strings.ReplaceAll(target, "$A", a.ID), "h")
		}
	}
	f.Fuzz(func(t *testing.T, method, target, host string) {
		env.forget()
		w := route(env.api, method, target, host)
		if w == nil {
			return
		}
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Fatalf("%s %s: %d %q", method, target, w.Code, w.Body)
		}
		to := w.Header().Get("Location")
		if to == "" {
			return
		}
		_, err := url.ParseRequestURI(to)
		if err != nil || (!strings.HasPrefix(to, "/jwt/v1/") &&
			!strings.HasPrefix(to, "/healthz")) {
			t.Fatalf("%s %s leads to %s", method, target, to)
		}
		next := route(env.api, method, to, "h")
		if next == nil || next.Header().Get("Location") != "" || next.Code == 405 {
			t.Errorf("%s %s leads to %s, and no farther", method, target, to)
		}
	})
}

// route requests target. It returns nil if net/http does not pass such a request on.
func route(h http.Handler, method, target, host string) *httptest.ResponseRecorder {
	raw := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil
	}
	r.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
