package natsconn

import (
	"crypto/tls"

	"github.com/nats-io/nats.go"
)

// withTLS returns the option for TLS with the server at an address. If the link is not secure, TLS
// is used if nats-server requires it.
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
		// As in nats.go, one URL that demands TLS demands it for all servers.
		o.Secure = l.secure
		o.TLSHandshakeFirst = l.HandshakeFirst && l.secure
		return nil
	}, nil
}
