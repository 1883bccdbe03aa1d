package auth

import (
	"context"
	"net/netip"
)

const (
	MaxCached  = maxCached
	MaxClients = maxClients
)

// SetCompare replaces bcrypt.
func (l *Limiter) SetCompare(f func(hash, password []byte) error) { l.compareHash = f }

// Clients returns how many addresses are remembered.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.clients)
}

// Failures returns how many failures in a row the remembered addresses have, together.
func (l *Limiter) Failures() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		n += c.failures
	}
	return n
}

// Cached returns how many headers and certificates are cached.
func (a *Authorizer) Cached() int {
	a.cache.mu.Lock()
	defer a.cache.mu.Unlock()
	return len(a.cache.known)
}

// ParseBasic is for the fuzz test.
var ParseBasic = parseBasic

// Late is a login whose header was not in the cache a moment ago.
func (a *Authorizer) Late(header, name, password, address string) error {
	from := netip.MustParseAddrPort(address).Addr()
	key := a.cache.key("header", header)
	_, err := a.compareOnce(context.Background(), key, attempt{name, password, from})
	return err
}
