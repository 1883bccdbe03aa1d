package auth_test

import (
	"net/http"
	"strings"
	"testing"

	"nats-account-server/internal/auth"
)

// FuzzAuthorization reads any header. What is accepted, net/http reads in the same way, and what a
// client writes is accepted.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{
		"", "Basic", "Basic ", "Basic b3Bz", "Basic b3BzOnJpZ2h0", "basic  b3BzOnJpZ2h0",
		"Basic b3BzOnJpZ2h0=", "Basic b3BzOnJpZ2h1\n",
		"Basic Og==", "Basic Oh==", "Basic OjpB", "Bearer x", "Digest username=\"x\"",
		"Basic\tb3BzOnJpZ2h0",
		"Basic b3Bz OnJpZ2h0",
		"Basic " + strings.Repeat("QUFB", 300), "Basic //86gIA=", "Basic AAA6AAA=",
		"NATS b3BzOnJpZ2h0",
	} {
		f.Add(seed, "ops", "right")
	}
	f.Add("", "", "")
	f.Add("", "é", ":\x00\xff")
	f.Fuzz(func(t *testing.T, header, user, password string) {
		if u, p, ok := auth.ParseBasic(header); ok {
			r := &http.Request{Header: http.Header{"Authorization": {"Basic " +
				strings.TrimLeft(header[len("Basic "):], " ")}}}
			if gotU, gotP, ok := r.BasicAuth(); !ok || gotU != u || gotP != p ||
				strings.Contains(u, ":") {
				t.Errorf("%q: %q %q, net/http says %q %q %v", header, u, p, gotU, gotP, ok)
			}
		}
		if strings.Contains(user, ":") {
			return
		}
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		if u, p, ok := auth.ParseBasic(r.Header.Get("Authorization")); !ok ||
			u != user || p != password {
			t.Errorf("%q %q is read as %q %q %v", user, password, u, p, ok)
		}
	})
}
