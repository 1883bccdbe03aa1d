package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/logging"
)

// A client can cause any number of lines with any content.
const (
	// maxDetailBytes bounds a detail that came from outside, maxStackBytes the stack of a panic.
	maxDetailBytes = 512
	maxStackBytes  = 8192

	// maxFailureLines bounds the failures that are logged in a minute.
	maxFailureLines = 100
	// missingInterval is the least time between two summaries of 404s.
	missingInterval = time.Minute
)

// requestLog writes what the operator learns of requests. Nothing that it writes can fill the disk:
// failures are limited, and 404s are only summed up. It may be used from any goroutine. A reload
// makes another one, whose count of 404s begins at 0.
type requestLog struct {
	*slog.Logger
	// failures is limited to maxFailureLines.
	failures *slog.Logger
	// now is the clock of the summaries.
	now func() time.Time

	// mu guards the fields below.
	mu sync.Mutex
	// missing counts the requests that were answered 404 after since.
	missing int
	since   time.Time
}

// failure logs a request that was answered with an error.
func (l *requestLog) failure(an answer, line string) {
	switch {
	// Clients ask for accounts that do not exist all the time, so this comes first.
	case an.status == http.StatusNotFound:
		l.countMissing()
		l.Debug(line)
	case an.quiet:
		l.Debug(line)
	default:
		l.failures.Error(line)
	}
}

// countMissing counts a request that was answered 404, and writes the summary if it is due.
func (l *requestLog) countMissing() {
	l.mu.Lock()
	l.missing++
	n, since, now := l.missing, l.since, l.now()
	// The summary has no timer: it waits for the next 404.
	due := now.Sub(since) >= missingInterval
	if due {
		l.missing, l.since = 0, now
	}
	l.mu.Unlock()
	// The lock does not wait for the reader of the log.
	if due {
		l.Warn(fmt.Sprintf("%d requests since %s were answered 404", n,
			logging.Time(since)))
	}
}

// tracing reports whether lines at the level TRC are written. Such a line is only put together if
// they are.
func (l *requestLog) tracing(r *http.Request) bool {
	return l.Enabled(r.Context(), logging.LevelTrace)
}

// trace writes text and the beginning of key at the level TRC.
func (l *requestLog) trace(r *http.Request, text, key string) {
	if l.tracing(r) {
		l.Log(r.Context(), logging.LevelTrace, text+logging.ShortKey(key))
	}
}

// failureLine is the log line of a failed request: key, message and detail, as far as there are
// any. Two of the lines are the original's. Each part is quoted and cut to maxDetailBytes, so a
// client can't begin a line of its own.
func failureLine(key string, an answer, err error) string {
	blocked, isBlocked := errors.AsType[*accounts.BlockedError](err)
	switch {
	case isBlocked && key == "": // the hash of an activation token says nothing to people
		return "attempt to store an activation token with blocking validation errors - " +
			logging.Quote(strings.Join(blocked.Issues, "; "), maxDetailBytes)
	case isBlocked:
		return fmt.Sprintf("attempt to update JWT %s with blocking validation errors - %s",
			logging.ShortKey(key),
			logging.Quote(strings.Join(blocked.Issues, "; "), maxDetailBytes))
	case errors.Is(err, activations.ErrNotFound) && key != "":
		return fmt.Sprintf("unable to find requested activation JWT for %s - %s", key, err)
	}
	// The further lines of an answer are hints for the client.
	message, _, _ := strings.Cut(an.text, "\n")
	var parts []string
	for _, part := range []string{logging.ShortKey(key), message, an.detail} {
		if part != "" {
			parts = append(parts, logging.Quote(part, maxDetailBytes))
		}
	}
	return strings.Join(parts, " - ")
}

// requestLine is what a request asks for, put together from nothing but known words and valid keys.
// Example: "/jwt/v1/accounts/A…?check=true". The key is whole here, since it is known to be one.
func requestLine(r *http.Request, rt *route, key string) string {
	switch {
	case rt == nil:
		return "(unknown path)"
	case key == "" && r.URL.Path != rt.path:
		key = "(invalid key)"
	}
	// A value may be anything, so none is repeated.
	f := flagsOf(r)
	var parameters []string
	if f.value("jti") != "" {
		parameters = append(parameters, "jti=(any)")
	}
	for _, name := range []string{"text", "decode", "check", "notify", "delivery", "verify"} {
		if f.set(name) {
			parameters = append(parameters, name+"=true")
		}
	}
	line := rt.path + key
	if len(parameters) > 0 {
		line += "?" + strings.Join(parameters, "&")
	}
	return line
}
