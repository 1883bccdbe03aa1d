package config

import "strings"

// checkNATSTLS refuses what would leave the connection to NATS without the safety that was asked for.
func (l *loader) checkNATSTLS() {
	t := l.config.NATS.TLS
	switch {
	case t.Cert != "" && t.Key == "":
		l.mistake(l.natsTLSAt, "nats.tls.cert needs the key that belongs to it: nats.tls.key is not set")
	case t.Key != "" && t.Cert == "":
		l.mistake(l.natsTLSAt, "nats.tls.key needs the certificate it belongs to: nats.tls.cert is not set")
	}
	for _, s := range l.config.NATS.Servers {
		if t != (NATSTLS{}) && strings.HasPrefix(strings.ToLower(s), "ws://") {
			l.mistake(l.natsTLSAt, "nats.tls is set, but a ws:// URL in nats.servers goes without TLS: write wss://")
			return
		}
	}
}
