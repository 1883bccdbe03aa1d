package trust_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestABareJWTIsWhatStandsBetweenBeginAndEnd(t *testing.T) {
	const one, two = "eyJ.eyJ.abc", "eyJ.eyJ.d---e"
	begin, end := "-----BEGIN NATS ACCOUNT JWT-----\n", "\n------END NATS ACCOUNT JWT------\n"
	for _, c := range []struct{ name, text, want, err string }{
		{"bare", one, one, ""},
		{"bare, with space around it", " \r\n" + one + "\n\n", one, ""},
		{"decorated", begin + one + end, one, ""},
		{"decorated, with line ends of Windows",
			strings.ReplaceAll(begin+one+end, "\n", "\r\n"), one, ""},
		{"decorated, with a sentence before it", "The account:\n" + begin + one + end, one, ""},
		{"decorated, with an empty line", begin + "\n" + two + "\n" + end, two, ""},
		{"decorated in several lines", begin + "eyJ.\neyJ" + end, "eyJ.\neyJ", ""},
		{"two of them", begin + one + end + begin + two + end,
			begin + one + end + begin + two + end, "there are 2 JWTs"},
		{"without an end", begin + one, begin + one, ""},
		{"nothing", "", "", ""},
	} {
		got, err := trust.Bare([]byte(c.text))
		if want := c.want; strings.TrimSpace(string(got)) != strings.TrimSpace(want) ||
			(err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// A text with file names and sentences was said to have several JWTs in it.
func TestWordsWithTwoDotsAreNoJWTs(t *testing.T) {
	err := trust.Explain([]byte("see a.conf.old and b.tar.gz"), trust.ErrNotAccount)
	if err == nil || !strings.Contains(err.Error(), "there is white space within it") {
		t.Error(err)
	}
}

func TestNothingIsLeftOfATextWithAPrivateKey(t *testing.T) {
	a := jwttest.NewAccount(t)
	creds, _ := a.User(t)
	seed, err := a.Key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	token := string(jwttest.NewOperator(t).Account(t, a))
	for name, text := range map[string]string{
		"creds":                    string(creds),
		"a seed":                   string(seed),
		"a seed behind a JWT":      token + "\n" + string(seed) + "\n",
		"a seed in JSON":           `{"seed":"` + string(seed) + `"}`,
		"a seed that is not whole": "-----BEGIN ACCOUNT NKEY SEED-----\nSAAB\n",
		"a key of TLS": "-----BEGIN PRIVATE " +
			"KEY-----\nMC4C\n-----END PRIVATE KEY-----\n",
	} {
		if got, err := trust.Bare([]byte(text)); got != nil ||
			!errors.Is(err, trust.ErrPrivateKey) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := trust.Explain([]byte(text), trust.ErrNotAccount); !errors.Is(err,
			trust.ErrPrivateKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"a JWT":                      token,
		"a word as long as a seed":   strings.Repeat("S", 58),
		"a public key":               a.ID,
		"a seed with another letter": string(bytes.Replace(seed, []byte("SA"), []byte("SB"), 1)),
	} {
		if _, err := trust.Bare([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
