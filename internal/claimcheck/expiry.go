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

// Expiry says that nats-server takes the time of expiry of an account for another one, "" if it
// does not. A time that is too far ahead becomes one that may be at any time, or has passed:
// hasPassed says so. Then nats-server ends all connections, and each that comes. exp is in Unix
// seconds; 0 and below is never. now is the clock of this machine.
func Expiry(exp int64, now time.Time) (fault string, hasPassed bool) {
	ahead := exp - now.Unix()
	if exp <= 0 || ahead <= maxAhead {
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
