package logging_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
)

func TestLimitedCountsTheLinesThatItLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := logging.Limited(slog.New(loggingtest.New(&out, logging.Format{})), 2, time.Minute)
		for range 5 {
			log.Warn("refused")
		}
		if got, want := out.String(), "[WRN] refused\n[WRN] refused\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		out.Reset()
		time.Sleep(time.Minute)
		log.With("from", "x").Warn("refused")
		const before = "[WRN] 3 more lines like the next were left out since "
		got := out.String()
		if !strings.HasPrefix(got, before) || !strings.HasSuffix(got, "\n[WRN] refused from=x\n") {
			t.Errorf("got %q", got)
		}
	})
}

func TestQuoteKeepsALineOneLine(t *testing.T) {
	for _, c := range []struct {
		text string
		max  int
		want string
	}{
		{"plain, ünïcode", 64, "plain, ünïcode"},
		{"a\r\nb\x1b[31m\x00", 64, `a\r\nb\x1b[31m\x00`},
		{"\u202eabc\xff", 64, `\u202eabc\ufffd`},
		{"0123456789", 4, "0123..."},
	} {
		if got := logging.Quote(c.text, c.max); got != c.want {
			t.Errorf("Quote(%q, %d) = %q, want %q", c.text, c.max, got, c.want)
		}
	}
	if got, want := logging.ShortKey("ABCDEFGHIJKLMNOP"), "ABCDEFGHIJKL"; got != want {
		t.Errorf("ShortKey = %q, want %q", got, want)
	}
	if got, want := logging.ShortKey("a\nb"), `a\nb`; got != want {
		t.Errorf("ShortKey = %q, want %q", got, want)
	}
}
