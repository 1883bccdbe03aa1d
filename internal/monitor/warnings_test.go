package monitor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// exports adds an export.
func exports(subject string, isPrivate bool) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: jwt.Subject(subject), Type: jwt.Stream, TokenReq: isPrivate})
	}
}

// imports adds an import.
func imports(from *jwttest.Account, subject, token string) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: from.ID, Subject: jwt.Subject(subject), Type: jwt.Stream,
			Token: token})
	}
}

func TestAPushIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	expired, _ := jwttest.Activation(t, b, a, time.Now(), func(c *jwt.ActivationClaims) {
		c.ImportSubject, c.Expires = "secret.>", time.Now().Add(-time.Hour).Unix()
	})
	claims := func(of *jwttest.Account, edits ...func(*jwt.AccountClaims)) *jwt.AccountClaims {
		parsed, err := jwt.DecodeAccountClaims(string(w.op.Account(t, of, edits...)))
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	w.pushOf(b, exports("open.>", false), exports("secret.>", true))
	w.pushOf(c, imports(b, "open.c", ""))
	before := claims(b, exports("open.>", false), exports("secret.>", true))
	dangling := imports(b, "closed.x", "")
	twice := func(c *jwt.AccountClaims) {
		imports(b, "open.a", "")(c)
		imports(b, "open.a", "")(c)
		c.Imports[0].LocalSubject, c.Imports[1].LocalSubject = "one", "two"
	}
	for _, row := range []struct {
		name           string
		stored, pushed *jwt.AccountClaims
		thorough       bool
		want           string // kinds
	}{
		{"what is exported", nil, claims(a, imports(b, "open.a", "")), false, ""},
		{"what is not", nil, claims(a, dangling), false, "dangling_import"},
		{"from an account that is not there", nil,
			claims(a, imports(jwttest.NewAccount(t), "x", "")), false, "dangling_import"},
		{"without a token", nil, claims(a, imports(b, "secret.a", "")), false,
			"private_import_without_token"},
		{"with an expired one", nil, claims(a, imports(b, "secret.a", string(expired))), false,
			"activation_expired"},
		{"of its own", nil, claims(a, exports("mine.>", false), imports(a, "mine.a", "")), false, ""},
		{"as it was", claims(a, dangling), claims(a, dangling), false, ""},
		{"as it was, looked at thoroughly", claims(a, dangling), claims(a, dangling), true,
			"dangling_import"},
		{"an export that is imported is gone", before, claims(b, exports("secret.>", true)), false,
			"breaks_importer"},
		{"one that is not imported is gone", before, claims(b, exports("open.>", false)), false, ""},
		{"it is narrower", before, claims(b, exports("open.c", false)), false, ""},
		{"it needs a token now", before, claims(b, exports("open.>", true)), false, "breaks_importer"},
		{"a stream is imported twice", nil, claims(a, twice), false, "dangling_import"},
		{"it expires in the year 2400", claims(a), claims(a, func(c *jwt.AccountClaims) {
			c.Expires = 13_569_465_600
		}), false, "incomplete"},
		{"something else has changed", before, claims(b, exports("open.>", false), exports("secret.>", true),
			func(c *jwt.AccountClaims) { c.Limits.Conn = 1 }), false, ""},
	} {
		var kinds []string
		for _, found := range w.monitor.Warnings(row.stored, row.pushed, row.thorough) {
			kinds = append(kinds, found.Kind)
			if strings.ContainsAny(found.Text, "\n\x1b") || found.Text == "" {
				t.Errorf("%s: %q", row.name, found.Text)
			}
		}
		if got := strings.Join(kinds, " "); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
