package claimcheck

import (
	"fmt"
	"math"
	"time"

	"nats-account-server/internal/claimdiff"
)

// maxAhead is how many seconds ahead nats-server can count: it takes the time until something
// expires in nanoseconds, in 64 bits.
const maxAhead = math.MaxInt64 / int64(time.Second)

// Expiry says that nats-server takes the time of expiry of an account for another one than package
// jwt does, "" if it does not. One before 1970 is none for jwt, and has passed for nats-server. One
// that is too far ahead becomes one that may be at any time, or has passed: cuts says so. Then
// nats-server ends all connections, and each that comes. exp is in Unix seconds; 0 is never. now is
// the clock of this machine.
func Expiry(exp int64, now time.Time) (fault string, cuts bool) {
	if exp < 0 {
		return "before 1970, which has passed for nats-server: it lets no new client in", false
	}
	ahead := exp - now.Unix()
	if ahead <= maxAhead {
		return "", false
	}
	fault = fmt.Sprintf("%s is more than 292 years ahead, and nats-server can't count so far: ",
		claimdiff.Time(exp))
	// It does not look at the overflow either.
	if left := time.Duration(ahead) * time.Second; left > 0 {
		return fault + "it lets the account expire " + claimdiff.Time(now.Add(left).Unix()), false
	}
	return fault + "it takes that for a time that has passed, and ends all connections", true
}
