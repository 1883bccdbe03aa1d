package natsconn

import (
	"crypto/tls"

	"github.com/nats-io/nats.go"
)

// secure says how TLS is to be done with the server at an address. A nats-server that requires TLS gets it in any case.
func (l *link) secure(at address) (nats.Option, error) {
	c := &tls.Config{}
	if l.TLS != nil {
		given, err := l.TLS()
		if err != nil {
			return nil, err
		}
		c = given.Clone()
	}
	c.ServerName = at.name // "" lets nats.go take the host
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	l.used = c
	return func(o *nats.Options) error {
		o.TLSConfig = c
		o.Secure = l.demanded()
		o.TLSHandshakeFirst = l.HandshakeFirst && o.Secure
		return nil
	}, nil
}

// demanded says that we refuse a nats-server without TLS. One URL that asks for it asks for all of them, as nats.go
// has it: what is too good for one wire is too good for any.
func (l *link) demanded() bool {
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
