package logging_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
)

func TestTheLineFormat(t *testing.T) {
	const stamp = `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} `
	const info, warn, debug, trace = slog.LevelInfo, slog.LevelWarn,
		slog.LevelDebug, logging.LevelTrace
	colors := logging.Format{Colors: logging.ColorsAlways}
	for _, c := range []struct {
		name   string
		format logging.Format
		level  slog.Level
		want   string // a regular expression
	}{
		{"bare", logging.Format{}, info, `^\[INF\] hello\n$`},
		{"time", logging.Format{Time: true}, info, `^` + stamp + `\[INF\] hello\n$`},
		{"pid", logging.Format{PID: true}, info, `^\[\d+\] \[INF\] hello\n$`},
		{"pid and time", logging.Format{PID: true, Time: true}, info,
			`^\[\d+\] ` + stamp + `\[INF\] hello\n$`},
		{"green INF", colors, info, "^\\[\x1b\\[32mINF\x1b\\[0m\\] hello\n$"},
		{"yellow WRN", colors, warn, "^\\[\x1b\\[0;93mWRN\x1b\\[0m\\] hello\n$"},
		{"red ERR", colors, slog.LevelError, "^\\[\x1b\\[31mERR\x1b\\[0m\\] hello\n$"},
		{"cyan DBG", logging.Format{Colors: logging.ColorsAlways, Debug: true}, debug,
			"^\\[\x1b\\[36mDBG\x1b\\[0m\\] hello\n$"},
		{"TRC", logging.Format{Colors: logging.ColorsAlways, Trace: true}, trace,
			"^\\[\x1b\\[33mTRC\x1b\\[0m\\] hello\n$"},
		{"no DBG without debug", logging.Format{Trace: true}, debug, `^$`},
		{"no TRC without trace", logging.Format{Debug: true}, trace, `^$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			slog.New(loggingtest.New(&out, c.format)).Log(context.Background(), c.level, "hello")
			if !regexp.MustCompile(c.want).MatchString(out.String()) {
				t.Errorf("got %q, want %s", out.String(), c.want)
			}
		})
	}
}

func TestNoTextCanForgeALine(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(loggingtest.New(&out, logging.Format{}))
	log.Info("x\n2026/01/01 00:00:00.000000 [INF] forged\r\x1b[31m\u2028\x00ünicode", "key", "a\nb")
	oneLine := strings.Count(out.String(), "\n") == 1
	if !oneLine || strings.ContainsAny(out.String(), "\r\x1b\x00\u2028") {
		t.Errorf("written: %q", out.String())
	}
	if !strings.Contains(out.String(), "ünicode") || !strings.Contains(out.String(), `key=a\nb`) {
		t.Errorf("written: %q", out.String())
	}
}

func TestLinesAreWrittenUnchanged(t *testing.T) {
	var out bytes.Buffer
	slog.New(loggingtest.New(&out, logging.Format{})).Info("", "text", logging.Object("{\n  1\n}"))
	if got := out.String(); got != "[INF] {\n  1\n}\n" {
		t.Errorf("written: %q", got)
	}
}

func TestTheFormatCanChangeWhileInUse(t *testing.T) {
	var out bytes.Buffer
	h := logging.New(&out, logging.Format{})
	log := slog.New(loggingtest.AtOnce(h)).With("key", "test")
	log.Debug("one")
	h.SetFormat(logging.Format{Debug: true})
	log.Debug("two")
	if got := out.String(); got != "[DBG] two key=test\n" {
		t.Errorf("written: %q", got)
	}
}
