package auth_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/certtest"
)

// hash is a bcrypt hash at the lowest cost.
func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func chain(t testing.TB, p certtest.Pair) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Cert)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}

func pool(authorities ...*certtest.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range authorities {
		p.AppendCertsFromPEM(a.PEM)
	}
	return p
}

// TestWhoMayDoWhat is the rules as a table: what each visitor gets as a guest, as a reader and as a writer. An answer
// is a name, "" for anybody, or one of the refusals.
func TestWhoMayDoWhat(t *testing.T) {
	ours, foreign := certtest.New(t), certtest.New(t)
	users := []auth.User{
		{Name: "ops", Hash: hash(t, "right"), Role: auth.Writer},
		{Name: "nats", Hash: hash(t, "read:me"), Role: auth.Reader},
	}
	const unknown, wrong, forbidden = "!unknown", "!wrong", "!forbidden"
	open := auth.Rules{Users: users, Everybody: auth.Guest}
	closed := auth.Rules{Users: users}
	both := auth.Rules{Users: users, Roots: pool(ours), Certified: auth.Reader,
		Certificates: map[string]auth.Role{"deploy": auth.Writer, "mail@example.com": auth.Writer, "spiffe://x/y": auth.Writer}}
	named := both
	named.Certified, named.Certificates = auth.Nobody, map[string]auth.Role{"n1": auth.Reader, "deploy": auth.Writer}
	certs := auth.Rules{Roots: pool(ours), Certified: auth.Writer}

	with := func(edits ...func(*x509.Certificate)) auth.Visitor {
		return auth.Visitor{Certificates: chain(t, ours.Issue(t, edits...))}
	}
	header := func(h string) auth.Visitor { return auth.Visitor{Authorization: h} }
	password := func(u, p string) auth.Visitor { return header(basic(u, p)) }
	withBoth := func(v auth.Visitor, h string) auth.Visitor { v.Authorization = h; return v }
	client := certtest.Named("n1")

	for _, c := range []struct {
		name                  string
		rules                 auth.Rules
		visitor               auth.Visitor
		guest, reader, writer string
	}{
		{"nobody in particular, reads open", open, auth.Visitor{}, "", unknown, unknown},
		{"a writer, reads open", open, password("ops", "right"), "", "ops", "ops"},
		{"a wrong password does not matter where reads are open", open, password("ops", "x"), "", wrong, wrong},
		{"nobody in particular", closed, auth.Visitor{}, unknown, unknown, unknown},
		{"a writer", closed, password("ops", "right"), "ops", "ops", "ops"},
		{"a reader, with a colon in the password", closed, password("nats", "read:me"), "nats", "nats", forbidden},
		{"a wrong password", closed, password("ops", "wrong"), wrong, wrong, wrong},
		{"no password", closed, password("ops", ""), wrong, wrong, wrong},
		{"the hash is no password", closed, password("ops", users[0].Hash), wrong, wrong, wrong},
		{"somebody else's password", closed, password("nats", "right"), wrong, wrong, wrong},
		{"an unknown user", closed, password("root", "right"), wrong, wrong, wrong},
		{"an unknown user without a name", closed, password("", "right"), wrong, wrong, wrong},
		{"a user in another case", closed, password("OPS", "right"), wrong, wrong, wrong},
		{"another scheme", closed, header("Bearer abc"), unknown, unknown, unknown},
		{"the scheme in another case", closed, header("bASIC" + basic("ops", "right")[5:]), "ops", "ops", "ops"},
		{"no base64", closed, header("Basic !!"), unknown, unknown, unknown},
		{"no colon", closed, header("Basic b3Bz"), unknown, unknown, unknown},
		{"a header without end", closed, password("ops", strings.Repeat("x", 5000)), unknown, unknown, unknown},
		{"a certificate where none counts", closed, with(client), unknown, unknown, unknown},

		{"a certificate reads", both, with(client), "n1", "n1", forbidden},
		{"a named certificate writes", both, with(certtest.Named("deploy")), "deploy", "deploy", "deploy"},
		{"a name may be a DNS name", both, with(certtest.For("deploy")), "deploy", "deploy", "deploy"},
		{"a name may be a mail address", both, with(func(c *x509.Certificate) { c.EmailAddresses = []string{"mail@example.com"} }), "mail@example.com", "mail@example.com", "mail@example.com"},
		{"a name may be a URI", both, with(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/y"}} }), "spiffe://x/y", "spiffe://x/y", "spiffe://x/y"},
		{"a foreign certificate", both, auth.Visitor{Certificates: chain(t, foreign.Issue(t, certtest.Named("deploy")))}, unknown, unknown, unknown},
		{"an expired certificate", both, with(certtest.Named("deploy"), certtest.Expired), unknown, unknown, unknown},
		{"a server's certificate", both, with(certtest.Named("deploy"), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), unknown, unknown, unknown},
		{"a password instead", both, password("ops", "right"), "ops", "ops", "ops"},
		{"neither", both, auth.Visitor{}, unknown, unknown, unknown},
		{"a certificate that reads, and a writer's password", both, withBoth(with(client), basic("ops", "right")), "n1", "n1", "ops"},
		{"a certificate that reads, and a wrong password", both, withBoth(with(client), basic("ops", "x")), "n1", "n1", wrong},
		{"a foreign certificate and a password", both, auth.Visitor{Authorization: basic("nats", "read:me"), Certificates: chain(t, foreign.Issue(t))}, "nats", "nats", forbidden},
		{"a named reader", named, with(client), "n1", "n1", forbidden},
		{"a certificate that is not named, where readers are", named, with(certtest.Named("n2"), certtest.For("n3")), forbidden, forbidden, forbidden},
		{"only certificates", certs, with(client), "n1", "n1", "n1"},
		{"a password where only certificates are", certs, password("ops", "right"), unknown, unknown, unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			desk := auth.NewDesk(nil)
			guard := desk.Guard(c.rules)
			c.visitor.Address = "192.0.2.1:1234"
			for range 2 { // the second time it may be remembered
				if desk.Failures() > 0 {
					guard = auth.NewDesk(nil).Guard(c.rules) // not slowed down
				}
				for need, want := range map[auth.Role]string{auth.Guest: c.guest, auth.Reader: c.reader, auth.Writer: c.writer} {
					name, err := guard.Admit(t.Context(), c.visitor, need)
					switch {
					case errors.Is(err, auth.ErrUnknown):
						name = unknown
					case errors.Is(err, auth.ErrWrong):
						name = wrong
					case errors.Is(err, auth.ErrForbidden):
						name = forbidden
					case err != nil:
						name = err.Error()
					}
					if name != want {
						t.Errorf("role %d: %q, want %q", need, name, want)
					}
				}
			}
		})
	}
}

// A connection may be older than the authorities that count now.
func TestACertificateOfAnAuthorityThatWasTakenAwayCountsNoMore(t *testing.T) {
	old, next := certtest.New(t), certtest.New(t)
	desk := auth.NewDesk(nil)
	v := auth.Visitor{Certificates: chain(t, old.Issue(t))}
	if _, err := desk.Guard(auth.Rules{Roots: pool(old, next), Certified: auth.Reader}).Admit(t.Context(), v, auth.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := desk.Guard(auth.Rules{Roots: pool(next), Certified: auth.Reader}).Admit(t.Context(), v, auth.Reader); !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("after it was taken away: %v", err)
	}
}

func TestACertificateThatIsRememberedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certtest.New(t)
		guard := auth.NewDesk(nil).Guard(auth.Rules{Roots: pool(a), Certified: auth.Reader})
		v := auth.Visitor{Certificates: chain(t, a.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Minute) }))}
		for range 2 {
			if _, err := guard.Admit(t.Context(), v, auth.Reader); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute + time.Second)
		if _, err := guard.Admit(t.Context(), v, auth.Reader); !errors.Is(err, auth.ErrUnknown) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// The names under which others write bcrypt all mean the same.
func TestHashes(t *testing.T) {
	good := hash(t, "right")
	for _, version := range []string{"$2a$", "$2b$", "$2y$"} {
		h := version + good[4:]
		guard := auth.NewDesk(nil).Guard(auth.Rules{Users: []auth.User{{Name: "u", Hash: h, Role: auth.Reader}}})
		if _, err := guard.Admit(context.Background(), auth.Visitor{Authorization: basic("u", "right")}, auth.Reader); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}
