package trust_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// header is that of a JWT of version 2, header1 that of version 1.
const (
	header  = `{"typ":"JWT","alg":"ed25519-nkey"}`
	header1 = `{"typ":"jwt","alg":"ed25519"}`
)

// TestAMistakeIsExplained has what people send instead of an account JWT, and what they are told.
func TestAMistakeIsExplained(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	good := string(o.Account(t, a))
	parts := strings.Split(good, ".")
	head, body, end := parts[0]+".", parts[1]+".", parts[2]
	decorated := "-----BEGIN NATS ACCOUNT JWT-----\n" + good +
		"\n------END NATS ACCOUNT JWT------\n"
	raw := func(header, claims string) string {
		return string(jwttest.EncodeRaw(t, o.Key, header, []byte(claims), true))
	}
	user, _ := jwttest.NewUser(t)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, hint string }{
		{"nothing", "", "it is empty"},
		{"gzip", "\x1f\x8b\x08", "gzip"},
		{"zstd", "\x28\xb5\x2f\xfd", "zstd"},
		{"UTF-16 with a mark", "\xff\xfee\x00", "UTF-16"},
		{"UTF-16 without one", "e\x00y\x00", "UTF-16"},
		{"a byte order mark", "\xef\xbb\xbf" + good, "byte order mark"},
		{"JSON", `{"jwt":1}`, "nsc describe account --raw"},
		{"a list", `["` + good + `"]`, "not a list"},
		{"an error page", "<html>", "HTML"},
		{"quotes", `"` + good + `"`, "quotes"},
		{"a form", "--x\r\nContent-Disposition: form-data; name=a\r\n", "curl -F"},
		{"decorated", decorated, "which can't be served"},
		{"decorated, without line ends", strings.ReplaceAll(decorated, "\n", ""), "line ends"},
		{"cut off between BEGIN and END", "-----BEGIN NATS ACC", "not as nsc writes them"},
		{"a file name", "account.jwt", "name of a file"},
		{"a key", a.ID, "it is a key"},
		{"two JWTs", good + "\n" + good, "2 JWTs"},
		{"white space", good[:100] + " " + good[100:], "white space within it, at byte 100"},
		{"a character that is none", "ey\x80", "byte 2 is 0x80"},
		{"two parts", head + parts[1], "this has 2"},
		{"padding", parts[0] + "=." + body + end, "its header ends with the padding"},
		{"the other base64", head + "+" + body + end, "its claims is written in the wrong"},
		{"another character", head + body + "!" + end, "its signature has the character '!'"},
		{"a part that is cut off", head + body + end[:85], "is cut off or damaged"},
		{"a header that is not JSON", raw("{", "{}"), "its header is not JSON"},
		{"claims that are not JSON", raw(header, "{"), "its claims are not JSON"},
		{"a header of another kind", raw(`{"typ":"x","alg":"y"}`, `{"nats":{"type":"account"}}`),
			`typ "x" and alg "y"`},
		{"another signature", string(jwttest.Flip([]byte(good))), "changed after it was signed"},
		{"an issuer that is a user", string(jwttest.Sign(t, user, a, time.Now())), "key of another kind"},
		{"an operator's", o.Token(t), "operatorjwtpath"},
		{"another type", raw(header, `{"nats":{"type":"other"}}`), `the type "other"`},
		{"a private key", string(seed), "private key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := trust.Operators{parse(t, o)}.Check(a.ID, []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("%v, want %q", err, c.hint)
			}
		})
	}
}

// TestAMemberOfTheWrongKindIsNamed although the decoder's error has the words of Go.
func TestAMemberOfTheWrongKindIsNamed(t *testing.T) {
	o := jwttest.NewOperator(t)
	for claims, want := range map[string]string{
		`{"iat":1.5}`:      "iat is 1.5: it must be a whole number",
		`{"iat":"now"}`:    "iat is string: it must be a whole number",
		`{"sub":[]}`:       `the member "sub" of the claims can't be a array`,
		`{"nats":{"x":1}}`: "not account claim",
	} {
		_, err := trust.Peek(jwttest.EncodeRaw(t, o.Key, header, []byte(claims), true))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", claims, err, want)
		}
	}
}

// TestAnErrorThatSaysAllIsNotExplained.
func TestAnErrorThatSaysAllIsNotExplained(t *testing.T) {
	o := jwttest.NewOperator(t)
	token, reason := o.Account(t, jwttest.NewAccount(t)), errors.New("the disk is full")
	if err := trust.Explain(token, reason); err.Error() != reason.Error() {
		t.Error(err)
	}
	newer := errors.New("claims of a newer version")
	if err := trust.Explain(token, newer); !strings.Contains(err.Error(), "versions 1 and 2") {
		t.Error(err)
	}
}

// TestHeadOfAnyKind: the issuer and the time of issue are read of any JWT, with space around it.
func TestHeadOfAnyKind(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	at := time.Unix(1_700_000_000, 0)
	token, _ := jwttest.Activation(t, a, jwttest.NewAccount(t), at)
	token = append(token, '\n')
	if issuer := trust.Issuer(token); issuer != a.ID {
		t.Errorf("issuer %s, not %s", issuer, a.ID)
	}
	if got, ok := trust.IssuedAt(token); got != at.Unix() || !ok {
		t.Errorf("issued at %d, %v", got, ok)
	}
	noJSON := jwttest.EncodeRaw(t, o.Key, header, []byte("{"), true)
	for _, bad := range [][]byte{nil, []byte("a.b"), noJSON} {
		if got, ok := trust.IssuedAt(bad); got != 0 || ok || trust.Issuer(bad) != "" {
			t.Errorf("%q has a head", bad)
		}
	}
}

// TestClaimsOfBothVersions: what was verified is decoded as the library decodes it.
func TestClaimsOfBothVersions(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	v1 := `{"jti":"x","iat":1600000000,"iss":"` + o.ID + `","name":"old","sub":"` + a.ID +
		`","type":"account","nats":{"limits":{}}}`
	tiered := `{"jti":"x","iat":1600000000,"iss":"` + o.ID + `","name":"old","sub":"` + a.ID +
		`","nats":{"type":"account","version":2,"limits":{"mem_storage":7,` +
		`"tiered_limits":{"R1":{"mem_storage":5}}}}}`
	for name, token := range map[string][]byte{
		"version 2": o.Account(t, a),
		"version 1": jwttest.EncodeRaw(t, o.Key, header1, []byte(v1), false),
		"tiers":     jwttest.EncodeRaw(t, o.Key, header, []byte(tiered), true),
	} {
		verified, err := trust.Verify(token, peeked(t, token))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		claims, err := trust.Claims(append(token, '\n'))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, _ := json.Marshal(claims)
		if want, _ := json.Marshal(verified); !bytes.Equal(got, want) {
			t.Errorf("%s: %s\n%s", name, got, want)
		}
	}
	if _, err := trust.Claims([]byte("a.b")); err == nil {
		t.Error("what has two parts has claims")
	}
}

// peeked returns the head of a JWT.
func peeked(t *testing.T, token []byte) trust.Head {
	t.Helper()
	head, err := trust.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// TestOnlyVersion1IsRespelled: the signature of version 2 covers the first part.
func TestOnlyVersion1IsRespelled(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	usual := jwttest.EncodeRaw(t, o.Key, header1, []byte("{}"), false)
	other := jwttest.EncodeRaw(t, o.Key, `{"typ":"jwt", "alg":"ed25519"}`, []byte("{}"), false)
	for name, c := range map[string]struct {
		token     []byte
		version   int
		respelled bool
	}{
		"version 2":                    {o.Account(t, a), 2, false},
		"version 1":                    {usual, 1, false},
		"version 1 with other spacing": {other, 1, true},
	} {
		if is := trust.IsRespelled(c.token, c.version); is != c.respelled {
			t.Errorf("%s: respelled %v", name, is)
		}
	}
}
