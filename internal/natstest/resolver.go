package natstest

import (
	"fmt"
	"testing"

	"nats-account-server/internal/jwttest"
)

// DirConf is the configuration of a nats-server of the operator that keeps accounts in a directory of its own. kind is
// what it does with them: "full" has every account that it is told of, "cache" asks the others for those it needs.
func DirConf(t testing.TB, o *jwttest.Operator, kind, dir, extra string) string {
	t.Helper()
	limits := ""
	if kind == "cache" {
		limits = `, limit: 10000, ttl: "1h"`
	}
	return conf(t, o, fmt.Sprintf("resolver { type: %s, dir: %q%s }\nresolver_preload { %s: %s }\n%s",
		kind, dir, limits, o.System.ID, o.SystemAccount(t), extra))
}
