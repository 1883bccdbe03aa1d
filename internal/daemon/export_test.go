package daemon

import (
	"crypto/tls"
	"log/slog"

	"nats-account-server/internal/config"
)

var AccessPolicy = accessPolicy

// Reconnects reports whether a reload from one configuration to the other makes a new connection to
// NATS. change is called between the two.
func Reconnects(old, next config.NATS, change func()) bool {
	n := connection{config: old, files: digest(old)}
	change()
	return !n.matches(next)
}

// TLSFiles returns a function that reads the files for the next connection to NATS.
func TLSFiles(c config.NATSTLS, log *slog.Logger) func() (*tls.Config, error) {
	return (&tlsFiles{NATSTLS: c, log: logger{log}}).next
}
