package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"time"
)

// certified returns what a client certificate proves. TLS has verified it when the connection
// began. It is verified once more because a reload may have changed the authorities, and because
// certificates expire on open connections. It is false if there is no certificate, or if it is not
// valid now. Of a cached one only the end of its validity is checked.
func (a *Authorizer) certified(chain []*x509.Certificate) (identity, bool) {
	if a.policy.Roots == nil || len(chain) == 0 {
		return identity{}, false
	}
	leaf := chain[0]
	key := a.cache.key("certificate", string(leaf.Raw))
	if id, ok := a.cache.get(key); ok && time.Now().Before(leaf.NotAfter) {
		return id, true
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         a.policy.Roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return identity{}, false
	}
	id := a.identityOf(leaf, slices.ContainsFunc(chains, isConstrained))
	// Invalid certificates are not cached, so clients can't fill the cache with them.
	a.cache.put(key, id)
	return id, true
}

// identityOf gives a certificate the greatest role that one of its names has. The name is the one
// with that role. Without any, it is the first name. constrained means that an authority of the
// certificate may only sign some names.
func (a *Authorizer) identityOf(leaf *x509.Certificate, constrained bool) identity {
	names := namesOf(leaf, constrained)
	best := identity{names[0].text, Unauthenticated}
	known := false // the policy has a role for one of the names
	for _, n := range names {
		role, ok := a.roleOf(n)
		known = known || ok
		if role > best.role {
			best = identity{n.text, role}
		}
	}
	if !known {
		// A certificate that is named has only the role of its names, even if that is less.
		best.role = a.policy.OtherCertificates
	}
	return best
}

// nameKind is what a name in a certificate is.
type nameKind int

const (
	commonName   nameKind = iota // any text; it counts as a name of any kind
	dnsName                      // a configured name without a colon and an @
	mailName                     // a configured name with an @
	uriName                      // a configured name with a colon
	serialNumber                 // of a certificate without a name; it can't be configured
)

// certName is a name in a certificate.
type certName struct {
	kind nameKind
	text string
}

// roleOf returns the role that a name in a certificate has in the policy; ok is false if it has
// none. A name of one kind never counts as one of another kind, because authorities may be limited
// in one kind only.
func (a *Authorizer) roleOf(n certName) (role Role, ok bool) {
	if n.kind != commonName && n.kind != kindOf(n.text) {
		return Unauthenticated, false
	}
	role, ok = a.certificates[foldName(n.text)]
	return role, ok
}

// kindOf returns the kind of a configured name.
func kindOf(name string) nameKind {
	switch {
	case strings.Contains(name, ":"):
		return uriName
	case strings.Contains(name, "@"):
		return mailName
	}
	return dnsName
}

// foldName returns a name so that equal names are equal texts. The letter case of a DNS name does
// not count. Only ASCII is folded: letters like the Kelvin sign would become others.
func foldName(name string) string {
	if kindOf(name) != dnsName {
		return name
	}
	folded := []byte(name)
	for i, c := range folded {
		if c >= 'A' && c <= 'Z' {
			folded[i] += 'a' - 'A'
		}
	}
	return string(folded)
}

// namesOf returns at least one name: the serial number if there is no other. Names that are empty
// are left out.
//
// Verify compares the alternative names with the name constraints of the authorities, and never the
// common name. So the common name counts only if it is the only name, and if no authority is
// constrained.
func namesOf(leaf *x509.Certificate, constrained bool) (names []certName) {
	add := func(kind nameKind, texts ...string) {
		for _, text := range texts {
			if text != "" {
				names = append(names, certName{kind, text})
			}
		}
	}
	if !constrained && !hasExtension(leaf, subjectAltName) {
		add(commonName, leaf.Subject.CommonName)
	}
	add(dnsName, leaf.DNSNames...)
	add(mailName, leaf.EmailAddresses...)
	for _, u := range leaf.URIs {
		add(uriName, u.String())
	}
	if len(names) == 0 {
		add(serialNumber, "certificate "+leaf.SerialNumber.Text(16))
	}
	return names
}

// The extensions of a certificate that decide which of its names count, RFC 5280.
var (
	subjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	nameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// isConstrained reports whether an authority of a chain has name constraints.
func isConstrained(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(chain[1:], func(authority *x509.Certificate) bool {
		return hasExtension(authority, nameConstraints)
	})
}

// hasExtension reports whether a certificate has an extension, whatever is in it.
func hasExtension(c *x509.Certificate, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
}
