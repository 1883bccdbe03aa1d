package access_test

import (
	"testing"

	"nats-account-server/internal/access"
)

// BenchmarkRemembered is what a header that was right before costs each request.
func BenchmarkRemembered(b *testing.B) {
	guard := access.NewDesk(nil).Guard(access.Rules{Users: []access.User{{Name: "u", Hash: hash(b, "p"), Role: access.Reader}}})
	v := access.Visitor{Authorization: basic("u", "p"), Address: "192.0.2.1:1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := guard.Admit(b.Context(), v, access.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
