package auth

import (
	"cmp"
	"crypto/x509"
	"time"
)

// certified returns what a client certificate proves. TLS has verified it when the connection
// began. It is verified once more because a reload may have changed the authorities, and because
// certificates expire on open connections.
func (a *Authorizer) certified(chain []*x509.Certificate) (identity, bool) {
	if a.policy.Roots == nil || len(chain) == 0 {
		return identity{}, false
	}
	leaf := chain[0]
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return identity{}, false
	}
	key := a.cache.key(keyCertificate, leaf.Raw)
	if id, ok := a.cache.get(key); ok {
		return id, true
	}
	if !a.verified(leaf, chain[1:]) {
		return identity{}, false
	}
	id := a.identityOf(leaf)
	a.cache.put(key, id)
	return id, true
}

// verified reports whether one of the roots has signed a certificate for a client, if need be
// through intermediate ones.
func (a *Authorizer) verified(leaf *x509.Certificate, others []*x509.Certificate) bool {
	intermediates := x509.NewCertPool()
	for _, c := range others {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         a.policy.Roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

// identityOf gives a certificate the greatest role that one of its names has.
func (a *Authorizer) identityOf(leaf *x509.Certificate) identity {
	names := namesOf(leaf)
	best := identity{names[0], Unauthenticated}
	found := false
	for _, name := range names {
		if role, ok := a.policy.Certificates[name]; ok {
			found = true
			if role > best.role {
				best = identity{name, role}
			}
		}
	}
	if !found {
		best.role = a.policy.OtherCertificates
	}
	return best
}

// namesOf returns at least one name: the serial number if there is no other.
func namesOf(leaf *x509.Certificate) []string {
	var names []string
	if leaf.Subject.CommonName != "" {
		names = append(names, leaf.Subject.CommonName)
	}
	names = append(names, leaf.DNSNames...)
	names = append(names, leaf.EmailAddresses...)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	if len(names) == 0 {
		names = []string{"certificate " + cmp.Or(leaf.SerialNumber.Text(16), "0")}
	}
	return names
}
