package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// badInput is what people send instead of an account's JWT. token is a good one of the account.
type badInput struct {
	name string
	make func(t *testing.T, op *jwttest.Operator, a *jwttest.Account, token string) string
	why  string
}

// edited is made of a good JWT.
func edited(edit func(token string) string) func(*testing.T, *jwttest.Operator, *jwttest.Account,
	string) string {
	return func(_ *testing.T, _ *jwttest.Operator, _ *jwttest.Account, token string) string {
		return edit(token)
	}
}

// claims is signed by the operator, with these claims and this header. $O is the operator, $A the
// account.
func claims(
	header, text string,
) func(*testing.T, *jwttest.Operator, *jwttest.Account, string) string {
	return func(t *testing.T, op *jwttest.Operator, a *jwttest.Account, _ string) string {
		text := strings.NewReplacer("$O", op.ID, "$A", a.ID).Replace(text)
		return string(jwttest.EncodeRaw(t, op.Key, header, []byte(text), true))
	}
}

const (
	natsHeader = `{"typ":"JWT","alg":"ed25519-nkey"}`
	ofAccount  = `"iss":"$O","sub":"$A","name":"x","nats":{"type":"account","version":2}}`
)

var badInputs = []badInput{
	{"nothing", edited(func(string) string { return "" }), "it is empty: send the JWT"},
	{"gzip", edited(func(token string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(token))
		_ = w.Close()
		return b.String()
	}), "it is compressed with gzip: send it as it is"},
	{"UTF-16", edited(func(token string) string {
		b := []byte{0xff, 0xfe}
		for _, unit := range utf16.Encode([]rune(token)) {
			b = append(b, byte(unit), byte(unit>>8))
		}
		return string(b)
	}), "it is UTF-16, as PowerShell writes a file: save it as ASCII"},
	{"a byte order mark", edited(func(token string) string { return "\ufeff" + token }),
		"it begins with a byte order mark"},
	{"the padding of base64", edited(func(token string) string { return token + "==" }),
		"its signature ends with the padding of base64"},
	{"the other base64", edited(func(token string) string {
		parts := strings.Split(token, ".")
		return parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43)
	}), "its signature is written in the wrong base64: a JWT has - and _ for + and /"},
	{"a foreign character", edited(func(token string) string {
		return token[:40] + "!" + token[41:]
	}),
		"has the character '!', which no JWT has"},
	{"line breaks within", edited(func(token string) string {
		return token[:64] + "\r\n" + token[64:]
	}),
		"there is white space within it, at byte 64"},
	{"two JWTs", edited(func(token string) string { return token + "\n" + token }),
		"there are 2 JWTs in it: put each into a file or a request of its own"},
	{"two decorated JWTs", edited(func(token string) string {
		return decorated(token) + decorated(token)
	}),
		"there are 2 JWTs in it: put each into a file or a request of its own"},
	{"a JWT that is cut off", edited(func(token string) string { return token[:len(token)-90] }),
		"a JWT has three parts with dots between, and this has 2"},
	{"a decorated JWT that is cut off", edited(func(token string) string {
		return strings.TrimSuffix(decorated(token), "------END NATS ACCOUNT JWT------\n")
	}), "its lines BEGIN and END are not as nsc writes them: it may be cut off"},
	{"a decorated JWT as curl -d sends it", edited(func(token string) string {
		return strings.ReplaceAll(decorated(token), "\n", "")
	}), "its line ends are missing, which curl -d takes away: use curl --data-binary @account.jwt"},
	{"JSON", edited(func(string) string { return `{"sub": "x"}` }),
		"it is JSON: send the JWT itself"},
	{"HTML", edited(func(string) string { return "<html><title>Login</title></html>" }),
		"it is HTML or XML: it may be the error page of a server between"},
	{"a form", edited(func(token string) string {
		return "--------------------------1\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n" +
			token
	}), "it is a form, as curl -F sends one"},
	{"the name of a file", edited(func(string) string { return "account.jwt" }),
		"it is the name of a file"},
	{"quotes", edited(func(token string) string { return `"` + token + `"` }),
		"there are quotes around it"},
	{"a changed JWT", edited(func(token string) string {
		return string(jwttest.Flip([]byte(token)))
	}),
		"claim failed V2 signature verification: it was changed after it was signed"},
	{"a fraction in iat", claims(natsHeader, `{"iat":1795433158.5,"exp":1795433158,`+ofAccount),
		"iat is 1795433158.5: it must be a whole number, the seconds since 1970"},
	{"a text in iat", claims(natsHeader, `{"iat":"now",`+ofAccount),
		"iat is string: it must be a whole number, the seconds since 1970"},
	{"an iat below zero", claims(natsHeader, `{"iat":-5,`+ofAccount),
		"its iat is -5, which is before 1970: issue it anew, with a clock that is right"},
	{"another algorithm", claims(`{"typ":"JWT","alg":"RS256"}`, `{"iat":5,`+ofAccount),
		`its header has typ "JWT" and alg "RS256": one of NATS has "JWT" and "ed25519-nkey"`},
	{"another type", claims(`{"typ":"at+jwt","alg":"ed25519-nkey"}`, `{"iat":5,`+ofAccount),
		`its header has typ "at+jwt"`},
	{"a newer version", claims(natsHeader,
		`{"iat":5,"iss":"$O","sub":"$A","nats":{"type":"account","version":3}}`),
		"this program knows the versions 1 and 2"},
	{"claims that are no JSON", edited(func(token string) string {
		parts := strings.Split(token, ".")
		return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("{x")) + "." + parts[2]
	}), "its claims are not JSON: it is cut off or damaged"},
	{"the JWT of a user", func(t *testing.T, _ *jwttest.Operator,
		a *jwttest.Account, _ string) string {
		creds, _ := a.User(t)
		token, err := jwt.ParseDecoratedJWT(creds)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}, "it is the JWT of a user, which no server keeps"},
	{"the JWT of an operator",
		func(t *testing.T, op *jwttest.Operator, _ *jwttest.Account, _ string) string {
			return op.Token(t)
		}, "it is the JWT of an operator, which belongs in operatorjwtpath"},
	{"creds", func(t *testing.T, _ *jwttest.Operator, a *jwttest.Account, _ string) string {
		creds, _ := a.User(t)
		return string(creds)
	}, "there is a private key in it, which no server may have"},
	{"a seed behind the JWT", func(
		t *testing.T, _ *jwttest.Operator, a *jwttest.Account, token string,
	) string {
		seed, err := a.Key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return token + "\n" + string(seed) + "\n"
	}, "there is a private key in it, which no server may have"},
}

// decorated is a JWT as nsc writes it into a file.
func decorated(token string) string {
	return "-----BEGIN NATS ACCOUNT JWT-----\n" + token + "\n------END NATS ACCOUNT JWT------\n"
}

// seeds are private keys of accounts and users.
var seeds = regexp.MustCompile(`S[AU][A-Z2-7]{56}`)

// TestEveryWayInSaysWhyItRefuses sends the mistakes that people make to every way in. Each is told
// what is wrong, and no private key is stored or logged.
func TestEveryWayInSaysWhyItRefuses(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	folder := filepath.Join(s.dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{} // by key: why it is not served
	for _, bad := range badInputs {
		a := jwttest.NewAccount(t)
		body := bad.make(t, s.op, a, string(s.op.Account(t, a)))
		wantWhy := func(way, got string) {
			if !strings.Contains(got, bad.why) || strings.Count(got, "\n") > 2 {
				t.Errorf("%s, %s: %q, want %q", bad.name, way, got, bad.why)
			}
		}
		for path, first := range map[string]string{
			"accounts/" + a.ID: "bad JWT in request\n", "activations": "bad activation ",
		} {
			status, text := post(http.DefaultClient, url+"/jwt/v1/"+path, []byte(body))
			if status != http.StatusBadRequest || !strings.HasPrefix(text, first) {
				t.Errorf("%s: %d %q", bad.name, status, text)
			}
			// As an activation token, an account's JWT has other faults.
			if path != "activations" || !strings.Contains(bad.name, "iat") {
				wantWhy(path, text)
			}
		}
		// Only the first of these subjects names the account.
		got := ours(t, nc, "$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.UPDATE", []byte(body))
		const refused = "jwt update resulted in error - bad JWT in request: "
		if got.Error == nil || !strings.HasPrefix(got.Error.Description, refused) {
			t.Errorf("%s: %s", bad.name, got.Data)
			continue
		}
		wantWhy("NATS", got.Error.Description)
		jwttest.File(t, folder, a.ID+".jwt", []byte(body))
		if !strings.Contains(bad.name, "iat below") { // a file may have any date
			files[a.ID] = bad.why
		}
		// What stands in the store, where another program has put it, is not served.
		dir := filepath.Join(s.dir, "store", a.ID[54:])
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, dir, a.ID+".jwt", []byte(body))
		for _, query := range []string{"", "?text=true", "?decode=true"} {
			_, text := get(t, url+"/jwt/v1/accounts/"+a.ID+query)
			wantNoSeed(t, bad.name+query, []byte(text))
		}
		if err := os.Remove(filepath.Join(dir, a.ID+".jwt")); err != nil {
			t.Fatal(err)
		}
	}
	p.term()
	wantNoSeed(t, "the log", []byte(p.log.String()))
	wantNoSeedIn(t, filepath.Join(s.dir, "store"))

	reader := start(t, s.dir, nil, "-operator", "op.jwt", "-dir", "folder", "-ro",
		"-hp", "127.0.0.1:0")
	reader.url() // by now it has read all of them
	for key, why := range files {
		want := regexp.MustCompile(key + `\.jwt is not served - bad JWT in request: .*` +
			regexp.QuoteMeta(why))
		if !want.MatchString(reader.log.String()) {
			t.Errorf("it does not log %q", want)
		}
	}
	reader.term()
	wantNoSeed(t, "the log", []byte(reader.log.String()))
}

// wantNoSeedIn looks into every file of a directory.
func wantNoSeedIn(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		wantNoSeed(t, path, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wantNoSeed(t *testing.T, where string, text []byte) {
	t.Helper()
	if found := seeds.Find(text); found != nil {
		t.Errorf("%s has a private key", where)
	}
}

// TestADecoratedJWTIsStoredBare, whichever way it comes.
func TestADecoratedJWTIsStoredBare(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	ofA, ofB := string(s.op.Account(t, a)), string(s.op.Account(t, b))
	mustPush(t, url, a.ID, []byte(strings.ReplaceAll(decorated(ofA), "\n", "\r\n")))
	if got := ours(t, nc, "$SYS.REQ.CLAIMS.UPDATE", []byte(decorated(ofB))); got.Error != nil {
		t.Errorf("over NATS: %s", got.Data)
	}
	token, hash := jwttest.Activation(t, a, b, time.Now())
	status, body := post(http.DefaultClient, url+"/jwt/v1/activations",
		[]byte(decorated(string(token))))
	if status != http.StatusOK || !strings.Contains(body, "/jwt/v1/activations/"+hash+"\n") {
		t.Errorf("%d %q", status, body)
	}
	for path, want := range map[string]string{
		"accounts/" + a.ID: ofA, "accounts/" + b.ID: ofB, "activations/" + hash: string(token),
	} {
		if status, body := get(t, url+"/jwt/v1/"+path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	p.term()
	for _, key := range []string{a.ID, b.ID} {
		stored, err := os.ReadFile(filepath.Join(s.dir, "store", key[54:], key+".jwt"))
		if want := map[string]string{a.ID: ofA, b.ID: ofB}[key]; err != nil ||
			string(stored) != want {
			t.Errorf("stored is %q, %v", stored, err)
		}
	}
	folder := filepath.Join(s.dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, folder, a.ID+".jwt", []byte(decorated(ofA)))
	reader := start(t, s.dir, nil, "-operator", "op.jwt", "-dir", "folder", "-ro",
		"-hp", "127.0.0.1:0")
	status, body = get(t, fmt.Sprintf("%s/jwt/v1/accounts/%s", reader.url(), a.ID))
	if status != http.StatusOK || body != ofA {
		t.Errorf("from a file: %d %q", status, body)
	}
	reader.term()
}
