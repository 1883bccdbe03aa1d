package auth_test

import (
	"testing"

	"nats-account-server/internal/auth"
)

// BenchmarkCached measures a request whose header was right before.
func BenchmarkCached(b *testing.B) {
	a := auth.NewAuthorizer(auth.Policy{Users: []auth.User{{Name: "u", Hash: hash(b, "p"),
		Role: auth.Reader}}}, auth.NewLimiter(nil))
	v := auth.Credentials{Authorization: basic("u", "p"), Address: "192.0.2.1:1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authorize(b.Context(), v, auth.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
