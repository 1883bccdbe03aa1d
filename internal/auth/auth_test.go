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

// TestWhoMayDoWhat is the policy as a table: what each client gets for what an anonymous one, a
// reader and a writer may do. An answer is a name, "" if none is needed, or one of the refusals.
func TestWhoMayDoWhat(t *testing.T) {
	ours, foreign := certtest.New(t), certtest.New(t)
	long := strings.Repeat("x", 72) // as much as bcrypt reads
	users := []auth.User{
		{Name: "ops", Hash: hash(t, "right"), Role: auth.Writer},
		{Name: "nats", Hash: hash(t, "read:me"), Role: auth.Reader},
		{Name: "long", Hash: hash(t, long), Role: auth.Writer},
	}
	const unknown, wrong, forbidden = "!unknown", "!wrong", "!forbidden"
	open := auth.Policy{Users: users, WithoutCredentials: auth.Anonymous}
	closed := auth.Policy{Users: users}
	both := auth.Policy{Users: users, Roots: pool(ours), OtherCertificates: auth.Reader,
		Certificates: map[string]auth.Role{"deploy": auth.Writer, "m@example.com": auth.Writer,
			"spiffe://x/y": auth.Writer}}
	named := both
	named.OtherCertificates, named.Certificates = auth.Unauthenticated,
		map[string]auth.Role{"n1": auth.Reader, "deploy": auth.Writer}
	certs := auth.Policy{Roots: pool(ours), OtherCertificates: auth.Writer}

	with := func(edits ...func(*x509.Certificate)) auth.Credentials {
		return auth.Credentials{Certificates: chain(t, ours.Issue(t, edits...))}
	}
	header := func(h string) auth.Credentials { return auth.Credentials{Authorization: h} }
	password := func(u, p string) auth.Credentials { return header(basic(u, p)) }
	withBoth := func(v auth.Credentials, h string) auth.Credentials {
		v.Authorization = h
		return v
	}
	foreignCert := func(h string) auth.Credentials {
		return auth.Credentials{Authorization: h, Certificates: chain(t,
			foreign.Issue(t, certtest.OnlyNamed("deploy")))}
	}
	client, deploy := certtest.OnlyNamed("n1"), certtest.OnlyNamed("deploy")
	mail := func(c *x509.Certificate) { c.EmailAddresses = []string{"m@example.com"} }
	uri := func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/y"}}
	}
	forServers := func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }

	for _, c := range []struct {
		name                      string
		policy                    auth.Policy
		credentials               auth.Credentials
		anonymous, reader, writer string
	}{
		{"no credentials, reads open", open, auth.Credentials{}, "", unknown, unknown},
		{"a writer, reads open", open, password("ops", "right"), "", "ops", "ops"},
		{"a wrong password does not matter where reads are open", open,
			password("ops", "x"), "", wrong, wrong},
		{"no credentials", closed, auth.Credentials{}, unknown, unknown, unknown},
		{"a writer", closed, password("ops", "right"), "ops", "ops", "ops"},
		{"a reader, with a colon in the password", closed,
			password("nats", "read:me"), "nats", "nats", forbidden},
		{"a wrong password", closed, password("ops", "wrong"), wrong, wrong, wrong},
		{"no password", closed, password("ops", ""), wrong, wrong, wrong},
		{"the hash is no password", closed, password("ops", users[0].Hash), wrong, wrong, wrong},
		{"a password of 72 bytes", closed, password("long", long), "long", "long", "long"},
		{"a password of 73 bytes", closed, password("long", long+"x"), wrong, wrong, wrong},
		{"a password that is repeated", closed, password("ops", "right\x00right"),
			wrong, wrong, wrong},
		{"another user's password", closed, password("nats", "right"), wrong, wrong, wrong},
		{"an unknown user", closed, password("root", "right"), wrong, wrong, wrong},
		{"an unknown user without a name", closed, password("", "right"), wrong, wrong, wrong},
		{"a user in another case", closed, password("OPS", "right"), wrong, wrong, wrong},
		{"another scheme", closed, header("Bearer abc"), unknown, unknown, unknown},
		{"the scheme in another case", closed,
			header("bASIC" + basic("ops", "right")[5:]), "ops", "ops", "ops"},
		{"no base64", closed, header("Basic !!"), unknown, unknown, unknown},
		{"no colon", closed, header("Basic b3Bz"), unknown, unknown, unknown},
		{"a header without end", closed,
			password("ops", strings.Repeat("x", 5000)), unknown, unknown, unknown},
		{"a certificate where none counts", closed, with(client), unknown, unknown, unknown},

		{"a certificate reads", both, with(client), "n1", "n1", forbidden},
		{"a named certificate writes", both, with(deploy), "deploy", "deploy", "deploy"},
		{"a name may be a DNS name", both, with(certtest.For("deploy")), "deploy",
			"deploy", "deploy"},
		{"a name may be a mail address", both, with(mail), "m@example.com",
			"m@example.com", "m@example.com"},
		{"a name may be a URI", both, with(uri), "spiffe://x/y", "spiffe://x/y", "spiffe://x/y"},
		{"a foreign certificate", both, foreignCert(""), unknown, unknown, unknown},
		{"an expired certificate", both, with(deploy, certtest.Expired), unknown, unknown, unknown},
		{"a server's certificate", both, with(deploy, forServers), unknown, unknown, unknown},
		{"a password instead", both, password("ops", "right"), "ops", "ops", "ops"},
		{"neither", both, auth.Credentials{}, unknown, unknown, unknown},
		{"a certificate that reads, and a writer's password", both,
			withBoth(with(client), basic("ops", "right")), "n1", "n1", "ops"},
		{"a certificate that reads, and a wrong password", both,
			withBoth(with(client), basic("ops", "x")), "n1", "n1", wrong},
		{"a foreign certificate and a password", both,
			foreignCert(basic("nats", "read:me")), "nats", "nats", forbidden},
		{"a named reader", named, with(client), "n1", "n1", forbidden},
		{"a certificate that is not named, where readers are", named,
			with(certtest.Named("n2"), certtest.For("n3")), forbidden, forbidden, forbidden},
		{"only certificates", certs, with(client), "n1", "n1", "n1"},
		{"a password where only certificates are", certs,
			password("ops", "right"), unknown, unknown, unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			limiter := auth.NewLimiter(nil)
			a := auth.NewAuthorizer(c.policy, limiter)
			c.credentials.Address = "192.0.2.1:1234"
			for range 2 { // the second time it may be remembered
				if limiter.Failures() > 0 {
					a = auth.NewAuthorizer(c.policy, auth.NewLimiter(nil)) // not slowed down
				}
				for need, want := range map[auth.Role]string{auth.Anonymous: c.anonymous,
					auth.Reader: c.reader, auth.Writer: c.writer} {
					name, err := a.Authorize(t.Context(), c.credentials, need)
					switch {
					case errors.Is(err, auth.ErrNoCredentials):
						name = unknown
					case errors.Is(err, auth.ErrBadCredentials):
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

// readers returns an Authorizer that lets the certificates of some authorities read.
func readers(authorities ...*certtest.Authority) *auth.Authorizer {
	return auth.NewAuthorizer(auth.Policy{Roots: pool(authorities...),
		OtherCertificates: auth.Reader}, auth.NewLimiter(nil))
}

// A connection may be older than the authorities that count now.
func TestACertificateOfAnAuthorityThatWasTakenAwayCountsNoMore(t *testing.T) {
	old, next := certtest.New(t), certtest.New(t)
	c := auth.Credentials{Certificates: chain(t, old.Issue(t))}
	if _, err := readers(old, next).Authorize(t.Context(), c, auth.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := readers(next).Authorize(t.Context(), c, auth.Reader); !errors.Is(err,
		auth.ErrNoCredentials) {
		t.Errorf("after it was taken away: %v", err)
	}
}

func TestACachedCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := certtest.New(t)
		a := readers(authority)
		soon := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Minute) }
		c := auth.Credentials{Certificates: chain(t, authority.Issue(t, soon))}
		for range 2 {
			if _, err := a.Authorize(t.Context(), c, auth.Reader); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute + time.Second)
		if _, err := a.Authorize(t.Context(), c, auth.Reader); !errors.Is(err,
			auth.ErrNoCredentials) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// The versions of bcrypt that other programs write all mean the same.
func TestHashes(t *testing.T) {
	good := hash(t, "right")
	for _, version := range []string{"$2a$", "$2b$", "$2y$"} {
		user := auth.User{Name: "u", Hash: version + good[4:], Role: auth.Reader}
		a := auth.NewAuthorizer(auth.Policy{Users: []auth.User{user}}, auth.NewLimiter(nil))
		c := auth.Credentials{Authorization: basic("u", "right")}
		if _, err := a.Authorize(context.Background(), c, auth.Reader); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}
