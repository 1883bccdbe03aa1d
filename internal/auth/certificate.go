package auth

import (
	"crypto/x509"
	"slices"
	"time"
)

// certified returns what a client certificate proves. TLS has verified it when the connection
// began. It is verified once more because a reload may have changed the authorities, and because
// certificates expire on open connections. It is false if there is no certificate, or if it is not
// valid now. A cached one is checked only for its end.
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
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         a.policy.Roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return identity{}, false
	}
	id := a.identityOf(leaf)
	// Invalid certificates are not cached, so clients can't fill the cache with them.
	a.cache.put(key, id)
	return id, true
}

// identityOf gives a certificate the greatest role that one of its names has. The name is the one
// with that role. Without any, it is the first name.
func (a *Authorizer) identityOf(leaf *x509.Certificate) identity {
	names := namesOf(leaf)
	best := identity{names[0], Unauthenticated}
	known := false // the policy has a role for one of the names
	for _, name := range names {
		role, ok := a.policy.Certificates[name]
		known = known || ok
		if role > best.role {
			best = identity{name, role}
		}
	}
	if !known {
		// A certificate that is named has only the role of its names, even if that is less.
		best.role = a.policy.OtherCertificates
	}
	return best
}

// namesOf returns at least one name: the serial number if there is no other. The common name comes
// first. Names that are empty are left out.
func namesOf(leaf *x509.Certificate) []string {
	names := slices.Concat([]string{leaf.Subject.CommonName}, leaf.DNSNames, leaf.EmailAddresses)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return []string{"certificate " + leaf.SerialNumber.Text(16)}
	}
	return names
}
