package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"nats-account-server/internal/config"
)

// loadNATSTLS reads the files that nats.tls names. Its error names the keys and the files.
func loadNATSTLS(c config.NATSTLS) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.Root != "" {
		if t.RootCAs, err = loadAuthorities(c.Root); err != nil {
			return nil, fmt.Errorf("error loading nats.tls.root: %w", err)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("error loading nats.tls.cert %s with nats.tls.key %s: %w", c.Cert, c.Key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// loadAuthorities reads a PEM file of at least one certificate.
func loadAuthorities(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("there is no PEM certificate in %s", path)
	}
	return pool, nil
}

// tlsFiles reads the files anew for each connection.
type tlsFiles struct {
	config.NATSTLS
	log    logger
	good   *tls.Config // what was read last without an error
	logged string      // the error that was logged last
}

// next reads the files. While they can't be used, as in the middle of a renewal, it returns what
// was good before.
func (f *tlsFiles) next() (*tls.Config, error) {
	t, err := loadNATSTLS(f.NATSTLS)
	if err == nil {
		f.good, f.logged = t, ""
		return t, nil
	}
	if f.good == nil {
		return nil, err
	}
	if f.logged != err.Error() {
		f.logged = err.Error()
		f.log.warnf("%s: the certificates that were read before go on", err)
	}
	return f.good, nil
}
