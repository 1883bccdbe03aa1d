// Package certtest makes certificate authorities and certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	PEM  []byte // its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate and its key, in PEM.
type Pair struct{ Cert, Key []byte }

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{cert: template("authority"), key: newKey(t)}
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign
	a.PEM = sign(t, a, a.cert, a.key)
	return a
}

// Issue makes a certificate for localhost and 127.0.0.1, for servers and clients. It is valid from
// an hour ago until in an hour. Each edit changes it before it is signed.
func (a *Authority) Issue(t testing.TB, edits ...func(*x509.Certificate)) Pair {
	t.Helper()
	c := template("subject")
	c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, edit := range edits {
		edit(c)
	}
	key := newKey(t)
	der, err := x509.MarshalECPrivateKey(key)
	check(t, err)
	return Pair{sign(t, a, c, key),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})}
}

// Sub makes an authority whose own certificate is signed by a. Each edit changes that before it is
// signed.
func (a *Authority) Sub(t testing.TB, edits ...func(*x509.Certificate)) *Authority {
	t.Helper()
	sub := &Authority{cert: template("sub-authority"), key: newKey(t)}
	sub.cert.IsCA, sub.cert.BasicConstraintsValid = true, true
	sub.cert.KeyUsage = x509.KeyUsageCertSign
	for _, edit := range edits {
		edit(sub.cert)
	}
	sub.PEM = sign(t, a, sub.cert, sub.key)
	return sub
}

// Named sets the common name of a certificate.
func Named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

// OnlyNamed gives a certificate a common name and no alternative names.
func OnlyNamed(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames, c.IPAddresses = name, nil, nil
	}
}

// Expired lets a certificate end a minute ago.
func Expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

// For replaces the hosts of a certificate by one name.
func For(host string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{host}, nil }
}

// Write writes the pair into dir as <name>.crt and <name>.key and returns their paths.
func (p Pair) Write(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	check(t, os.WriteFile(cert, p.Cert, 0o600))
	check(t, os.WriteFile(key, p.Key, 0o600))
	return cert, key
}

// Write writes the authority's certificate into dir as <name>.crt and returns its path.
func (a *Authority) Write(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name+".crt")
	check(t, os.WriteFile(path, a.PEM, 0o600))
	return path
}

// template returns a certificate without a purpose.
func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// sign returns a certificate in PEM, signed by the authority.
func sign(t testing.TB, a *Authority, c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
