package daemon

import "nats-account-server/internal/config"

var AccessPolicy = accessPolicy

// Reconnects reports whether a reload from one configuration to the other makes a new connection to
// NATS. change is called between the two.
func Reconnects(old, next config.NATS, change func()) bool {
	n := connection{config: old, files: digest(old)}
	change()
	return !n.matches(next)
}
