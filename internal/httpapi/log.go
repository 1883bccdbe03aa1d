package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

const (
	maxDetail = 512  // bytes of a detail that came from outside
	maxStack  = 8192 // bytes of a panic's stack
)

// refusal is the log line of a failed request: key, message and detail, as far as there are any.
func (a *API) refusal(key string, an answer, err error) string {
	if _, blocked := errors.AsType[*accounts.BlockedError](err); blocked {
		return fmt.Sprintf("attempt to update JWT %s with blocking validation errors", short(key))
	}
	if unknown, is := errors.AsType[*unknownActivationError](err); is {
		return unknown.Error()
	}
	var parts []string
	message, _, _ := strings.Cut(an.text, "\n")
	if message == "" {
		message = err.Error()
	}
	for _, part := range []string{short(key), message, an.detail} {
		if part != "" {
			parts = append(parts, harmless(part, maxDetail))
		}
	}
	return strings.Join(parts, " - ")
}

// short is a key as logs show it.
func short(key string) string { return key[:min(len(key), 12)] }

// harmless makes a text that a stranger may have written fit for one line of a log, at most limit bytes of it.
func harmless(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit] + "..."
	}
	var b strings.Builder
	for _, c := range text {
		if unicode.IsPrint(c) && c != unicode.ReplacementChar {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func (a *API) tracing(r *http.Request) bool { return a.log.Enabled(r.Context(), logging.LevelTrace) }

func (a *API) trace(r *http.Request, line string) { a.log.Log(r.Context(), logging.LevelTrace, line) }

// traceKey joins text and key only when somebody listens.
func (a *API) traceKey(r *http.Request, text, key string) {
	if a.tracing(r) {
		a.trace(r, text+short(key))
	}
}

// requested is what a request asks for, rebuilt from what is known to be harmless.
func requested(r *http.Request, rt *route, key string) string {
	if rt == nil {
		return "(unknown path)"
	}
	uri := rt.path + key
	f := readFlags(r)
	if key == "" && rt.path == pathAccount && r.URL.Path != pathAccount {
		uri += "(invalid key)"
	}
	if rt.path == pathActivation {
		uri += "(invalid hash)"
		if hash := strings.TrimPrefix(r.URL.Path, pathActivation); accounts.IsActivationHash(hash) {
			uri = rt.path + hash
		}
	}
	sep := "?"
	for _, flag := range []struct {
		set  bool
		text string
	}{{f.jti, "jti=(any)"}, {f.text, "text=true"}, {f.decode, "decode=true"}, {f.check, "check=true"}, {f.notify, "notify=true"}} {
		if flag.set {
			uri += sep + flag.text
			sep = "&"
		}
	}
	return uri
}

// summaryEvery is how often 404s are summed up. A line for each would let anybody fill the disk.
const summaryEvery = time.Minute

// missed counts requests for what is not there.
type missed struct {
	mu    sync.Mutex
	count int
	since time.Time // of the count's first moment
}

// add counts one. When a summary is due it returns the count and its beginning, and starts anew; else 0.
func (m *missed) add(now time.Time) (count int, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	if now.Sub(m.since) < summaryEvery {
		return 0, time.Time{}
	}
	count, since = m.count, m.since
	m.count, m.since = 0, now
	return count, since
}

func (a *API) countMissed() {
	if n, since := a.missed.add(a.now()); n > 0 {
		a.log.Warn(fmt.Sprintf("%d requests since %s were answered 404", n, since.UTC().Format(time.RFC3339)))
	}
}

// mostFailures is how many failed requests have a line of their own between two summaries. Anybody can send what is
// refused, and while the store can't be read every question fails.
const mostFailures = 100

// failures counts failed requests.
type failures struct {
	mu    sync.Mutex
	count int
	since time.Time // of the count's first moment
}

// add counts one and returns which it is. When a summary is due the count starts anew, and more says how many were
// beyond mostFailures before.
func (f *failures) add(now time.Time) (nth, more int, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since = f.since; now.Sub(since) >= summaryEvery {
		more = max(0, f.count-mostFailures)
		f.count, f.since = 0, now
	}
	f.count++
	return f.count, more, since
}

func (a *API) logFailure(line string) {
	nth, more, since := a.failed.add(a.now())
	if more > 0 {
		a.log.Warn(fmt.Sprintf("%d more requests failed since %s", more, since.UTC().Format(time.RFC3339)))
	}
	if nth <= mostFailures {
		a.log.Error(line)
	}
	if nth == mostFailures {
		a.log.Warn(fmt.Sprintf("%d requests have failed since %s: the next are only counted", nth, since.UTC().Format(time.RFC3339)))
	}
}
