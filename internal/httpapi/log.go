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
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// A client can cause any number of lines with any content.
const (
	maxDetailBytes = 512  // of a detail that came from outside
	maxStackBytes  = 8192 // of the stack of a panic

	maxFailureLines = 100         // in each minute
	missingInterval = time.Minute // between two summaries of 404s
)

// requestLog writes what the operator learns of requests. Nothing that it writes can fill the disk:
// failures are limited, and 404s are only summed up.
type requestLog struct {
	*slog.Logger
	failures *slog.Logger
	missing  missing
	now      func() time.Time
}

// newRequestLog returns a requestLog that writes to log. now is the clock of the summaries.
func newRequestLog(log *slog.Logger, now func() time.Time) *requestLog {
	return &requestLog{
		Logger:   log,
		failures: logging.Limited(log, maxFailureLines, time.Minute),
		missing:  missing{since: now()},
		now:      now,
	}
}

// failure logs a request that was answered with an error.
func (l *requestLog) failure(an answer, line string) {
	switch {
	// Clients ask for accounts that do not exist all the time, so this comes first.
	case an.status == http.StatusNotFound:
		if n, since := l.missing.add(l.now()); n > 0 {
			l.Warn(fmt.Sprintf("%d requests since %s were answered 404", n,
				since.UTC().Format(time.RFC3339)))
		}
		l.Debug(line)
	case an.quiet:
		l.Debug(line)
	default:
		l.failures.Error(line)
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

// missing counts requests for what is not there.
type missing struct {
	mu    sync.Mutex
	count int
	since time.Time // beginning of the count
}

// add counts one request. If a summary is due, add returns the count with its beginning and starts
// a new one; else it returns 0.
func (m *missing) add(now time.Time) (count int, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	if now.Sub(m.since) < missingInterval {
		return 0, time.Time{}
	}
	count, since = m.count, m.since
	m.count, m.since = 0, now
	return count, since
}

// failureLine is the log line of a failed request: key, message and detail, as far as there are
// any.
func failureLine(key string, an answer, err error) string {
	if _, blocked := errors.AsType[*accounts.BlockedError](err); blocked {
		return fmt.Sprintf("attempt to update JWT %s with blocking validation errors",
			logging.ShortKey(key))
	}
	if unknown, is := errors.AsType[*unknownActivationError](err); is {
		return unknown.Error()
	}
	// The further lines of an answer are hints for the client.
	message, _, _ := strings.Cut(an.text, "\n")
	if message == "" {
		message = err.Error()
	}
	var parts []string
	for _, part := range []string{logging.ShortKey(key), message, an.detail} {
		if part != "" {
			parts = append(parts, logging.Quote(part, maxDetailBytes))
		}
	}
	return strings.Join(parts, " - ")
}

// requestLine is what a request asks for, put together from nothing but known words and valid keys.
func requestLine(r *http.Request, rt *route, key string) string {
	if rt == nil {
		return "(unknown path)"
	}
	uri := rt.path + key
	switch {
	case rt.path == pathAccount && key == "" && r.URL.Path != pathAccount:
		uri += "(invalid key)"
	case rt.path == pathActivation:
		uri += "(invalid hash)"
		if hash := strings.TrimPrefix(r.URL.Path, pathActivation); trust.IsActivationHash(hash) {
			uri = rt.path + hash
		}
	}
	var parameters []string
	f := flagsOf(r)
	if f.value("jti") != "" {
		parameters = append(parameters, "jti=(any)")
	}
	for _, name := range []string{"text", "decode", "check", "notify"} {
		if f.set(name) {
			parameters = append(parameters, name+"=true")
		}
	}
	if len(parameters) > 0 {
		uri += "?" + strings.Join(parameters, "&")
	}
	return uri
}
