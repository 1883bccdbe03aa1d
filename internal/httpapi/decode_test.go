package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixed makes the same key pair each time, so that golden files and fuzz seeds stay true.
func fixed(t testing.TB, prefix nkeys.PrefixByte, n byte) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := nkeys.FromRawSeed(prefix, bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	id, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

// fixtures are the keys and tokens of the golden files.
type fixtures struct {
	op, exporter   nkeys.KeyPair
	opID, a, b     string
	v2, v1         string // activation tokens that a gives to b
	forged, nested string // the same with another signature; one within another
}

func newFixtures(t testing.TB) *fixtures {
	c := &fixtures{}
	c.op, c.opID = fixed(t, nkeys.PrefixByteOperator, 1)
	c.exporter, c.a = fixed(t, nkeys.PrefixByteAccount, 2)
	_, c.b = fixed(t, nkeys.PrefixByteAccount, 3)
	c.v2 = string(c.sign(t, c.exporter, `{"jti":"X7LL","iat":1795433158,"iss":"$A",`+
		`"name":"act <1>","sub":"$B","exp":1795519558,
		"nats":{"version":2,"type":"activation","kind":"stream","subject":"foo.>"}}`))
	c.v1 = string(jwttest.EncodeRaw(t, c.exporter, `{"typ":"jwt","alg":"ed25519"}`, c.words(
		`{"nats":{"type":"service","subject":"q"},"type":"activation","sub":"$B",`+
			`"name":"old","iss":"$A","iat":1575900000,"jti":"OLD"}`), false))
	c.nested = string(c.sign(t, c.exporter, `{"iss":"$A","sub":"$B","nats":{"version":2,`+
		`"type":"activation","kind":"stream","token":"$V1"}}`))
	c.forged = string(jwttest.Flip([]byte(c.v2)))
	return c
}

func (c *fixtures) words(text string) []byte {
	return []byte(strings.NewReplacer("$OP", c.opID, "$A", c.a, "$B", c.b, "$V2", c.v2, "$V1", c.v1,
		"$FORGED", c.forged, "$NESTED", c.nested).Replace(text))
}

func (c *fixtures) sign(t testing.TB, key nkeys.KeyPair, claims string) []byte {
	return jwttest.EncodeRaw(t, key, `{"alg":"ed25519-nkey","typ":"JWT"}`, c.words(claims), true)
}

var goldens = []struct{ name, claims string }{
	{"imports", `{"jti":"HSC3","iat":1795433158,"exp":1795440358,"nbf":1795433158,"iss":"$OP",` +
		`"name":"B <&>","sub":"$B","nats":{
		"imports":[{"name":"imp","subject":"foo.>","account":"$A","token":"$V2","type":"stream"},
			{"account":"$A","name":"the token comes last","token":"$V1"}],
		"limits":{"subs":-1,"data":9223372036854775807,"payload":9007199254740993,"wildcards":true},
		"default_permissions":{"pub":{},"sub":{}},"authorization":{},"type":"account","version":2}}`},
	{"dates", `{"iat":0,"exp":-86400,"nbf":1795433158,"nats":{"list":[{"iat":1},` +
		`{"exp":99999999999999999999},{"nbf":253402300800},
		{"exp":-9223372036854775808},{"exp":9223372036854775807},` +
		`{"iat":1.5},{"iat":1e3},{"iat":-0},{"iat":"1795433158"},
		{"iat":null},{"exp":[1795433158]},{"iats":1795433158}]}}`},
	{"tokens", `{"nats":{"a":{"token":"short"},"b":{"token":""},"c":{"token":"a.b.c"},"d":{"token":"$FORGED"},
		"e":{"token":7},"f":{"token":{"token":"x"}},"g":["token"],` +
		`"h":{"Token":"$V2"},"i":{"token":"$V2"},"j":{"token":"$NESTED"}},"token":"$V1"}`},
	{"oddities", `{"b":1e400,"a":0.10,"c":"\u2028\u0001\u00e9\ud800\"\\/","d":[],` +
		`"e":[[],{},[1,[true,false,null]]],"f":{},
		"":"no name","\n\u001b":"<script>","dup":1,"dup":2}`},
}

func TestDecodeGolden(t *testing.T) {
	c := newFixtures(t)
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			compare(t, g.name, decoded(t, c.sign(t, c.op, g.claims)))
		})
	}
}

func TestDecodeOfTheOperatorGolden(t *testing.T) {
	c := newFixtures(t)
	token := c.sign(t, c.op, `{"jti":"OPJ","iat":1795433158,"iss":"$OP","name":"OP",`+
		`"sub":"$OP","nats":{"type":"operator","version":2}}`)
	env := newEnvironment(t, func(o *httpapi.Options) { o.Operator = token })
	compare(t, "operator", ask(t, serve(t, env.api), "GET /jwt/v1/operator?decode=true"))
}

// decoded is the answer's text for an account with these bytes.
func decoded(t testing.TB, token []byte) string {
	env := newEnvironment(t)
	_, id := fixed(t, nkeys.PrefixByteAccount, 3)
	env.store.put(id, token)
	w := httptest.NewRecorder()
	env.api.ServeHTTP(w, httptest.NewRequest("GET", "/jwt/v1/accounts/"+id+"?decode=true", nil))
	if ct := w.Header().Get("Content-Type"); ct != "text/plain; charset=utf-8" && w.Code == 200 {
		t.Errorf("Content-Type: %s", ct)
	}
	if w.Code != 200 {
		return fmt.Sprintf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestWhatCannotBeDecodedIs500(t *testing.T) {
	enc := base64.RawURLEncoding.EncodeToString
	header := enc([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`))
	const (
		badHeader = "500 error unmarshalling account claim header\n"
		badClaim  = "500 error decoding account claim\n"
		badTokens = "500 error marshalling account tokens\n"
	)
	claims := func(text string) string { return header + "." + enc([]byte(text)) + ".AAAA" }
	nested := func(depth int, inner string) string {
		return `{"a":` + strings.Repeat("[", depth) + inner + strings.Repeat("]", depth) + "}"
	}
	for _, c := range []struct{ name, token, want string }{
		{"nothing", "", badHeader},
		{"one part", "x", badHeader},
		{"a header that is no base64", "%.e30.x", badHeader},
		{"a header that is no JSON", enc([]byte("x")) + ".e30.x", badHeader},
		{"a header that is a list", enc([]byte("[]")) + ".e30.x", badHeader},
		{"a header with a number as type", enc([]byte(`{"typ":1}`)) + ".e30.x", badHeader},
		{"a header alone", header, badClaim},
		{"two parts", header + ".e30", badClaim},
		{"four parts", header + ".e30.AAAA.AAAA", badClaim},
		{"only dots", strings.Repeat(".", 1<<20), badHeader},
		{"claims that are no base64", header + ".%.AAAA", badClaim},
		{"claims that are no JSON", claims("{"), badClaim},
		{"claims that are a list", claims("[]"), badClaim},
		{"claims that are null", claims("null"), badClaim},
		{"claims with something behind them", claims("{}{}"), badClaim},
		{"a signature that is no base64", header + ".e30.AA\x00A", badClaim},
		{"a line break within the signature", header + ".e30.AA\nAA", badClaim},
		{"more than a JWT may have", header + ".e30." + strings.Repeat("A", 1<<20), badClaim},
		{"lists within lists", claims(nested(5000, "")), badTokens},
		{"more lists within lists than are shown", claims(nested(64, "1")), badTokens},
		{"objects within objects beyond every bound",
			claims(strings.Repeat(`{"a":`, 50000)), badClaim},
		{"a long list deep inside",
			claims(nested(60, "1"+strings.Repeat(",1", 300000))), badTokens},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := decoded(t, []byte(c.token)); got != c.want {
				t.Errorf("gave %.200q, want %q", got, c.want)
			}
		})
	}
}

func TestDecodeShows64Levels(t *testing.T) {
	claims := []byte(`{"a":` + strings.Repeat("[", 62) + "[1]" + strings.Repeat("]", 62) + "}")
	got := decoded(t, []byte("e30."+base64.RawURLEncoding.EncodeToString(claims)+".AAAA"))
	if !strings.Contains(got, "\n"+strings.Repeat("    ", 64)+"1\n") {
		t.Errorf("gave %.200q", got)
	}
}

func TestDecodeShowsAJWTWhoseHeaderIsEmpty(t *testing.T) {
	want := "{\n    \"typ\": \"\",\n    \"alg\": \"\"\n}\n\r\n{}\n\r\nAAAA\n"
	if got := decoded(t, []byte("\r\ne30.e30.AAAA\r\n")); got != want {
		t.Errorf("gave %q", got)
	}
}

func TestDecodeDoesNotAskForTheSignature(t *testing.T) {
	c := newFixtures(t)
	token := jwttest.Flip(c.sign(t, c.op, `{"name":"B"}`))
	if got := decoded(t, token); !strings.Contains(got, `    "name": "B"`) {
		t.Errorf("gave %s", got)
	}
}
