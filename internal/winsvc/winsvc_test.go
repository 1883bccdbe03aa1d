package winsvc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
)

// outcome is what became of a program.
type outcome struct {
	code     int
	reported []state
	took     time.Duration
}

// runManaged runs a program with a service manager that sends each request after a time.
func runManaged(t *testing.T, program Program, sent map[time.Duration]request) (got outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests := make(chan request)
		began := time.Now()
		for after, r := range sent {
			go func() {
				time.Sleep(after)
				select {
				case requests <- r:
				case <-t.Context().Done():
				}
			}()
		}
		m := manager[request]{
			requests: requests,
			kind:     func(r request) request { return r },
			report:   func(s state) { got.reported = append(got.reported, s) },
			out:      io.Discard,
		}
		got.code = m.run(program)
		got.took = time.Since(began)
	})
	return got
}

// serving returns a program that takes some time to start and to stop.
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

func TestTheServiceReportsItsState(t *testing.T) {
	failing := func(context.Context, io.Writer, func()) int { return 3 }
	for _, c := range []struct {
		name    string
		program Program
		sent    map[time.Duration]request
		want    outcome
	}{
		{
			"it starts and is stopped", serving(time.Second, time.Second, 0),
			map[time.Duration]request{time.Minute: stop},
			outcome{0, []state{startPending, running, stopPending}, 61 * time.Second},
		},
		{
			"it reports its state on request", serving(time.Second, 0, 0),
			map[time.Duration]request{
				time.Millisecond: interrogate,
				5 * time.Second:  interrogate,
				6 * time.Second:  other,
				9 * time.Second:  stop,
			},
			outcome{0, []state{startPending, startPending, running, running,
				stopPending}, 9 * time.Second},
		},
		{
			"it does not start in time", serving(time.Hour, time.Second, 0), nil,
			outcome{1, []state{startPending}, 11 * time.Second},
		},
		{
			"it is stopped while it starts", serving(5*time.Second, time.Second, 0),
			map[time.Duration]request{time.Second: stop},
			outcome{0, []state{startPending, stopPending}, 2 * time.Second},
		},
		{"it ends by itself", failing, nil, outcome{3, []state{startPending}, 0}},
	} {
		if got := runManaged(t, c.program, c.sent); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestALineOfTheLogIsAnEventOfItsLevel(t *testing.T) {
	kinds := map[slog.Level]slog.Level{
		slog.LevelDebug: slog.LevelInfo,
		slog.LevelInfo:  slog.LevelInfo,
		slog.LevelWarn:  slog.LevelWarn,
		slog.LevelError: slog.LevelError,
	}
	for _, colours := range []logging.Colors{logging.ColorsNever, logging.ColorsAlways} {
		for level, want := range kinds {
			var line bytes.Buffer
			format := logging.Format{Time: true, Debug: true, Colors: colours}
			slog.New(loggingtest.New(&line, format)).Log(t.Context(), level, "the disk is full")
			got, text := event(line.Bytes())
			plain := strings.HasSuffix(text, "] the disk is full") &&
				!strings.Contains(text, "\x1b")
			if got != want || !plain {
				t.Errorf("%s is %s, %q", level, got, text)
			}
		}
	}
	const usage = "flag provided but not defined: -bogus\nUsage"
	if _, text := event([]byte(usage + "\n")); text != usage {
		t.Errorf("the usage is %q", text)
	}
}
