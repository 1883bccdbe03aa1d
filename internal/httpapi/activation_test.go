package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// published are the activation tokens that were announced.
type published []string

func (p *published) PublishActivation(t *activations.Token) bool {
	*p = append(*p, t.Issuer+" "+t.Key)
	return true
}

// Activations of stored accounts are stored, and served by their hash.
func TestActivationsOverHTTP(t *testing.T) {
	o := jwttest.NewOperator(t)
	trusted, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64 // seconds that the registry's clock is ahead
	store, published := jwtstore.NewMemory(true), &published{}
	now := func() time.Time { return time.Now().Add(time.Duration(clock.Load()) * time.Second) }
	registry := accounts.New(accounts.Options{Store: store, Committer: store,
		Announcer: &announcer{},
		Trust:     accounts.Trust{Operators: trust.Operators{trusted}}, Now: now})
	tokens := activations.New(activations.Options{Accounts: registry, Store: store,
		Connection: &announcer{},
		Publisher:  published, Now: now})
	web := httptest.NewServer(recorded(t,
		httpapi.New(httpapi.Options{Accounts: registry, Activations: tokens})))
	t.Cleanup(web.Close)
	exporter, importer, unknown := jwttest.NewAccount(t), jwttest.NewAccount(t),
		jwttest.NewAccount(t)
	signing, _ := nkeys.CreateAccount()
	user, _ := jwttest.NewUser(t)
	signingKey, _ := signing.PublicKey()
	account := o.Account(t, exporter, func(c *jwt.AccountClaims) { c.SigningKeys.Add(signingKey) })
	origin := accounts.Origin{Kind: accounts.KindHTTP}
	if _, err := registry.Put(t.Context(), exporter.ID, account, origin); err != nil {
		t.Fatal(err)
	}
	token := func(signer nkeys.KeyPair, at time.Time, edits ...func(*jwt.ActivationClaims)) []byte {
		token, _ := jwttest.ActivationBy(t, signer, importer, at, edits...)
		return token
	}
	issued := time.Now()
	good, hash := jwttest.Activation(t, exporter, importer, issued.Add(-time.Minute))
	send := func(body []byte) (int, string) {
		r, err := http.Post(web.URL+"/jwt/v1/activations", "", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(text)
	}
	stored := "stored; its hash is " + hash +
		", and it is served at /jwt/v1/activations/" + hash + "\n"
	const textBlocked = "The server was unable to update your account JWT. One more more " +
		"validation issues occurred.\n\t - "
	viaSigning := func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID }
	for _, c := range []struct {
		name   string
		token  []byte
		status int
		body   string
	}{
		{"nothing", nil, 400, "bad activation JWT in request\nexpected 3 chunks: it is empty: "},
		{"a line end within it (B6)", append(good[:len(good)-9:len(good)-9],
			append([]byte{'\n'}, good[len(good)-9:]...)...), 400,
			"bad activation JWT in request\nillegal line break at input byte " +
				"77: there is white space "},
		{"a large one", token(exporter.Key, issued,
			func(c *jwt.ActivationClaims) { c.Name = strings.Repeat("n", 16<<10) }), 413,
			"the activation JWT is larger than 16384 bytes\n"},
		{"a user's", token(user, issued), 400,
			"bad activation JWT in request\nunable to validate " +
				"expected prefixes - [account operator]: its iss is a key of another kind\n"},
		{"garbage", []byte("x"), 400, "bad activation JWT in request\n" + oneChunk + "\n"},
		{"an account's JWT", account, 400,
			"bad activation hash in request\nnot activation claim: it is " +
				"the JWT of an account: POST it to /jwt/v1/accounts/<account key>\n"},
		{"a broken signature", jwttest.Flip(good), 400,
			"bad activation JWT in request\nclaim failed V2 " +
				"signature verification: it was changed after "},
		{"of an account that is not stored", token(unknown.Key, issued), 400,
			"bad activation JWT Issuer in request\nthe account " + unknown.ID[:12] +
				" is not stored: push it first\n"},
		{"of the operator", token(o.Key, issued), 400,
			"bad activation JWT Issuer in request\nits iss is not "},
		{"for no account", token(exporter.Key, issued,
			func(c *jwt.ActivationClaims) { c.Subject = o.ID }), 400,
			"bad activation JWT Subject in request\nits sub is not the key of an account"},
		{"of a key that is not the account's", token(unknown.Key, issued, viaSigning), 400,
			"bad activation JWT Issuer in request\nit is no signing key of the account "},
		{"expired", token(exporter.Key, issued,
			func(c *jwt.ActivationClaims) { c.Expires = issued.Unix() - 10 }), 400,
			textBlocked + "claim is expired: its exp "},
		{"from the future", token(exporter.Key, issued.Add(time.Hour)), 400, ""},
		{"a good one", good, 200, stored},
		{"the same", good, 200, stored},
		{"an older one", token(exporter.Key, issued.Add(-time.Hour)), 409, ""},
		{"one of a signing key", token(signing, issued, viaSigning), 200, "stored; its hash is "},
	} {
		if status, body := send(c.token); status != c.status || !strings.HasPrefix(body, c.body) {
			t.Errorf("%s: %d %q", c.name, status, body)
		}
	}
	if len(*published) != 3 || (*published)[0] != exporter.ID+" "+hash ||
		!strings.HasPrefix((*published)[2], signingKey) {
		t.Errorf("announced: %q", *published)
	}
	for path, want := range map[string]string{
		hash: string(good), hash + "?text=true": string(good), hash[:52]: "No Matching JWT\n",
		exporter.ID:                      "No Matching JWT\n",
		strings.Repeat("A", 52) + "====": "No Matching JWT\n", "*": "No Matching JWT\n",
	} {
		if _, body := fetch(t, web.URL+"/jwt/v1/activations/"+path); body != want {
			t.Errorf("%s: %q", path, body)
		}
	}
	_, body := fetch(t, web.URL+"/jwt/v1/activations/"+hash+"?decode=true")
	if !strings.Contains(body, `"kind": "stream"`) {
		t.Errorf("decoded: %s", body)
	}
	if _, body := fetch(t, web.URL+"/jwt/v1/pack"); strings.Count(body, "|") != 0 &&
		strings.Contains(body, hash) {
		t.Errorf("the pack has %q", body)
	}
	get := func(query, tag string) (int, string) {
		request, _ := http.NewRequest(http.MethodGet,
			web.URL+"/jwt/v1/activations/"+hash+query, nil)
		if tag != "" {
			request.Header.Set("If-None-Match", tag)
		}
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode, r.Header.Get("Etag")
	}
	_, tag := get("?check=true", "")
	if status, _ := get("?notify=true", `"x", W/`+tag); status != 304 || len(*published) != 3 {
		t.Errorf("a known one: %d, %d announcements", status, len(*published))
	}
	issued = issued.Add(6 * time.Second) // the registry's clock
	clock.Store(6)
	for range 3 {
		if status, _ := get("?notify=true", ""); status != 200 {
			t.Errorf("notify: %d", status)
		}
	}
	if len(*published) != 4 {
		t.Errorf("announced: %q", *published)
	}
	for _, damaged := range [][]byte{[]byte("junk"), token(signing, issued, viaSigning), account} {
		if _, err := store.Put(t.Context(), hash, "hand", damaged, always); err != nil {
			t.Fatal(err)
		}
		if status, body := fetch(t, web.URL+"/jwt/v1/activations/"+hash); status != 500 ||
			body != "error loading JWT\n" {
			t.Errorf("damaged: %d %q", status, body)
		}
		status, body := fetch(t, web.URL+"/jwt/v1/activations/"+hash+"?text=true")
		if status != 200 || body != string(damaged) {
			t.Errorf("damaged, as text: %d %q", status, body)
		}
		if status, body := send(good); status != 200 {
			t.Errorf("it is not mended: %d %s", status, body)
		}
	}
	byOperator := map[string][]byte{"of version 2": token(o.Key, issued),
		"of version 1": jwttest.EncodeRaw(t, o.Key, `{"typ":"jwt","alg":"ed25519"}`,
			fmt.Appendf(nil,
				`{"jti":"X","iat":1600000000,"iss":%q,"name":"act","sub":%q,"type":"activation",
				"nats":{"subject":"foo","type":"stream"}}`, o.ID, importer.ID), false)}
	for name, body := range byOperator {
		r, err := http.Post(web.URL+"/jwt/v1/accounts/"+importer.ID, "",
			strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if _, err := registry.GetLocal(t.Context(), importer.ID); r.StatusCode != 400 ||
			!errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("B46: the operator's activation %s as an account's JWT: %d, %v", name,
				r.StatusCode, err)
		}
	}
	if status, _ := fetch(t, web.URL+"/jwt/v1/accounts/"+hash); status != 404 {
		t.Errorf("as an account: %d", status)
	}
	if status, _ := fetch(t, web.URL+"/jwt/v1/activations"); status != 405 {
		t.Errorf("GET without a hash: %d", status)
	}
}

// The line names no hash: it says nothing to people. There is no account whose key it could have.
func TestTheLogTellsARefusedTokenFromAnAccount(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	env.put(t, a)
	token, _ := jwttest.ActivationBy(t, a.Key, env.other, time.Now(),
		func(c *jwt.ActivationClaims) { c.Expires = 1 })
	address := serve(t, env.api)
	got := ask(t, address, "POST /jwt/v1/activations\n\n"+string(token))
	if !strings.HasPrefix(got, "400 Bad Request") {
		t.Error(got)
	}
	const want = "[ERR] attempt to store an activation token with blocking validation errors - " +
		"claim is expired"
	if lines := env.log.lines("ERR"); len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
		t.Errorf("%q", lines)
	}
}
