package logging

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
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
// Example: {"time":"2026-11-28T20:00:00Z","result":"accepted","door":"http","account":"A…",…}.
type AuditEntry struct {
	Time time.Time `json:"time"` // UTC, set by Write
	// Result is "accepted", "unchanged", "refused", "deleted" and other words of package accounts.
	Result  string        `json:"result"`
	Reason  string        `json:"reason,omitempty"`  // why it was refused; "" for no reason
	Address string        `json:"address,omitempty"` // of the client; "" for none
	User    string        `json:"user,omitempty"`    // login of the client; "" for none
	Origin  string        `json:"door"`              // the way in
	Account string        `json:"account"`           // public key, as the client gave it
	Issuer  string        `json:"issuer,omitempty"`  // public key; "" if unreadable
	Old     *AuditVersion `json:"old,omitempty"`     // what was stored; nil for nothing
	New     *AuditVersion `json:"new,omitempty"`     // what was offered; nil if unreadable
	Name    string        `json:"name,omitempty"`    // of the account; "" if it has none
	// Changes say what a stored JWT has changed. At most maxAuditChanges are written.
	Changes []AuditChange `json:"changes,omitempty"`
	More    int           `json:"more_changes,omitempty"` // how many changes are left out
	// Suppressed is how many entries were left out before this one. Write sets it.
	Suppressed int `json:"suppressed,omitempty"`
}

// AuditChange is one difference between two JWTs of an account.
type AuditChange struct {
	Code  string `json:"code"`  // a word for programs
	Field string `json:"field"` // of the claims
	Words string `json:"words"` // for people
}

// AuditVersion identifies one of the JWTs of an account. A jti may be any text; the hash tells
// versions apart.
type AuditVersion struct {
	JTI  string `json:"jti"`    // the id that its claims name
	IAT  int64  `json:"iat"`    // when it was issued, in Unix seconds
	Hash string `json:"sha256"` // of the whole JWT, in hex
	Size int    `json:"bytes"`  // of the whole JWT
}

const (
	// maxAuditText is the most bytes of one text in an entry. A client may have chosen the text.
	maxAuditText = 128
	// maxAuditChanges keeps a line below the 4 KiB that a pipe takes in one piece.
	maxAuditChanges = 8

	// Any client can cause an entry with a refused JWT. At most refusedBurst of them are written at
	// once and refusedPerSecond over time.
	refusedBurst     = 100
	refusedPerSecond = 10
)

// auditPatience is how long Write waits if the caller does not insist: much longer than a line
// takes that is written at all. The time is short, because each push may wait for it.
const auditPatience = 100 * time.Millisecond

// closeTimeout bounds the wait for the last lines of a file.
const closeTimeout = time.Second

// Audit writes audit entries to a file, or into the log if there is no file. Entries go through a
// queue. Its methods may be called from any goroutine.
type Audit struct {
	log      *Handler
	problems *slog.Logger // for errors of the file, one line a minute

	mu         sync.Mutex
	file       *auditFile    // nil means the log
	refused    *rate.Limiter // how many entries with a refused JWT may be written
	suppressed int           // entries left out since the last one that was written
}

// auditFile is an open file, and the queue of its lines.
type auditFile struct {
	*os.File
	queue *queue
}

// NewAudit returns an Audit that writes to a file from OpenAudit. If the file is nil, entries are
// written into the log. Use closes the file. Nothing is written before the first Write.
func NewAudit(log *Handler, file *os.File) *Audit {
	a := &Audit{
		log:      log,
		problems: Limited(slog.New(log), 1, time.Minute),
		refused:  rate.NewLimiter(refusedPerSecond, refusedBurst),
	}
	a.Use(file)
	return a
}

// Use closes the current file and writes to another one from now on. Nil means the log. The file is
// closed after the entries that are being written, or after a second if it does not take them. It
// may be called from any goroutine, as a reload and a reopening do.
func (a *Audit) Use(file *os.File) {
	a.mu.Lock()
	old := a.file
	a.file = nil
	if file != nil {
		write := func(_ slog.Level, line []byte) error { return a.writeFile(file, line) }
		a.file = &auditFile{file, &queue{write: write}}
	}
	a.mu.Unlock()
	if old == nil {
		return
	}
	// What is not written after closeTimeout goes into the log, since it can't be written to a closed
	// file. A pipe that is not read would hold the reload up for ever.
	old.queue.flush(closeTimeout)
	_ = old.Close()
}

// OpenAudit opens the file at path for appending. An empty path gives a nil file. Only the user of
// the program may read a new file. A named pipe must have a reader.
func OpenAudit(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := openAppend(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("error opening the audit file: %w", err)
	}
	return f, nil
}

// Write writes one entry. Time and Suppressed of e are set here. refused says that e is about a
// refused JWT. If there are very many of them, some are left out, and the next entry has their
// number. If the file can't be written, the entry goes into the log.
//
// A required of more than 0 is how long the caller insists on the entry: the error says why it is
// not in its place by then. With 0 the error is nil, and a reader that is slow does not hold the
// caller up. If too many entries wait for the reader, this one is left out, and the next one has
// their number. e is a copy, and what it points to is not changed.
func (a *Audit) Write(e AuditEntry, refused bool, required time.Duration) error {
	line := a.offer(&e, refused)
	if line == nil {
		return nil
	}
	limit := cmp.Or(required, auditPatience)
	if required == 0 && line.q.isStalled() {
		limit = 0
	}
	err := line.wait(limit)
	if errors.Is(err, errQueueFull) {
		a.mu.Lock()
		a.suppressed += e.Suppressed + 1
		a.mu.Unlock()
	}
	if required == 0 {
		return nil
	}
	return err
}

// offer puts an entry into the queue of the file, or of the log. It returns nil for an entry that is
// left out. The order of entries is that of the calls.
func (a *Audit) offer(e *AuditEntry, refused bool) *offered {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	// Accepted JWTs are never left out here: each has its entry.
	if refused && !a.refused.AllowN(now, 1) {
		a.suppressed++
		return nil
	}
	e.Time, e.Suppressed = now.UTC(), a.suppressed
	a.suppressed = 0
	if a.file == nil {
		return a.log.out.queue.offer(slog.LevelInfo, a.log.line(auditRecord(encode(*e))))
	}
	return a.file.queue.offer(slog.LevelInfo, encode(*e))
}

// auditRecord is an entry as a record of the log. In JSON it is an object of the line.
func auditRecord(line []byte) slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
	r.AddAttrs(slog.Any("audit", Object(strings.TrimSuffix(string(line), "\n"))))
	return r
}

// writeFile writes a line to a file. If that fails, the line goes into the log.
func (a *Audit) writeFile(f *os.File, line []byte) error {
	err := appendLine(f, line)
	if err == nil {
		return nil
	}
	a.problems.Error("the audit file can't be written, its lines are here until it can: " +
		err.Error())
	_ = a.log.Handle(context.Background(), auditRecord(line))
	return err
}

// encode returns an entry as a line. No text in it can break the line or forge another one. Texts
// are cut to maxAuditText, and bytes that are not UTF-8 are replaced. A line has less than 4 KiB,
// which a pipe takes in one piece.
func encode(e AuditEntry) []byte {
	texts := []*string{&e.Reason, &e.Address, &e.User, &e.Origin, &e.Account, &e.Issuer, &e.Name}
	if n := len(e.Changes) - maxAuditChanges; n > 0 {
		e.Changes, e.More = e.Changes[:maxAuditChanges], e.More+n
	}
	e.Changes = slices.Clone(e.Changes) // as with the versions
	for i := range e.Changes {
		c := &e.Changes[i]
		texts = append(texts, &c.Code, &c.Field, &c.Words)
	}
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
	if isPlain(line) {
		return line
	}
	escaped = make([]byte, 0, len(line)+1) // and the line end
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
