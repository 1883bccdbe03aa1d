package auth

import (
	"cmp"
	"crypto/x509"
	"time"
)

// certified says whom a client certificate proves. TLS has verified it when the connection began; it is verified here
// once more because a reload may have changed the authorities since, and because connections grow old.
func (g *Guard) certified(chain []*x509.Certificate) (identity, bool) {
	if g.rules.Roots == nil || len(chain) == 0 {
		return identity{}, false
	}
	leaf := chain[0]
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return identity{}, false
	}
	k := g.memory.mark(markCertificate, leaf.Raw)
	if who, ok := g.memory.recall(k); ok {
		return who, true
	}
	if !g.vouched(leaf, chain[1:]) {
		return identity{}, false
	}
	who := g.named(leaf)
	g.memory.remember(k, who)
	return who, true
}

func (g *Guard) vouched(leaf *x509.Certificate, others []*x509.Certificate) bool {
	between := x509.NewCertPool()
	for _, c := range others {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         g.rules.Roots,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

// named gives a certificate the greatest role that one of its names has.
func (g *Guard) named(leaf *x509.Certificate) identity {
	names := namesOf(leaf)
	best := identity{names[0], Nobody}
	found := false
	for _, name := range names {
		if role, ok := g.rules.Certificates[name]; ok {
			found = true
			if role > best.role {
				best = identity{name, role}
			}
		}
	}
	if !found {
		best.role = g.rules.Certified
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
