package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconn"
)

// access is how HTTP is served and to whom, as read from the files that the configuration names.
// The zero value is plain HTTP for every client.
type access struct {
	tls    *tls.Config  // nil: plain HTTP
	policy *auth.Policy // nil: every client may read and write
}

// loadAccess reads the files. Its error names the key and the file. What is not configured stays
// nil.
func loadAccess(c config.HTTP) (access, error) {
	var a access
	var roots *x509.CertPool // nil: clients are not asked for a certificate
	var err error
	// Without verification the authorities are not even read, so a bad file does not matter.
	if c.TLS.Verify != config.VerifyNone {
		if roots, err = natsconn.LoadAuthorities(c.TLS.Root); err != nil {
			return a, fmt.Errorf("error loading http.tls.root: %w", err)
		}
	}
	if c.TLS.Cert != "" {
		if a.tls, err = loadServerTLS(c.TLS, roots); err != nil {
			return a, err
		}
	}
	// Passwords are in the configuration itself, so there is nothing to read for them.
	a.policy = accessPolicy(c, roots)
	return a, nil
}

// loadServerTLS reads the certificate and its key. Only HTTP/1.1 is offered, as by the original.
// roots are the authorities of client certificates; nil: clients are not asked for one. A reload
// reads them again, so that a renewed certificate needs no restart.
func loadServerTLS(c config.HTTPTLS, roots *x509.CertPool) (*tls.Config, error) {
	// The beginning of the error is the original's.
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("error loading X509 certificate/key pair: %w "+
			"(http.tls.cert is %s, http.tls.key is %s)", err, c.Cert, c.Key)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		Certificates: []tls.Certificate{pair},
		ClientCAs:    roots,
		// A configuration that verifies nothing is not in the map: tls.NoClientCert is zero.
		ClientAuth: map[config.Verify]tls.ClientAuthType{
			config.VerifyGiven:   tls.VerifyClientCertIfGiven,
			config.VerifyRequire: tls.RequireAndVerifyClientCert,
		}[c.Verify],
	}, nil
}

// accessPolicy returns what the http section permits; nil: every client may do everything.
//
// A certificate that the roots verify may read, unless readers are named by certificates. It may
// write if it is named as a writer, or if no writer is named at all. c.Read and c.Write are nil if
// the key is not there, which is another thing than an empty list.
//
// The steps: without logins there is no policy, or one by certificates only. Otherwise readers are
// added before writers, so that a certificate in both lists ends as a writer. A user in both lists
// is there twice.
func accessPolicy(c config.HTTP, roots *x509.CertPool) *auth.Policy {
	switch {
	// Neither logins nor certificates are configured, as in the original.
	case c.Write == nil && roots == nil:
		return nil
	case c.Write == nil:
		// Only certificates are configured. Each valid one may write.
		return &auth.Policy{Roots: roots, OtherCertificates: auth.Writer}
	}
	// A list of writers that is empty permits no client to write.
	p := &auth.Policy{
		Roots:             roots,
		Certificates:      map[string]auth.Role{},
		OtherCertificates: auth.Reader,
	}
	// Reading is open if neither readers nor certificates are configured.
	if c.Read == nil && roots == nil {
		p.WithoutCredentials = auth.Anonymous
	}
	// One named reader certificate takes the right to read from all that are not named.
	for _, l := range c.Read {
		if l.Certificate != "" {
			p.OtherCertificates = auth.Unauthenticated
		}
		addLogin(p, l, auth.Reader)
	}
	for _, l := range c.Write {
		addLogin(p, l, auth.Writer)
	}
	return p
}

// addLogin gives a user or a certificate its role. A certificate in both lists may write. config
// has no other passwords than bcrypt hashes.
func addLogin(p *auth.Policy, l config.Login, role auth.Role) {
	if l.Certificate != "" {
		p.Certificates[l.Certificate] = max(role, p.Certificates[l.Certificate])
		return
	}
	p.Users = append(p.Users, auth.User{Name: l.User, Hash: l.Hash, Role: role})
}

// serverOptions returns what the HTTP server is made of. c may be a configuration that a reload is
// about to apply, so d.Config is not read for it. Port 0 takes a free one, which Address tells.
func (d *daemon) serverOptions(c config.Config, f files) httpserver.Options {
	return httpserver.Options{
		Host:         c.HTTP.Host,
		Port:         c.HTTP.Port,
		ReadTimeout:  c.HTTP.ReadTimeout,
		WriteTimeout: c.HTTP.WriteTimeout,
		Handler:      httpapi.New(d.apiOptions(c, f)),
		TLS:          f.access.tls,
		Log:          d.log.Logger,
	}
}

// apiOptions returns what the handler of HTTP requests is made of. It is made anew for each
// configuration and starts nothing, so a failed reload just drops it. Each reload makes another
// handler, so the limits that it keeps begin anew. The parts that it answers from stay the same.
func (d *daemon) apiOptions(c config.Config, f files) httpapi.Options {
	o := httpapi.Options{
		Accounts:    d.registry,
		Activations: d.activations,
		MaxPack:     c.MaxPack,
		ReadOnly:    d.Config.Store.ReadOnly, // a reload does not change the store
		Monitor:     d.monitor,
		Foreteller: &effect.Foreteller{
			Importers: d.store.Index(),
			Accounts:  d.registry,
			Facts:     d.facts,
		},
		Metrics:    d.metrics,
		Pages:      d.pages,
		Incomplete: d.bucket.isIncomplete,
		Revisions:  d.bucket.revisions(),
		CommitTime: d.bucket.commitTimeout(),
		Log:        d.log.Logger,
	}
	// What is pushed belongs on the primary. The client is told its URL, without a password.
	if c.Primary != "" {
		o.ReadOnly, o.Primary = true, config.RedactURL(c.Primary)
	}
	if f.access.policy != nil {
		// All authorizers share d.logins, so that a reload does not forgive failed logins.
		o.Authorizer = auth.NewAuthorizer(*f.access.policy, d.logins)
	}
	if all := f.trusted.Operators; len(all) > 0 {
		// One is served: the first.
		o.Operator = all[0].Token()
		o.Secret = all[0].SecretFields != nil
	}
	if c.Monitor.Port != 0 {
		o.Only = httpapi.PublicRoutes
	}
	return o
}

// warnAccess writes the lines about secrets that are too easy to read and certificates that have
// expired. It is called at the start and after each reload. It refuses nothing.
func warnAccess(c config.Config, f files, log logger) {
	if text := f.secret(c); text != "" {
		log.Error(text)
	}
	if text := f.expired(c); text != "" {
		log.Warn(text)
	}
}

// secret says that the operator JWT that is served has a password in it, "" if it has none.
func (f files) secret(c config.Config) string {
	// Of several operators the first one is served.
	all := f.trusted.Operators
	if len(all) == 0 || all[0].SecretFields == nil {
		return ""
	}
	return fmt.Sprintf("there is a password in the operator JWT in %s, in %s: only those who "+
		"log in may read it", location(c.Operators[0]), strings.Join(all[0].SecretFields, " and "))
}

// expired says that the certificate of HTTP has expired, "" if it has not.
func (f files) expired(c config.Config) string {
	if f.access.tls == nil || f.access.tls.Certificates[0].Leaf.NotAfter.After(time.Now()) {
		return ""
	}
	return fmt.Sprintf("the certificate in %s expired at %s", c.HTTP.TLS.Cert,
		logging.Time(f.access.tls.Certificates[0].Leaf.NotAfter))
}
