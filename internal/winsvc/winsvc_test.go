package winsvc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/logging"
)

// play runs a program under a service manager that asks for something at each of these times.
func play(t *testing.T, program Program, asks map[time.Duration]request) (code int, reported []state, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests := make(chan request)
		began := time.Now()
		for after, r := range asks {
			go func() {
				time.Sleep(after)
				select {
				case requests <- r:
				case <-t.Context().Done():
				}
			}()
		}
		code = handle(requests, func(s state) { reported = append(reported, s) }, func(string) {}, io.Discard, program)
		took = time.Since(began)
	})
	return code, reported, took
}

// serving is a program that needs some time to come up and to go.
func serving(up, down time.Duration, code int) Program {
	return func(ctx context.Context, _ io.Writer, ready func()) int {
		select {
		case <-time.After(up):
			ready()
		case <-ctx.Done():
		}
		<-ctx.Done()
		time.Sleep(down)
		return code
	}
}

func TestTheService(t *testing.T) {
	for _, c := range []struct {
		name     string
		program  Program
		asks     map[time.Duration]request
		code     int
		reported []state
		took     time.Duration
	}{
		{"it starts and is stopped", serving(time.Second, time.Second, 0), map[time.Duration]request{time.Minute: stop}, 0,
			[]state{startPending, running, stopPending}, 61 * time.Second},
		{"it is asked how it is", serving(time.Second, 0, 0), map[time.Duration]request{time.Millisecond: interrogate, 5 * time.Second: interrogate, 6 * time.Second: other, 9 * time.Second: stop}, 0,
			[]state{startPending, startPending, running, running, stopPending}, 9 * time.Second},
		{"it does not come up in time", serving(time.Hour, time.Second, 0), nil, 1, []state{startPending}, 11 * time.Second},
		{"it is stopped before it is up", serving(5*time.Second, time.Second, 0), map[time.Duration]request{time.Second: stop}, 0,
			[]state{startPending, stopPending}, 2 * time.Second},
		{"it ends by itself", func(context.Context, io.Writer, func()) int { return 3 }, nil, 3, []state{startPending}, 0},
	} {
		code, reported, took := play(t, c.program, c.asks)
		if code != c.code || !slices.Equal(reported, c.reported) || took != c.took {
			t.Errorf("%s: exit code %d, reported %v, took %s", c.name, code, reported, took)
		}
	}
}

func TestLinesAreEvents(t *testing.T) {
	for _, colours := range []bool{false, true} {
		for level, want := range map[slog.Level]severity{slog.LevelDebug: informative, slog.LevelInfo: informative, slog.LevelWarn: warning, slog.LevelError: failure} {
			var line bytes.Buffer
			slog.New(logging.New(&line, logging.Format{Time: true, Debug: true, Colors: colours})).Log(t.Context(), level, "the disk is full")
			got, text := event(line.Bytes())
			if got != want || !strings.HasSuffix(text, "] the disk is full") || strings.Contains(text, "\x1b") {
				t.Errorf("%s is %d, %q", level, got, text)
			}
		}
	}
	if _, text := event([]byte("flag provided but not defined: -bogus\nUsage\n")); text != "flag provided but not defined: -bogus\nUsage" {
		t.Errorf("the usage is %q", text)
	}
}
