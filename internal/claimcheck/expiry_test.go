package claimcheck_test

import (
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/claimcheck"
)

func TestTimesThatNATSServerCantCount(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 21, 0, 0, 0, time.UTC)
	year := func(n int) int64 { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC).Unix() }
	for exp, want := range map[int64]string{
		0: "", year(2027): "", year(2318): "",
		-1: "before 1970, which has passed for nats-server",
		year(2400): "Sat 1 Jan 2400, 00:00 UTC is more than 292 years ahead, and nats-server can't count " +
			"so far: it takes",
		year(9999):          "it takes that for a time that has passed, and ends all connections",
		year(5000):          "it lets the account expire ",
		9223372036854775807: "second 9223372036854775807 is more than 292 years ahead",
	} {
		got, cuts := claimcheck.Expiry(exp, now)
		if !strings.Contains(got, want) || (want == "") != (got == "") ||
			cuts != strings.Contains(got, "ends all connections") {
			t.Errorf("%d: %q, %v", exp, got, cuts)
		}
	}
}
