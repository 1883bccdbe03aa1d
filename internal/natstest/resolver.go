package natstest

import (
	"fmt"
	"testing"

	"nats-account-server/internal/jwttest"
)

// DirConf returns the configuration of a nats-server that stores accounts in a directory. Its
// resolver is of kind "full" or "cache". extra is appended and must have the address to listen on.
func DirConf(t testing.TB, o *jwttest.Operator, kind, dir, extra string) string {
	t.Helper()
	limits := ""
	if kind == "cache" {
		limits = `, limit: 10000, ttl: "1h"`
	}
	return conf(t, o,
		fmt.Sprintf("resolver { type: %s, dir: %q%s }\nresolver_preload { %s: %s }\n%s",
			kind, dir, limits, o.System.ID, o.SystemAccount(t), extra))
}
