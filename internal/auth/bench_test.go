package auth_test

import (
	"errors"
	"fmt"
	"strconv"
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

// BenchmarkNewAddresses takes the same time however many addresses have failed to log in.
func BenchmarkNewAddresses(b *testing.B) {
	for _, n := range []int{1_000, 25_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := auth.NewLimiter(nil)
			l.SetCompare(func(_, _ []byte) error { return errors.New("no") })
			users := []auth.User{{Name: "u", Hash: "h", Role: auth.Reader}}
			a := auth.NewAuthorizer(auth.Policy{Users: users}, l)
			next := 0
			fail := func() {
				next++
				address := fmt.Sprintf("10.%d.%d.%d:1", next>>16&255, next>>8&255, next&255)
				_, _ = a.Authorize(b.Context(), auth.Credentials{Authorization: basic("u", "x"),
					Address: address}, auth.Reader)
			}
			for range n {
				fail()
			}
			for b.Loop() {
				fail()
			}
		})
	}
}
