package logging_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"nats-account-server/internal/logging"
)

func TestTheLineFormat(t *testing.T) {
	stamp := `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} `
	for _, c := range []struct {
		name   string
		format logging.Format
		level  slog.Level
		want   string // a regular expression
	}{
		{"bare", logging.Format{}, slog.LevelInfo, `^\[INF\] hello\n$`},
		{"time", logging.Format{Time: true}, slog.LevelInfo, `^` + stamp + `\[INF\] hello\n$`},
		{"pid", logging.Format{PID: true}, slog.LevelInfo, `^\[\d+\] \[INF\] hello\n$`},
		{"pid and time", logging.Format{PID: true, Time: true}, slog.LevelInfo, `^\[\d+\] ` + stamp + `\[INF\] hello\n$`},
		{"green INF", logging.Format{Colors: true}, slog.LevelInfo, "^\\[\x1b\\[32mINF\x1b\\[0m\\] hello\n$"},
		{"yellow WRN", logging.Format{Colors: true}, slog.LevelWarn, "^\\[\x1b\\[0;93mWRN\x1b\\[0m\\] hello\n$"},
		{"red ERR", logging.Format{Colors: true}, slog.LevelError, "^\\[\x1b\\[31mERR\x1b\\[0m\\] hello\n$"},
		{"cyan DBG", logging.Format{Colors: true, Debug: true}, slog.LevelDebug, "^\\[\x1b\\[36mDBG\x1b\\[0m\\] hello\n$"},
		{"TRC", logging.Format{Colors: true, Trace: true}, logging.LevelTrace, "^\\[\x1b\\[33mTRC\x1b\\[0m\\] hello\n$"},
		{"no DBG without debug", logging.Format{Trace: true}, slog.LevelDebug, `^$`},
		{"no TRC without trace", logging.Format{Debug: true}, logging.LevelTrace, `^$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			slog.New(logging.New(&out, c.format)).Log(context.Background(), c.level, "hello")
			if !regexp.MustCompile(c.want).MatchString(out.String()) {
				t.Errorf("got %q, want %s", out.String(), c.want)
			}
		})
	}
}

func TestNobodyForgesALine(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(logging.New(&out, logging.Format{}))
	log.Info("x\n2026/01/01 00:00:00.000000 [INF] forged\r\x1b[31m\u2028\x00ünicode", "key", "a\nb")
	if n := strings.Count(out.String(), "\n"); n != 1 || strings.ContainsAny(out.String(), "\r\x1b\x00\u2028") {
		t.Errorf("written: %q", out.String())
	}
	if !strings.Contains(out.String(), "ünicode") || !strings.Contains(out.String(), `key=a\nb`) {
		t.Errorf("written: %q", out.String())
	}
}

func TestLinesOfOurOwnStayLines(t *testing.T) {
	var out bytes.Buffer
	slog.New(logging.New(&out, logging.Format{})).Info("", "text", logging.Lines("{\n  1\n}"))
	if got := out.String(); got != "[INF] {\n  1\n}\n" {
		t.Errorf("written: %q", got)
	}
}

func TestTheFormatCanChangeWhileInUse(t *testing.T) {
	var out bytes.Buffer
	h := logging.New(&out, logging.Format{})
	log := slog.New(h).With("room", "test")
	log.Debug("one")
	h.SetFormat(logging.Format{Debug: true})
	log.Debug("two")
	if got := out.String(); got != "[DBG] two room=test\n" {
		t.Errorf("written: %q", got)
	}
}
