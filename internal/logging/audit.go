package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// AuditEntry is one line of the audit: what became of one JWT that was offered. It is written as one JSON object, its
// members in this order.
type AuditEntry struct {
	Time       time.Time     `json:"time"` // UTC
	Result     string        `json:"result"`
	Reason     string        `json:"reason,omitempty"`
	Address    string        `json:"address,omitempty"`
	User       string        `json:"user,omitempty"`
	Door       string        `json:"door"`
	Account    string        `json:"account"`
	Issuer     string        `json:"issuer,omitempty"`
	Old        *AuditVersion `json:"old,omitempty"` // what was stored
	New        *AuditVersion `json:"new,omitempty"` // what was offered
	Suppressed int           `json:"suppressed,omitempty"`
}

// AuditVersion tells JWTs of an account apart.
type AuditVersion struct {
	JTI  string `json:"jti"`
	IAT  int64  `json:"iat"`    // Unix seconds
	Hash string `json:"sha256"` // hex
	Size int    `json:"bytes"`
}

const (
	// longest bounds each text that a stranger may have written, in bytes.
	longest = 128
	// burst and perSecond bound the lines of refused JWTs: anybody may offer some.
	burst, perSecond = 100, 10
	// complainEvery is how often it is said that the file can't be written.
	complainEvery = time.Minute
)

// Audit writes the audit: to a file of its own, or into the log when there is none. Its methods may be called from any
// goroutine.
type Audit struct {
	log *slog.Logger
	now func() time.Time

	mu         sync.Mutex
	file       *os.File // nil: the log
	tokens     float64  // refused lines that may be written now
	filled     time.Time
	suppressed int
	complained time.Time
}

// NewAudit returns an audit that writes into the log. now may be nil for time.Now.
func NewAudit(log *slog.Logger, now func() time.Time) *Audit {
	if now == nil {
		now = time.Now
	}
	return &Audit{log: log, now: now, tokens: burst, filled: now()}
}

// Use writes to a file that OpenAudit gave, nil for the log, from now on. The one before is closed.
func (a *Audit) Use(f *os.File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file = f
}

// OpenAudit opens a file for lines to be appended; nil for no path.
func OpenAudit(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("error opening the audit file: %w", err)
	}
	return f, nil
}

// CheckAudit says what keeps the file at path from being written, without leaving a new one behind.
func CheckAudit(path string) error {
	_, before := os.Lstat(path)
	f, err := OpenAudit(path)
	if f != nil {
		_ = f.Close()
		if os.IsNotExist(before) {
			_ = os.Remove(path)
		}
	}
	return err
}

// Write writes one line. A refused one may be left out when there are very many; the next line says how many were. What
// can't be written to the file goes into the log.
func (a *Audit) Write(e AuditEntry, refused bool) {
	a.mu.Lock()
	now := a.now()
	if refused && !a.allow(now) {
		a.suppressed++
		a.mu.Unlock()
		return
	}
	e.Time, e.Suppressed, a.suppressed = now.UTC(), a.suppressed, 0
	line := encode(e)
	failed, complain := a.append(line, now)
	inLog := a.file == nil || failed != nil
	a.mu.Unlock()
	if complain {
		a.log.Error(fmt.Sprintf("the audit file can't be written, its lines are here until it can: %s", failed))
	}
	if inLog {
		a.log.Info("audit " + strings.TrimSuffix(string(line), "\n"))
	}
}

// append writes a line to the file, if there is one, in one piece: whoever appends as well does not tear it.
func (a *Audit) append(line []byte, now time.Time) (err error, complain bool) {
	if a.file == nil {
		return nil, false
	}
	n, err := a.file.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	if err == nil {
		return nil, false
	}
	a.cutBack(n)
	if complain = now.Sub(a.complained) >= complainEvery; complain {
		a.complained = now
	}
	return err, complain
}

// cutBack removes the beginning of a line whose rest did not fit.
func (a *Audit) cutBack(n int) {
	if n == 0 {
		return
	}
	if info, err := a.file.Stat(); err == nil {
		_ = a.file.Truncate(info.Size() - int64(n))
	}
}

// allow takes from a bucket that fills with time.
func (a *Audit) allow(now time.Time) bool {
	a.tokens = min(burst, a.tokens+perSecond*max(0, now.Sub(a.filled).Seconds()))
	a.filled = now
	if a.tokens < 1 {
		return false
	}
	a.tokens--
	return true
}

// encode makes a line. JSON escapes whatever could break it.
func encode(e AuditEntry) []byte {
	for _, text := range []*string{&e.Reason, &e.Address, &e.User, &e.Door, &e.Account, &e.Issuer} {
		*text = bounded(*text)
	}
	for _, v := range []**AuditVersion{&e.Old, &e.New} {
		if *v != nil {
			c := **v
			c.JTI = bounded(c.JTI)
			*v = &c
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		line = []byte(`{"result":"unknown"}`) // a time that JSON does not know, say
	}
	return append(plain(line), '\n')
}

// plain writes what is not printable as JSON's escapes, in the file as in the log, which would escape it in its own way.
func plain(line []byte) []byte {
	if !bytes.ContainsFunc(line, unprintable) {
		return line
	}
	var b []byte
	for _, c := range string(line) {
		switch {
		case !unprintable(c):
			b = utf8.AppendRune(b, c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return b
}

func unprintable(c rune) bool { return c >= 0x7f && !strconv.IsPrint(c) }

// bounded makes a text valid and cuts it.
func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), longest)], "?")
}
