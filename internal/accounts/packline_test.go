package accounts_test

import (
	"testing"

	"nats-account-server/internal/accounts"
)

func TestPackLineRoundTrip(t *testing.T) {
	line := accounts.AppendPackLine([]byte("before "), "A1", []byte("x.y.z"))
	if string(line) != "before A1|x.y.z" {
		t.Errorf("the line is %q", line)
	}
	for _, c := range []struct {
		line, key, token string
		ok               bool
	}{
		{"A1|x.y.z", "A1", "x.y.z", true},
		{" A1|x.y.z\r\n", "A1", "x.y.z", true},
		{"A1|", "A1", "", true},
		{"|x", "", "x", true},
		{"A1", "A1", "", false},
		{"A1|x|y", "A1", "x|y", false},
		{"", "", "", false},
	} {
		key, token, ok := accounts.CutPackLine([]byte(c.line))
		if key != c.key || string(token) != c.token || ok != c.ok {
			t.Errorf("%q gives %q, %q, %v", c.line, key, token, ok)
		}
	}
}
