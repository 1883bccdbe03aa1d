package monitor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/bucket"
)

func TestWhenAServerWithABucketIsReady(t *testing.T) {
	const failing = "no responders"
	for _, row := range []struct {
		name  string
		state bucket.State
		since time.Duration // the start
		ready bool
		says  string
	}{
		{"all is well", bucket.State{Connected: true, CaughtUp: true}, time.Hour, true, ""},
		{"it reads the bucket", bucket.State{Connected: true}, time.Hour, false, "has not been read"},
		{"there is no connection yet", bucket.State{}, time.Second, false, "has not been read"},
		{"there is none since the start", bucket.State{}, time.Hour, true, "reached since the start"},
		{"and no account is stored", bucket.State{Empty: true}, time.Hour, false, "no account is stored"},
		{"the bucket has no leader since the start",
			bucket.State{Connected: true, Failing: failing}, time.Hour, true, failing},
		{"and no account is stored, either",
			bucket.State{Connected: true, Failing: failing, Empty: true}, time.Hour, false, failing},
		{"the bucket has lost its leader",
			bucket.State{Connected: true, CaughtUp: true, Failing: failing}, time.Hour, true, failing},
		{"pushes are refused",
			bucket.State{Connected: true, CaughtUp: true, Refusing: "kv1"}, time.Hour, true, "kv1"},
		{"it has no leader",
			bucket.State{Connected: true, CaughtUp: true, Failing: failing, Refusing: "none"},
			time.Hour, true, "no push is taken"},
		{"it has accounts of another operator",
			bucket.State{Connected: true, CaughtUp: true, Refused: 2}, time.Hour, true, "2 accounts"},
		{"a permission is missing that it can do without",
			bucket.State{Connected: true, CaughtUp: true, Denied: "DELETE"}, time.Hour, true, "DELETE"},
		{"it is behind", bucket.State{Connected: true, CaughtUp: true, Behind: 12,
			Success: time.Unix(1e9, 0)}, time.Hour, true, "12 of the revisions"},
		{"it is behind, as is each server for a moment", bucket.State{Connected: true, CaughtUp: true,
			Behind: 12, Success: time.Now()}, time.Hour, true, ""},
		{"it was cut off a while ago", bucket.State{CaughtUp: true, Success: time.Unix(1e9, 0)}, time.Hour,
			true, "known to be here at 2001-09-09T01:46:40Z"},
		{"whether a nats-server syncs is not known",
			bucket.State{Connected: true, CaughtUp: true, Unknown: "kv2"}, time.Hour, true, "kv2"},
		{"the disk is full", bucket.State{Connected: true, CaughtUp: true, Fault: errors.New("full")},
			time.Hour, false, "can't be stored on this server"},
	} {
		c := readyChecks{start: time.Now().Add(-row.since)}
		c.Bucket = func() (bucket.State, bool) { return row.state, true }
		p := c.bucket()
		if text := p.Reason + p.Note; (p.Reason == "") != row.ready || !strings.Contains(text, row.says) ||
			row.says == "" && text != "" {
			t.Errorf("%s: it says %+v", row.name, *p)
		}
	}
}
