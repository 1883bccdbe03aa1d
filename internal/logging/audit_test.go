package logging_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/logging"
)

// newAudit returns an audit that writes to the file at path, or into the log if path is empty.
func newAudit(t testing.TB, path string) (*logging.Audit, *bytes.Buffer) {
	t.Helper()
	f, err := logging.OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	a := logging.NewAudit(logging.New(log, logging.Format{}), f)
	t.Cleanup(func() { a.Use(nil) })
	return a, log
}

func lines(t testing.TB, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

func TestAnAuditLineHasItsMembersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := newAudit(t, "")
		time.Sleep(123456789)
		_ = a.Write(logging.AuditEntry{
			Result: "accepted", Reason: "x", Address: "192.0.2.1:5", User: "ops", Origin: "http",
			Account: "A1", Issuer: "O1",
			Old: &logging.AuditVersion{JTI: "J1", IAT: 1, Hash: "aa", Size: 2},
			New: &logging.AuditVersion{JTI: "J2", IAT: 2, Hash: "bb", Size: 3},
		}, false, 0)
		want := `[INF] audit {"time":"2000-01-01T00:00:00.123456789Z","result":"accepted","reason":"x",` +
			`"address":"192.0.2.1:5","user":"ops","door":"http","account":"A1","issuer":"O1",` +
			`"old":{"jti":"J1","iat":1,"sha256":"aa","bytes":2},` +
			`"new":{"jti":"J2","iat":2,"sha256":"bb","bytes":3}}` + "\n"
		if log.String() != want {
			t.Errorf("got  %swant %s", log, want)
		}
	})
}

func TestManyRefusedEntriesAreCountedAndAcceptedOnesAreAllWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit")
		a, _ := newAudit(t, path)
		for range 1000 {
			_ = a.Write(logging.AuditEntry{Result: "refused"}, true, 0)
		}
		_ = a.Write(logging.AuditEntry{Result: "accepted"}, false, 0)
		all := lines(t, path)
		if len(all) != 101 || !strings.Contains(all[100], `"suppressed":900`) {
			t.Errorf("%d lines, the last is %s", len(all), all[len(all)-1])
		}
		time.Sleep(time.Second)
		for range 1000 {
			_ = a.Write(logging.AuditEntry{Result: "refused"}, true, 0)
		}
		for range 500 {
			_ = a.Write(logging.AuditEntry{Result: "accepted"}, false, 0)
		}
		if n := len(lines(t, path)); n != 101+10+500 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestLinesOfConcurrentWritersAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	a, _ := newAudit(t, path)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				e := logging.AuditEntry{Result: "accepted", Account: strings.Repeat("A", 56)}
				_ = a.Write(e, false, 0)
			}
		})
	}
	for range 5 {
		// The file is renamed while lines are written.
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
		checkWhole(t, old)
	}
	all.Wait()
	checkWhole(t, lines(t, path))
}

func checkWhole(t *testing.T, all []string) {
	t.Helper()
	for _, line := range all {
		if line != "" && !json.Valid([]byte(line)) {
			t.Errorf("not a whole line: %s", line)
		}
	}
}

func TestALineThatTheFileDoesNotTakeGoesIntoTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, log := newAudit(t, "/dev/full")
		for range 3 {
			_ = a.Write(logging.AuditEntry{Result: "accepted"}, false, 0)
		}
		time.Sleep(time.Minute)
		_ = a.Write(logging.AuditEntry{Result: "accepted"}, false, 0)
		synctest.Wait()
		const problem = "[ERR] the audit file can't be written, its lines are here until it can: "
		if n := strings.Count(log.String(), problem); n != 2 {
			t.Errorf("the problem is logged %d times:\n%s", n, log)
		}
		if n := strings.Count(log.String(), "[INF] audit {"); n != 4 {
			t.Errorf("%d lines in the log:\n%s", n, log)
		}
	})
}

func TestAPartOfALineIsCutOffAgain(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "audit"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("a line\nhalf"); err != nil {
		t.Fatal(err)
	}
	logging.CutBack(f, len("half"))
	if got := lines(t, f.Name()); !slices.Equal(got, []string{"a line"}) {
		t.Errorf("left: %q", got)
	}
}

func TestAnEntryThatJSONCanNotHoldIsStillALine(t *testing.T) {
	late := logging.AuditEntry{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if got := string(logging.Encode(late)); got != `{"result":"unknown"}`+"\n" {
		t.Errorf("written: %q", got)
	}
}

// Words come from tenants. However many and long they are, a pipe takes the line in one piece.
func TestTheChangesOfAnEntryAreBounded(t *testing.T) {
	changes := slices.Repeat([]logging.AuditChange{{Code: "limit_changed",
		Field: strings.Repeat("n", 500), Words: strings.Repeat("\"\\", 500)}}, 30)
	given := slices.Clone(changes)
	path := filepath.Join(t.TempDir(), "audit")
	a, _ := newAudit(t, path)
	_ = a.Write(logging.AuditEntry{Name: strings.Repeat("x", 500), Changes: changes, More: 2}, false, 0)
	line := lines(t, path)[0]
	var got logging.AuditEntry
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Changes) != 8 || got.More != 24 || len(got.Changes[0].Words) != 128 || len(line) > 4096 {
		t.Errorf("%d changes and %d more in %d bytes", len(got.Changes), got.More, len(line))
	}
	if !slices.Equal(changes, given) {
		t.Error("the caller's changes have changed")
	}
}

func TestTheErrorNamesAFileThatCanNotBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "audit")
	if _, err := logging.OpenAudit(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

// unreadAudit returns an audit whose file is a pipe, the end to read from, and the log.
func unreadAudit(t *testing.T) (*logging.Audit, *os.File, *bytes.Buffer) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	log := &bytes.Buffer{}
	a := logging.NewAudit(logging.New(log, logging.Format{}), write)
	t.Cleanup(func() { a.Use(nil) })
	return a, read, log
}

func TestAnAuditThatIsNotReadHoldsUpOnlyACallerThatInsists(t *testing.T) {
	a, read, log := unreadAudit(t)
	began := time.Now()
	const count = 20_000
	for n := range count {
		_ = a.Write(logging.AuditEntry{Account: fmt.Sprint(n)}, false, 0)
	}
	// On a busy machine they take seconds; if one in 500 waited for a second, they would take 40.
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("%d entries took %s", count, took)
	}
	if err := a.Write(logging.AuditEntry{}, false, time.Millisecond); err == nil {
		t.Error("an entry that is required seems to be written")
	}
	entries := json.NewDecoder(read)
	next := 0
	decode := func() (e logging.AuditEntry) {
		if err := entries.Decode(&e); err != nil {
			t.Fatal(err)
		}
		next += e.Suppressed
		return e
	}
	for next < 1000 {
		if e := decode(); e.Account != fmt.Sprint(next) {
			t.Fatalf("%+v is not entry %d", e, next)
		}
		next++
	}
	required := make(chan error, 1)
	go func() { required <- a.Write(logging.AuditEntry{Account: "required"}, false, time.Minute) }()
	for e := decode(); e.Account != "required"; e = decode() {
		next++
	}
	if err := <-required; err != nil || next != count+1 {
		t.Errorf("%d of %d entries are written or counted, and then: %v", next, count, err)
	}
	if log.Len() > 0 {
		t.Errorf("in the log: %.200s", log)
	}
}

func TestAFileThatIsNotReadIsLeftAfterASecond(t *testing.T) {
	a, _, _ := unreadAudit(t)
	for range 1000 {
		_ = a.Write(logging.AuditEntry{Account: strings.Repeat("A", 100)}, false, 0)
	}
	path := filepath.Join(t.TempDir(), "audit")
	f, err := logging.OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	a.Use(f)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the change took %s", took)
	}
	err = a.Write(logging.AuditEntry{Account: "A"}, false, time.Minute)
	if err != nil || len(lines(t, path)) != 1 {
		t.Error("the new file is not written to", err)
	}
}

// FuzzAudit lets a client choose every text. The result must be one line, valid, bounded and true.
func FuzzAudit(f *testing.F) {
	f.Add("bad-jwt", "1.2.3.4:5", "user", "http", "A1", "O1", "jti", int64(1))
	f.Add("x\ny", "\x1b[2J", "\"}", "\xff\xfe", strings.Repeat("é", 200), "<script>",
		"\u2028", int64(-1))
	f.Fuzz(func(t *testing.T, reason, address, user, origin, account, issuer,
		jti string, iat int64) {
		log := &bytes.Buffer{}
		a := logging.NewAudit(logging.New(log, logging.Format{}), nil)
		_ = a.Write(logging.AuditEntry{
			Result: "refused", Reason: reason, Address: address, User: user,
			Origin: origin, Account: account,
			Issuer: issuer, New: &logging.AuditVersion{JTI: jti, IAT: iat},
		}, true, 0)
		line, ok := strings.CutPrefix(log.String(), "[INF] audit ")
		var e logging.AuditEntry
		oneLine := ok && strings.Count(line, "\n") == 1 && len(line) <= 8000
		if !oneLine || json.Unmarshal([]byte(line), &e) != nil {
			t.Fatalf("%q", log)
		}
		if len(account) <= 128 &&
			strings.ToValidUTF8(account, "?") != e.Account || e.New.IAT != iat {
			t.Errorf("%q became %q", account, e.Account)
		}
	})
}
