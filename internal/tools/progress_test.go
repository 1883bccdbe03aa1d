package tools_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/tools"
)

// now is when the tests look at JWTs.
var now = time.Now()

func TestProgressIsALineNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := &tools.Progress{Out: &out, Total: 100}
		for range 50 {
			p.Add()
			time.Sleep(time.Second)
		}
		p.End()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 4 || !strings.HasPrefix(lines[0], "11 of 100, 11 %, ") ||
			!strings.HasSuffix(lines[3], " left") || strings.ContainsAny(out.String(), "\r\x1b") {
			t.Errorf("%q", lines)
		}
	})
}
