package auth

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

const (
	// maxHeader is how long an Authorization header may be, in bytes; bcrypt reads 72 bytes of a
	// password.
	maxHeader = 1024
	// compareTimeout is how long a login waits for its compare.
	compareTimeout = 5 * time.Second
)

// attempt is one login with a password.
type attempt struct {
	name, password, address string
}

// waiters are the requests that wait for one compare.
type waiters struct {
	ctx    context.Context // ends when no request waits any more
	cancel context.CancelFunc
	n      int // requests; Authorizer.mu guards it
}

// login accepts a header that was right before. Otherwise its password is compared.
func (a *Authorizer) login(ctx context.Context, c Credentials) (identity, error) {
	if len(a.users) == 0 || len(c.Authorization) > maxHeader {
		return identity{}, ErrNoCredentials
	}
	key := a.cache.key(keyHeader, []byte(c.Authorization))
	if id, ok := a.cache.get(key); ok {
		return id, nil
	}
	name, password, ok := parseBasic(c.Authorization)
	if !ok {
		return identity{}, ErrNoCredentials
	}
	return a.compareOnce(ctx, key, attempt{name, password, c.Address})
}

// compareOnce compares a password, together with the other requests that have the same header.
func (a *Authorizer) compareOnce(ctx context.Context, key cacheKey, t attempt) (identity, error) {
	w := a.join(key)
	defer a.leave(key, w)
	compare := func() (any, error) { return a.compare(w.ctx, key, t) }
	compared := a.compares.DoChan(string(key[:]), compare)
	select {
	case r := <-compared:
		return r.Val.(identity), r.Err
	case <-ctx.Done():
		return identity{}, ctx.Err()
	}
}

// join makes the caller one of the requests that wait for a compare.
func (a *Authorizer) join(key cacheKey) *waiters {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[key]
	if w == nil {
		w = &waiters{}
		w.ctx, w.cancel = context.WithTimeout(context.Background(), compareTimeout)
		a.waiting[key] = w
	}
	w.n++
	return w
}

// leave gives up a compare that no request waits for any more.
func (a *Authorizer) leave(key cacheKey, w *waiters) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.n--; w.n > 0 {
		return
	}
	w.cancel()
	delete(a.waiting, key)
	a.compares.Forget(string(key[:]))
}

// compare compares a password and remembers its header if it is right.
func (a *Authorizer) compare(ctx context.Context, key cacheKey, t attempt) (identity, error) {
	if id, ok := a.cache.get(key); ok { // another request has just been compared
		return id, nil
	}
	user, known := a.users[t.name]
	if !known {
		user = a.dummy(t.name)
	}
	if err := a.limiter.compare(ctx, t, user.Hash, known); err != nil {
		return identity{}, err
	}
	id := identity{user.Name, user.Role}
	a.cache.put(key, id)
	return id, nil
}

// dummy returns the user whose password is compared for an unknown name. So the time of an answer
// does not tell which names exist: it is always the same user for a name, and expensive hashes are
// as frequent as among the users.
func (a *Authorizer) dummy(name string) User {
	key := a.cache.key(keyName, []byte(name))
	i := binary.BigEndian.Uint32(key[:]) % uint32(len(a.policy.Users))
	return a.policy.Users[i]
}

// parseBasic reads the value of an Authorization header of the scheme Basic, RFC 7617.
func parseBasic(header string) (user, password string, ok bool) {
	scheme, encoded, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}
