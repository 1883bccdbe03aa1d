package natsconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"nats-account-server/internal/logging"
)

// Files are the paths of the PEM files of a connection. The zero Files trust the system's
// authorities and show no certificate.
type Files struct {
	Root      string // trusted authorities; "" for those of the system
	Cert, Key string // the client certificate; "" for none
	Section   string // of the configuration that names them: nats or store.kv
}

// Load reads the files. Its error names the keys of the configuration and the files. The
// configuration is new for each call.
func (f Files) Load() (*tls.Config, error) {
	// Older versions of TLS are not secure any more.
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if f.Root != "" {
		if t.RootCAs, err = LoadAuthorities(f.Root); err != nil {
			return nil, fmt.Errorf("error loading %s.tls.root: %w", f.Section, err)
		}
	}
	// The configuration sets Cert and Key together, so Key is there too.
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("error loading %s.tls.cert %s with %s.tls.key %s: %w",
				f.Section, f.Cert, f.Section, f.Key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// Reload returns a function for Options.TLS, which reads the files anew for each connection. While
// they can't be used, as in the middle of a renewal, it returns what was good before. The function
// is for one goroutine at a time. Before the files were good once, it returns their error.
func (f Files) Reload(log *slog.Logger) func() (*tls.Config, error) {
	var good *tls.Config // what was read last without an error
	var fault logging.Condition
	return func() (*tls.Config, error) {
		// The files are small, and connections are rare: nothing is gained by looking at their
		// times.
		t, err := f.Load()
		switch {
		case err == nil:
			good = t
		case good == nil:
			return nil, err
		default:
			err = fmt.Errorf("%w: the certificates that were read before go on", err)
		}
		fault.Log(log, err) // once, though every attempt meets it
		return good, nil
	}
}

// LoadAuthorities reads a PEM file of at least one certificate. A file without any certificate is
// an error, because it would trust no server. path must not be "".
func LoadAuthorities(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// The pool begins empty: the authorities of the system are not trusted beside those of the
	// file.
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("there is no PEM certificate in %s", path)
	}
	return pool, nil
}
