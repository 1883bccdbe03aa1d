package logging_test

import (
	"testing"

	"nats-account-server/internal/logging"
)

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"accounts", "account", 1}, {"helth", "healthz", 2}, {"abc", "xyz", 3}} {
		if got := logging.EditDistance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
