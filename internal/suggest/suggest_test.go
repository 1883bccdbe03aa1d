package suggest_test

import (
	"testing"

	"nats-account-server/internal/suggest"
)

func TestDistanceCountsTheChangesOfBytes(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "port", 4},
		{"port", "", 4},
		{"port", "port", 0},
		{"PORT", "port", 0},
		{"prt", "port", 1},
		{"poort", "port", 1},
		{"pirt", "port", 1},
		{"oprt", "port", 2},
		{"kitten", "sitting", 3},
	} {
		if got := suggest.Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := suggest.Distance(c.b, c.a); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
