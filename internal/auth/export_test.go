package auth

import "context"

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

// Cached returns how many headers and certificates are cached.
func (a *Authorizer) Cached() int {
	a.cache.mu.RLock()
	defer a.cache.mu.RUnlock()
	return len(a.cache.known)
}

// ParseBasic is for the fuzz test.
var ParseBasic = parseBasic

// Late is a login whose header was not in the cache a moment ago.
func (a *Authorizer) Late(header, name, password, address string) error {
	_, err := a.compareOnce(context.Background(), a.cache.key(keyHeader, []byte(header)), attempt{name,
		password, address})
	return err
}
