package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/logging"
)

// record is a log and an audit that writes to it, or to a file.
func record(t testing.TB, path string) (*logging.Audit, *bytes.Buffer, *time.Time) {
	t.Helper()
	now := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	log := &bytes.Buffer{}
	a := logging.NewAudit(slog.New(logging.New(log, logging.Format{})), func() time.Time { return now })
	f, err := logging.OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	a.Use(f)
	t.Cleanup(func() { a.Use(nil) })
	return a, log, &now
}

func lines(t testing.TB, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

func TestTheAuditLineHasItsMembersInOrder(t *testing.T) {
	a, log, _ := record(t, "")
	a.Write(logging.AuditEntry{Result: "accepted", Reason: "x", Address: "192.0.2.1:5", User: "ops", Door: "http", Account: "A1", Issuer: "O1",
		Old: &logging.AuditVersion{JTI: "J1", IAT: 1, Hash: "aa", Size: 2}, New: &logging.AuditVersion{JTI: "J2", IAT: 2, Hash: "bb", Size: 3}}, false)
	want := `[INF] audit {"time":"2026-11-23T11:00:00.123456789Z","result":"accepted","reason":"x","address":"192.0.2.1:5","user":"ops",` +
		`"door":"http","account":"A1","issuer":"O1","old":{"jti":"J1","iat":1,"sha256":"aa","bytes":2},"new":{"jti":"J2","iat":2,"sha256":"bb","bytes":3}}` + "\n"
	if log.String() != want {
		t.Errorf("got  %swant %s", log, want)
	}
}

// TestAFloodOfRefusalsIsCountedNotWritten, but what is accepted always is.
func TestAFloodOfRefusalsIsCountedNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	a, _, now := record(t, path)
	for range 1000 {
		a.Write(logging.AuditEntry{Result: "refused"}, true)
	}
	a.Write(logging.AuditEntry{Result: "accepted"}, false)
	all := lines(t, path)
	if len(all) != 101 || !strings.Contains(all[100], `"suppressed":900`) {
		t.Errorf("%d lines, the last is %s", len(all), all[len(all)-1])
	}
	*now = now.Add(time.Second)
	for range 1000 {
		a.Write(logging.AuditEntry{Result: "refused"}, true)
	}
	for range 500 {
		a.Write(logging.AuditEntry{Result: "accepted"}, false)
	}
	if n := len(lines(t, path)); n != 101+10+500 {
		t.Errorf("%d lines", n)
	}
}

func TestLinesOfManyWritersAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	a, _, _ := record(t, path)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				a.Write(logging.AuditEntry{Result: "accepted", Account: strings.Repeat("A", 56)}, false)
			}
		})
	}
	for range 5 { // and the file is renamed meanwhile
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
		f, err := logging.OpenAudit(path)
		if err != nil {
			t.Fatal(err)
		}
		a.Use(f)
		old := lines(t, path+".old")
		if err := os.Rename(path+".old", filepath.Join(t.TempDir(), "kept")); err != nil {
			t.Fatal(err)
		}
		whole(t, old)
	}
	all.Wait()
	whole(t, lines(t, path))
}

func whole(t *testing.T, all []string) {
	t.Helper()
	for _, line := range all {
		if line != "" && !json.Valid([]byte(line)) {
			t.Errorf("torn: %s", line)
		}
	}
}

func TestWhatTheFileDoesNotTakeIsInTheLog(t *testing.T) {
	a, log, now := record(t, "/dev/full")
	for range 3 {
		a.Write(logging.AuditEntry{Result: "accepted"}, false)
	}
	*now = now.Add(time.Minute)
	a.Write(logging.AuditEntry{Result: "accepted"}, false)
	if n := strings.Count(log.String(), "[ERR] the audit file can't be written, its lines are here until it can: "); n != 2 {
		t.Errorf("complained %d times:\n%s", n, log)
	}
	if n := strings.Count(log.String(), "[INF] audit {"); n != 4 {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
}

func TestAFileThatCanNotBeOpenedIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "audit")
	if _, err := logging.OpenAudit(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	fresh := filepath.Join(t.TempDir(), "audit")
	if err := logging.CheckAudit(fresh); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("a check leaves a file")
	}
}

// FuzzAudit lets a stranger write every text: the line is one, valid, bounded, and says what went in.
func FuzzAudit(f *testing.F) {
	f.Add("bad-jwt", "1.2.3.4:5", "user", "http", "A1", "O1", "jti", int64(1))
	f.Add("x\ny", "\x1b[2J", "\"}", "\xff\xfe", strings.Repeat("é", 200), "<script>", "\u2028", int64(-1))
	f.Fuzz(func(t *testing.T, reason, address, user, door, account, issuer, jti string, iat int64) {
		log := &bytes.Buffer{}
		a := logging.NewAudit(slog.New(logging.New(log, logging.Format{})), nil)
		a.Write(logging.AuditEntry{Result: "refused", Reason: reason, Address: address, User: user, Door: door, Account: account,
			Issuer: issuer, New: &logging.AuditVersion{JTI: jti, IAT: iat}}, true)
		line, ok := strings.CutPrefix(log.String(), "[INF] audit ")
		var e logging.AuditEntry
		if !ok || strings.Count(line, "\n") != 1 || len(line) > 8000 || json.Unmarshal([]byte(line), &e) != nil {
			t.Fatalf("%q", log)
		}
		if len(account) <= 128 && strings.ToValidUTF8(account, "?") != e.Account || e.New.IAT != iat {
			t.Errorf("%q became %q", account, e.Account)
		}
	})
}
