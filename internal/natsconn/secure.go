package natsconn

import (
	"crypto/tls"

	"github.com/nats-io/nats.go"
)

// withTLS returns the option for TLS with the server at an address. TLS is used in any case if
// nats-server requires it.
func (l *link) withTLS(at address) (nats.Option, error) {
	c := &tls.Config{}
	if l.TLS != nil {
		given, err := l.TLS()
		if err != nil {
			return nil, err
		}
		c = given.Clone()
	}
	c.ServerName = at.name // if it is empty, nats.go takes the host
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	l.used = c
	return func(o *nats.Options) error {
		o.TLSConfig = c
		o.Secure = l.demandsTLS()
		o.TLSHandshakeFirst = l.HandshakeFirst && o.Secure
		return nil
	}, nil
}

// demandsTLS reports whether a nats-server without TLS is refused. As in nats.go, one URL that
// demands TLS demands it for all servers.
func (l *link) demandsTLS() bool {
	if l.TLS != nil {
		return true
	}
	for _, s := range l.Servers {
		if u, err := parse(s); err == nil && demandsTLS(u) {
			return true
		}
	}
	return false
}
