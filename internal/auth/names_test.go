package auth_test

import (
	"crypto/x509"
	"net"
	"net/url"
	"testing"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/certtest"
)

// without removes all alternative names.
func without(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }

func mail(address string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.EmailAddresses = []string{address} }
}

func uri(text string) func(*x509.Certificate) {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
}

// limited makes an authority that may only sign some names.
func limited(edit func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical = true
		edit(c)
	}
}

// TestWhichNamesOfACertificateCount has a row for each way to show one of the configured names.
func TestWhichNamesOfACertificateCount(t *testing.T) {
	root := certtest.New(t)
	plain := root.Sub(t)
	dns := root.Sub(t, limited(func(c *x509.Certificate) {
		c.PermittedDNSDomains = []string{"other.org"}
	}))
	below := dns.Sub(t)
	excluded := root.Sub(t, limited(func(c *x509.Certificate) {
		c.ExcludedDNSDomains = []string{"example.com"}
	}))
	mails := root.Sub(t, limited(func(c *x509.Certificate) {
		c.PermittedEmailAddresses = []string{"other.org"}
	}))
	uris := root.Sub(t, limited(func(c *x509.Certificate) {
		c.PermittedURIDomains = []string{"other.org"}
	}))
	a := auth.NewAuthorizer(auth.Policy{
		Roots: pool(root),
		Certificates: map[string]auth.Role{
			"deploy.example.com": auth.Writer, "Mixed.Example.COM": auth.Writer,
			"k.example.com":   auth.Writer,
			"ops@example.com": auth.Writer, "spiffe://example.com/deploy": auth.Writer,
			"192.0.2.7": auth.Writer, "deploy.other.org": auth.Writer,
		},
	}, auth.NewLimiter(nil))
	const name = "deploy.example.com"
	cn, san := certtest.OnlyNamed(name), certtest.For(name)
	for _, c := range []struct {
		name      string
		authority *certtest.Authority
		above     []*certtest.Authority // between it and the root
		edits     []func(*x509.Certificate)
		want      string // the name that counts; "": none
	}{
		{"the only name is the common name", plain, nil, edits(cn), name},
		{"a DNS name", plain, nil, edits(san), name},
		{"the common name beside a DNS name", plain, nil, edits(cn, certtest.For("x.org"),
			certtest.Named(name)), ""},
		{"the common name beside an address", plain, nil, edits(cn, address("192.0.2.1")), ""},
		{"the common name beside a mail address", plain, nil, edits(cn, mail("x@x.org")), ""},
		{"the common name beside a URI", plain, nil, edits(cn, uri("spiffe://x.org/y")), ""},
		{"an address is no name", plain, nil, edits(without, address("192.0.2.7")), ""},

		{"a common name under a limited authority", dns, nil, edits(cn), ""},
		{"a common name that the authority may sign", dns, nil,
			edits(certtest.OnlyNamed("deploy.other.org")), ""},
		{"a common name two authorities below", below, []*certtest.Authority{dns}, edits(cn), ""},
		{"a common name, the domain is excluded", excluded, nil, edits(cn), ""},
		{"a common name, mail addresses are limited", mails, nil, edits(cn), ""},
		{"a common name, URIs are limited", uris, nil, edits(cn), ""},
		{"a DNS name that the authority may sign", dns, nil,
			edits(certtest.For("deploy.other.org")), "deploy.other.org"},
		{"a DNS name that it may not sign", dns, nil, edits(san), ""},
		{"a DNS name with a dot at its end", excluded, nil, edits(certtest.For(name + ".")), ""},
		{"a DNS name in capitals that is excluded", excluded, nil,
			edits(certtest.For("DEPLOY.EXAMPLE.COM")), ""},

		// An authority that is limited in one kind of names must not sign a name of that kind as
		// another.
		{"a DNS name as a mail address", dns, nil, edits(without, mail(name)), ""},
		{"a DNS name as a URI", dns, nil, edits(without, uri(name)), ""},
		{"a mail address as a DNS name", mails, nil, edits(certtest.For("ops@example.com")), ""},
		{"a mail address as a URI", mails, nil, edits(without, uri("ops@example.com")), ""},
		{"a URI as a DNS name", uris, nil, edits(certtest.For("spiffe://example.com/deploy")), ""},
		{"a URI as a mail address", uris, nil,
			edits(without, mail("spiffe://example.com/deploy")), ""},
		{"a mail address", plain, nil, edits(without, mail("ops@example.com")), "ops@example.com"},
		{"a URI", plain, nil, edits(without, uri("spiffe://example.com/deploy")),
			"spiffe://example.com/deploy"},

		{"capitals in a DNS name", plain, nil, edits(certtest.For("Deploy.Example.com")),
			"Deploy.Example.com"},
		{"capitals in a common name", plain, nil, edits(certtest.OnlyNamed("DEPLOY.example.com")),
			"DEPLOY.example.com"},
		{"capitals that are configured", plain, nil, edits(certtest.For("mixed.example.com")),
			"mixed.example.com"},
		{"capitals in a mail address", plain, nil, edits(without, mail("OPS@example.com")), ""},
		{"a letter that only looks the same", plain, nil,
			edits(certtest.OnlyNamed("\u212a.example.com")), ""},
		{"a wildcard is no other name", plain, nil, edits(certtest.For("*.example.com")), ""},
		{"a dot at the end", plain, nil, edits(certtest.For(name + ".")), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := chain(t, c.authority.Issue(t, c.edits...))
			for _, above := range append([]*certtest.Authority{c.authority}, c.above...) {
				shown = append(shown, chain(t, certtest.Pair{Cert: above.PEM})...)
			}
			got, err := a.Authorize(t.Context(), auth.Credentials{Certificates: shown}, auth.Writer)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func edits(all ...func(*x509.Certificate)) []func(*x509.Certificate) { return all }

// address adds an IP address.
func address(text string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, net.ParseIP(text)) }
}
