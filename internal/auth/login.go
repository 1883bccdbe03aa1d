package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// maxHeader is how long an Authorization header may be, in bytes.
	maxHeader = 1024
	// maxPassword is how many bytes of a password bcrypt reads.
	maxPassword = 72
	// compareTimeout is how long a login waits for its compare.
	compareTimeout = 5 * time.Second
)

// attempt is one login with a password.
type attempt struct {
	name, password string
	from           netip.Addr // zero: unknown
}

// login accepts a header that was right before. Otherwise its password is compared. Its error is
// ErrNoCredentials for a header of another scheme, or without a password.
func (a *Authorizer) login(ctx context.Context, c Credentials) (identity, error) {
	// A header that can't be right costs neither a compare nor a failure.
	if len(a.users) == 0 || len(c.Authorization) > maxHeader {
		return identity{}, ErrNoCredentials
	}
	key := a.cache.key("header", c.Authorization)
	if id, ok := a.cache.get(key); ok {
		return id, nil
	}
	// Only a header that is not in the cache is decoded.
	name, password, ok := parseBasic(c.Authorization)
	if !ok {
		return identity{}, ErrNoCredentials
	}
	at, _ := netip.ParseAddrPort(c.Address) // the zero address if it is none
	return a.compareOnce(ctx, key, attempt{name, password, at.Addr().Unmap()})
}

// compareOnce compares a password, together with the other requests that have the same header at
// that time.
func (a *Authorizer) compareOnce(ctx context.Context, key cacheKey, t attempt) (identity, error) {
	// If this request is the one that compares for all, the compare ends with it, too.
	waiting, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	compare := func() (any, error) { return a.compare(waiting, key, t) }
	for {
		var r singleflight.Result
		select {
		case r = <-a.compares.DoChan(string(key[:]), compare):
		// The compare may go on for other requests that wait for it.
		case <-waiting.Done():
			r.Err = waiting.Err()
		}
		switch {
		case !errors.Is(r.Err, context.Canceled) && !errors.Is(r.Err, context.DeadlineExceeded):
			return r.Val.(identity), r.Err
		case ctx.Err() != nil:
			return identity{}, ctx.Err()
		case waiting.Err() != nil:
			// The time is up while ctx goes on: too many compares are waiting.
			return identity{}, errBusy
		}
		// The request that compared for all has hung up. Another one of them does so now.
	}
}

// compare compares a password and remembers its header if it is right. Its error is that of ctx if
// ctx ends before.
func (a *Authorizer) compare(ctx context.Context, key cacheKey, t attempt) (identity, error) {
	if id, ok := a.cache.get(key); ok { // another request has just been compared
		return id, nil
	}
	user, known := a.users[t.name]
	if !known {
		// An unknown name costs a compare too, but it never succeeds.
		user = a.dummy(t.name)
	}
	if err := a.limiter.compare(ctx, t, user.Hash, known && isDistinct(t.password)); err != nil {
		return identity{}, err
	}
	id := identity{user.Name, user.Role}
	a.cache.put(key, id)
	return id, nil
}

// isDistinct reports whether bcrypt tells a password from all others. It ignores what comes after
// the 72nd byte. It also repeats short passwords with a zero byte between them, so one with a zero
// byte may count as another one.
func isDistinct(password string) bool {
	return len(password) <= maxPassword && !strings.Contains(password, "\x00")
}

// dummy returns the user whose password is compared for an unknown name. So the time of an answer
// does not tell which names exist: it is always the same user for a name, and expensive hashes are
// as frequent as among the users. There must be at least one user: login checks that.
func (a *Authorizer) dummy(name string) User {
	i := maphash.String(a.seed, name) % uint64(len(a.policy.Users))
	return a.policy.Users[i]
}

// parseBasic reads the value of an Authorization header of the scheme Basic, RFC 7617. ok is false
// if the scheme, the encoding or the colon is wrong.
func parseBasic(header string) (user, password string, ok bool) {
	scheme, encoded, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	// Strict: a password has one encoding only, so that it has one place in the cache.
	plain, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}
