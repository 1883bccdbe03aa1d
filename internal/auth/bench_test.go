package auth_test

import (
	"testing"

	"nats-account-server/internal/auth"
)

// BenchmarkRemembered is what a header that was right before costs each request.
func BenchmarkRemembered(b *testing.B) {
	guard := auth.NewDesk(nil).Guard(auth.Rules{Users: []auth.User{{Name: "u", Hash: hash(b, "p"), Role: auth.Reader}}})
	v := auth.Visitor{Authorization: basic("u", "p"), Address: "192.0.2.1:1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := guard.Admit(b.Context(), v, auth.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
