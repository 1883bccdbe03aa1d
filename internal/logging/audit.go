package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

// AuditEntry is one line of the audit: what happened to one JWT that was offered. It is written as
// one JSON object with its members in this order. Programs read these names: they never change.
type AuditEntry struct {
	Time       time.Time     `json:"time"` // UTC, set by Write
	Result     string        `json:"result"`
	Reason     string        `json:"reason,omitempty"`     // why it was refused; "" for no reason
	Address    string        `json:"address,omitempty"`    // of the client; "" for none
	User       string        `json:"user,omitempty"`       // login of the client; "" for none
	Origin     string        `json:"door"`                 // the way in
	Account    string        `json:"account"`              // public key, as the client gave it
	Issuer     string        `json:"issuer,omitempty"`     // public key; "" if unreadable
	Old        *AuditVersion `json:"old,omitempty"`        // what was stored; nil for nothing
	New        *AuditVersion `json:"new,omitempty"`        // what was offered; nil if unreadable
	Suppressed int           `json:"suppressed,omitempty"` // entries left out before, set by Write
}

// AuditVersion identifies one of the JWTs of an account.
type AuditVersion struct {
	JTI  string `json:"jti"`    // the id that its claims name
	IAT  int64  `json:"iat"`    // when it was issued, in Unix seconds
	Hash string `json:"sha256"` // of the whole JWT, in hex
	Size int    `json:"bytes"`  // of the whole JWT
}

const (
	// maxAuditText is the most bytes of one text in an entry. A client may have chosen the text.
	maxAuditText = 128

	// Any client can cause an entry with a refused JWT. At most refusedBurst of them are written at
	// once and refusedPerSecond over time.
	refusedBurst     = 100
	refusedPerSecond = 10
)

// Audit writes audit entries to a file, or into the log if there is no file. An entry is written
// before Write returns. Its methods may be called from any goroutine.
type Audit struct {
	log      *slog.Logger // for entries that are not in a file
	problems *slog.Logger // for errors of the file, one line a minute

	mu         sync.Mutex
	file       *os.File      // nil means the log
	refused    *rate.Limiter // how many entries with a refused JWT may be written
	suppressed int           // entries left out since the last one that was written
}

// NewAudit returns an Audit that writes to a file from OpenAudit. If the file is nil, entries are
// written into the log. Use closes the file. Nothing is written before the first Write.
func NewAudit(log *slog.Logger, file *os.File) *Audit {
	return &Audit{
		log:      log,
		problems: Limited(log, 1, time.Minute),
		file:     file,
		refused:  rate.NewLimiter(refusedPerSecond, refusedBurst),
	}
}

// Use closes the current file and writes to another one from now on. Nil means the log. Entries
// that are being written are not lost: the file is closed after them.
func (a *Audit) Use(file *os.File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Write has written all of a line before it gives mu back.
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file = file
}

// OpenAudit opens the file at path for appending. An empty path gives a nil file. Only the user of
// the program may read a new file.
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

// CheckAudit returns the error that OpenAudit would return. It leaves no new file behind. It is for
// -t, which must change nothing.
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

// Write writes one entry. If there are very many entries with a refused JWT, some are left out, and
// the next entry has their number. If the file can't be written, the entry goes into the log. Time
// and Suppressed of e are set here. refused says that e is about a refused JWT.
func (a *Audit) Write(e AuditEntry, refused bool) {
	forLog, err := a.write(e, refused)
	if err != nil {
		a.problems.Error("the audit file can't be written, its lines are here until it can: " + err.Error())
	}
	if forLog != nil {
		a.log.Info("audit " + strings.TrimSuffix(string(forLog), "\n"))
	}
}

// write writes an entry to the file. It returns the line if the line belongs into the log instead,
// and the error that kept it out of the file. Both are nil if the entry is in the file, or left
// out.
func (a *Audit) write(e AuditEntry, refused bool) (forLog []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	// Accepted JWTs are never left out: each has its entry.
	if refused && !a.refused.AllowN(now, 1) {
		a.suppressed++
		return nil, nil
	}
	e.Time, e.Suppressed = now.UTC(), a.suppressed
	a.suppressed = 0
	line := encode(e)
	if a.file == nil {
		return line, nil
	}
	// One system call writes the line, so that other processes which append to the file can't split
	// it.
	n, err := a.file.Write(line)
	if err != nil {
		if n > 0 {
			// A disk that is full takes a part of a line. The next line must not continue it.
			cutBack(a.file, n)
		}
		return line, err
	}
	return nil, nil
}

// cutBack removes the last n bytes of a file: what was written of a line before an error. If that
// fails too, a part of a line stays.
func cutBack(f *os.File, n int) {
	if info, err := f.Stat(); err == nil {
		_ = f.Truncate(info.Size() - int64(n))
	}
}

// encode returns an entry as a line. No text in it can break the line or forge another one. Texts
// are cut to maxAuditText, and bytes that are not UTF-8 are replaced.
func encode(e AuditEntry) []byte {
	texts := []*string{&e.Reason, &e.Address, &e.User, &e.Origin, &e.Account, &e.Issuer}
	for _, v := range []**AuditVersion{&e.Old, &e.New} {
		if *v != nil {
			*v = new(**v) // the caller's version must not change
			texts = append(texts, &(*v).JTI)
		}
	}
	for _, text := range texts {
		*text = strings.ToValidUTF8((*text)[:min(len(*text), maxAuditText)], "?")
	}
	line, err := json.Marshal(e)
	if err != nil {
		// JSON has no form for a year beyond 9999. A wrong clock must not stop the audit.
		line = []byte(`{"result":"unknown"}`)
	}
	return append(escapeUnprintable(line), '\n')
}

// escapeUnprintable replaces unprintable characters by JSON's own escapes. The log would escape
// them in its own way, and an entry must read the same in the file and in the log.
func escapeUnprintable(line []byte) (escaped []byte) {
	for _, c := range string(line) {
		if c < 0x7f || strconv.IsPrint(c) {
			escaped = utf8.AppendRune(escaped, c)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, c) {
			escaped = fmt.Appendf(escaped, `\u%04x`, unit)
		}
	}
	return escaped
}
