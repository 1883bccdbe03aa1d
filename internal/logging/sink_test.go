package logging_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
)

// open returns a logger for a target, and what goes to the first writer.
func open(t *testing.T, target logging.Target, f logging.Format) (*slog.Logger, *strings.Builder) {
	t.Helper()
	first := &strings.Builder{}
	h := logging.New(first, f)
	use(t, h, target)
	t.Cleanup(func() { h.Use(nil) })
	return slog.New(loggingtest.AtOnce(h)), first
}

func use(t *testing.T, h *logging.Handler, target logging.Target) {
	t.Helper()
	s, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	h.Use(s)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every kind of line is an object with the same members.
func TestALineInJSON(t *testing.T) {
	var out strings.Builder
	h := logging.New(&out, logging.Format{Encoding: logging.JSON, Time: true, PID: true,
		Trace: true, Colors: logging.ColorsAlways})
	log := slog.New(loggingtest.AtOnce(h))
	log.Info("starting")
	log.Warn("a \"quote\",\na line end, \x1b[31m, \xff and <&>\u202e")
	log.Log(context.Background(), logging.LevelTrace, "request")
	log.With("from", "x\n").Error("refused")
	log.Info("", "configuration", logging.Object("{\n  \"HTTP\": {}\n}"))
	audit := logging.NewAudit(h, nil)
	entry := logging.AuditEntry{Result: "accepted", Account: "A"}
	if err := audit.Write(entry, false, time.Second); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Time  time.Time
		Level string
		Msg   string
		PID   int
		Audit *logging.AuditEntry
		From  string
		HTTP  json.RawMessage `json:"configuration"`
	}
	var all []line
	for text := range strings.Lines(out.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		begin := regexp.MustCompile(`^\{"time":"[-\d]+T[:\d]+\.\d{6}Z","level":"[A-Z]+","msg":"`)
		if strings.ContainsAny(text, "\x1b\u202e") || l.PID != os.Getpid() ||
			time.Since(l.Time) > time.Minute || !begin.MatchString(text) {
			t.Errorf("%q", text)
		}
		all = append(all, l)
	}
	const warning = "a \"quote\",\na line end, \x1b[31m, \ufffd and <&>\u202e"
	if len(all) != 6 || all[0].Level != "INFO" || all[0].Msg != "starting" ||
		all[1].Level != "WARN" || all[1].Msg != warning || all[2].Level != "TRACE" ||
		all[3].Level != "ERROR" || all[3].From != "x\n" || string(all[4].HTTP) != `{"HTTP":{}}` ||
		all[5].Audit == nil || all[5].Audit.Account != "A" || all[5].Msg != "audit" {
		t.Errorf("%+v\n%s", all, &out)
	}
}

func TestALogFileBeginsAnewBeforeItIsTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.log")
	logrotates := path + ".1"
	if err := os.WriteFile(logrotates, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log, first := open(t, logging.Target{File: path, SizeLimit: 100, MaxFiles: 3}, logging.Format{
		Colors: logging.ColorsAlways})
	var want []string
	for i := range 20 {
		log.Info(fmt.Sprintf("this is the line with the number %02d", i))
	}
	log.Info(strings.Repeat("long", 100))
	log.Info("last")
	backups := logging.Backups(path)
	if len(backups) != 2 {
		t.Fatalf("%d former files", len(backups))
	}
	for i := 18; i < 20; i++ {
		want = append(want, fmt.Sprintf("[INF] this is the line with the number %02d\n", i))
	}
	long := "[INF] " + strings.Repeat("long", 100) + "\n"
	if got := read(t, backups[0]); got != strings.Join(want, "") {
		t.Errorf("the first one has %q", got)
	}
	if read(t, backups[1]) != long || read(t, path) != "[INF] last\n" || first.Len() > 0 {
		t.Errorf("%q, %q, and on the first writer %q", read(t, backups[1]), read(t, path), first)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(logrotates); err != nil {
		t.Error(err)
	}
}

// logrotate renames the file, and asks for a new one.
func TestAFileThatWasRenamedIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.log")
	h := logging.New(&strings.Builder{}, logging.Format{})
	log, target := slog.New(h), logging.Target{File: path}
	use(t, h, target)
	lines := 0
	for n := range 5 {
		for range 100 {
			log.Info("line")
			lines++
		}
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, n)); err != nil {
			t.Fatal(err)
		}
		use(t, h, target) // while lines are being written
	}
	h.Flush(time.Second)
	h.Use(nil)
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, f := range files {
		written += strings.Count(read(t, f), "[INF] line\n")
	}
	if written != lines {
		t.Errorf("%d lines of %d", written, lines)
	}
}

// What a file or a syslog does not take must not be lost.
func TestLinesThatATargetDoesNotTakeGoToTheFirstWriter(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]logging.Target{
		"syslog": {RemoteSyslog: "unix://" + filepath.Join(dir, "nothing")},
		"file":   {File: "/dev/full"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/dev/full"); err != nil && name == "file" {
				t.Skip(err)
			}
			log, first := open(t, target, logging.Format{})
			log.Info("one")
			log.Info("two")
			got := first.String()
			if !strings.Contains(got, "can't be written, its lines are here until it can: ") ||
				strings.Count(got, "\n") != 3 || !strings.Contains(got, "one\n") ||
				!strings.HasSuffix(got, "two\n") {
				t.Errorf("%q", got)
			}
		})
	}
	if _, err := (logging.Target{File: filepath.Join(dir, "none", "x.log")}).Open(); err == nil ||
		!strings.Contains(err.Error(), "error opening the log file: open ") {
		t.Error(err)
	}
}

func TestSyslogGetsTheLevelAndTheTextAlone(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	log, _ := open(t, logging.Target{RemoteSyslog: "udp://" + udp.LocalAddr().String()},
		logging.Format{Time: true, PID: true, Debug: true, Trace: true,
			Colors: logging.ColorsAlways})
	log.Error("e")
	log.Warn("w")
	log.Info("i\n<1>forged")
	log.Debug("d")
	log.Log(context.Background(), logging.LevelTrace, "t")
	for _, want := range []string{"<27>.*: e", "<28>.*: w", `<29>.*: i\\n<1>forged`,
		"<31>.*: d", "<31>.*: t"} {
		packet := make([]byte, 1000)
		_ = udp.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := udp.ReadFrom(packet)
		header := fmt.Sprintf(`[-\d]+T[:\d]+\S+ \S+ logging\.test\[%d\]`, os.Getpid())
		form := strings.Replace(want, ".*", header, 1)
		if err != nil || !regexp.MustCompile("^"+form+"\n$").Match(packet[:n]) {
			t.Errorf("%q, %v, want %s", packet[:n], err, form)
		}
	}
}

// The syslog of the system is a socket in a directory.
func TestASyslogThatIsStartedAgainGetsTheNextLines(t *testing.T) {
	dir, err := os.MkdirTemp("", "log") // a short path: that of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	log, _ := open(t, logging.Target{RemoteSyslog: "unix://" + path}, logging.Format{})
	for range 2 {
		s, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("line")
		packet := make([]byte, 1000)
		_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := s.ReadFrom(packet)
		if err != nil || !strings.HasSuffix(string(packet[:n]), ": line\n") {
			t.Errorf("%q, %v", packet[:n], err)
		}
		_ = s.Close()
		_ = os.Remove(path)
	}
}

func TestSyslogOverTCP(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	log, _ := open(t, logging.Target{RemoteSyslog: "tcp://" + tcp.Addr().String()}, logging.Format{
		Encoding: logging.JSON})
	log.Info("line")
	conn, err := tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasSuffix(line, `]: {"level":"INFO","msg":"line"}`+"\n") {
		t.Errorf("%q, %v", line, err)
	}
	for _, bad := range []string{"x", "udp://host", "udp://:514", "http://host:1", "unix://host/x",
		"tcp://h:1/x"} {
		if logging.CheckSyslog(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
