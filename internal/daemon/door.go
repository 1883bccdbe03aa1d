package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/httpserver"
)

// door is how HTTP is entered, as read from the files that the configuration names.
type door struct {
	secure *tls.Config // nil: plain HTTP
	rules  *auth.Rules // nil: everybody may read and write
}

// loadDoor reads the files. Its error names the key and the file.
func loadDoor(c config.HTTP) (door, error) {
	var d door
	var roots *x509.CertPool
	var err error
	if c.TLS.Verify != config.VerifyNone {
		if roots, err = loadAuthorities(c.TLS.Root); err != nil {
			return d, fmt.Errorf("error loading http.tls.root: %w", err)
		}
	}
	if c.TLS.Cert != "" {
		if d.secure, err = loadServerTLS(c.TLS, roots); err != nil {
			return d, err
		}
	}
	d.rules = rulesOf(c, roots)
	return d, nil
}

// loadServerTLS reads the certificate and its key. Only HTTP/1.1 is offered, as with the original.
func loadServerTLS(c config.HTTPTLS, roots *x509.CertPool) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("error loading X509 certificate/key pair: %w (http.tls.cert is %s, http.tls.key is %s)", err, c.Cert, c.Key)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		Certificates: []tls.Certificate{pair},
		ClientCAs:    roots,
		ClientAuth: map[config.Verify]tls.ClientAuthType{
			config.VerifyGiven:   tls.VerifyClientCertIfGiven,
			config.VerifyRequire: tls.RequireAndVerifyClientCert,
		}[c.Verify],
	}, nil
}

// rulesOf says who may do what. A certificate that the authorities vouch for reads, unless readers are named by
// certificates; it writes if writers are not named at all, or if it is one of them.
func rulesOf(c config.HTTP, roots *x509.CertPool) *auth.Rules {
	switch {
	case c.Write == nil && roots == nil:
		return nil
	case c.Write == nil:
		return &auth.Rules{Roots: roots, Certified: auth.Writer}
	}
	r := &auth.Rules{Roots: roots, Certified: auth.Reader, Certificates: map[string]auth.Role{}}
	if c.Read == nil && roots == nil {
		r.Everybody = auth.Guest
	}
	for _, o := range c.Read {
		if o.Certificate != "" {
			r.Certified = auth.Nobody
		}
		admit(r, o, auth.Reader)
	}
	for _, o := range c.Write {
		admit(r, o, auth.Writer)
	}
	return r
}

func admit(r *auth.Rules, o config.Login, role auth.Role) {
	if o.Certificate != "" {
		r.Certificates[o.Certificate] = max(role, r.Certificates[o.Certificate])
		return
	}
	r.Users = append(r.Users, auth.User{Name: o.User, Hash: o.Hash, Role: role})
}

func (d *daemon) serverOptions(c config.Config, trust anchors, door door, f *follower) httpserver.Options {
	return httpserver.Options{
		Host:         c.HTTP.Host,
		Port:         c.HTTP.Port,
		ReadTimeout:  c.HTTP.ReadTimeout,
		WriteTimeout: c.HTTP.WriteTimeout,
		Handler:      d.newAPI(c, trust, door, f),
		TLS:          door.secure,
		Log:          d.log,
	}
}

// newAPI is the handler behind the door.
func (d *daemon) newAPI(c config.Config, trust anchors, door door, f *follower) *httpapi.API {
	o := httpapi.Options{Gate: d.registry, Activations: d.activations, MaxPack: c.MaxPack, ReadOnly: d.Config.Store.ReadOnly, Log: d.log}
	if d.unsaved != nil {
		o.Gate = unsaved{d.registry, d.unsaved}
	}
	if f != nil {
		o.Gate, o.ReadOnly, o.Primary = following{d.registry, f.Replica}, true, config.Blanked(f.of.url)
	}
	if door.rules != nil {
		o.Guard = d.desk.Guard(*door.rules)
	}
	if trust.Operator != nil {
		o.Operator = trust.Operator.Token()
		o.Secret = trust.Operator.SecretFields != nil
	}
	return httpapi.New(o)
}

// announceDoor writes the lines about what should be mended.
func (d *daemon) announceDoor(c config.Config, trust anchors, door door) {
	if op := trust.Operator; op != nil && op.SecretFields != nil {
		d.log.Error(fmt.Sprintf("there is a password in the operator JWT in %s, in %s: only those who log in may read it",
			where(c.Operator), strings.Join(op.SecretFields, " and ")))
	}
	if door.secure == nil {
		return
	}
	if leaf := door.secure.Certificates[0].Leaf; leaf != nil && leaf.NotAfter.Before(time.Now()) {
		d.warn("the certificate in %s expired at %s", c.HTTP.TLS.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}
