package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// TestParity is what users of the original know of it, a row for each behaviour, in the order
// command line, configuration, HTTP, stores, NATS, replica, log. Where this program differs on
// purpose the row says so, and differences has it with the reason. A row watches the program do it, or
// names the test that does.
func TestParity(t *testing.T) {
	t.Parallel()
	var names parityNames
	parts := []struct {
		name string
		rows func(t *testing.T) []behaviour
	}{
		{"command line", commandLine},
		{"configuration language", configurationLanguage},
		{"configuration keys", configurationKeys},
		{"HTTP", overHTTP},
		{"pushes", overPOST},
		{"activations", activations},
		{"packs", packs},
		{"stores", stores},
		{"NATS", overNATS},
		{"replica", replication},
		{"log", logLines},
		{"life", startToEnd},
		{"differences", differenceRows},
	}
	t.Cleanup(func() {
		if names.parts == len(parts) { // not if only some of them were to run
			names.compare(t)
		}
	})
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			rows := part.rows(t)
			names.add(rows)
			for _, b := range rows {
				t.Run(b.name, b.holds)
			}
		})
	}
}

// behaviour is a row of the table.
type behaviour struct {
	name  string
	holds func(t *testing.T)
}

// shownBy is a row that other tests show, in whatever package. internal/testcheck, through which
// `make test` runs all tests, fails if one of them did not run and pass.
func shownBy(names ...string) func(*testing.T) {
	return func(t *testing.T) {
		for _, name := range names {
			t.Attr("shown-by", name)
		}
	}
}

// parityEnv is a directory with an operator's files, in which the program is started.
type parityEnv struct {
	*testEnv
	confs int
}

func newParityEnv(t testing.TB) *parityEnv { return &parityEnv{testEnv: newEnv(t, "", "")} }

// file writes a configuration file of its own and returns its path.
func (k *parityEnv) file(t testing.TB, text string) string {
	k.confs++
	return jwttest.File(t, k.dir, fmt.Sprintf("parity%d.conf", k.confs), []byte(text))
}

// ends starts the program, which must end by itself with an exit code and say something; what
// begins with "!" it must not say.
func (k *parityEnv) ends(code int, args []string, says ...string) func(*testing.T) {
	return func(t *testing.T) {
		p := start(t, k.dir, []string{"HOME=" + k.dir}, args...)
		if got := p.exited(); got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		wantSaid(t, p.log.String(), says...)
	}
}

func wantSaid(t *testing.T, log string, says ...string) {
	t.Helper()
	for _, want := range says {
		if not, negated := strings.CutPrefix(want, "!"); negated == strings.Contains(log, not) {
			t.Errorf("want %q in\n%s", want, log)
		}
	}
}

// refuses checks a configuration that is wrong: it is an error that has these texts in it, and the
// program ends with 1.
func (k *parityEnv) refuses(text string, says ...string) func(*testing.T) {
	return func(t *testing.T) { k.ends(1, flags("-t -c", k.file(t, text)), says...)(t) }
}

// warns checks a configuration that runs, and says something all the same.
func (k *parityEnv) warns(text string, says ...string) func(*testing.T) {
	return func(t *testing.T) {
		p := start(t, k.dir, nil, "-c", k.file(t, anyPort+text))
		p.url()
		p.term()
		wantSaid(t, p.log.String(), says...)
	}
}

// dumps starts the program with a configuration file and flags and compares values of the effective
// configuration: pairs of a path such as "HTTP.Port" and the value as JSON.
func (k *parityEnv) dumps(text string, args []string, pairs ...string) func(*testing.T) {
	return func(t *testing.T) {
		if text != "" {
			args = append(flags("-c", k.file(t, text)), args...)
		}
		p := start(t, k.dir, []string{"HOME=" + k.dir, "PARITY=43"}, append(args, "-dump")...)
		shown := map[string]any{}
		if err := json.Unmarshal([]byte(p.wait(`(?s)(\{\n  "Logging".*?\n\})\n`)[1]), &shown); err != nil {
			t.Fatal(err)
		}
		p.kill()
		for i := 0; i < len(pairs); i += 2 {
			var value any = shown
			for name := range strings.SplitSeq(pairs[i], ".") {
				fields, _ := value.(map[string]any)
				value = fields[name]
			}
			got, _ := json.Marshal(value)
			if string(got) != strings.ReplaceAll(pairs[i+1], "$WORK", k.dir) {
				t.Errorf("%s is %s, want %s", pairs[i], got, pairs[i+1])
			}
		}
	}
}

// flags are words, the first ones in one text.
func flags(words string, more ...string) []string { return append(strings.Fields(words), more...) }

// request is a row of HTTP: what is sent, and what must come.
type request struct {
	name   string
	send   string // method, path and header lines; behind an empty line the body
	status string
	header string // lines that must be there; one that begins with "!" must not be
	body   string // "*" is any; one that ends with "*" is a beginning
}

// words are the names that rows use for keys and JWTs.
type words []string

// requests makes rows of requests to a running program.
func requests(url string, known words, rows []request) (all []behaviour) {
	expand := strings.NewReplacer(known...)
	for _, c := range rows {
		all = append(all, behaviour{c.name, func(t *testing.T) {
			status, header, body := exchange(t, url, expand.Replace(c.send))
			if status != c.status {
				t.Errorf("status %q, want %q", status, c.status)
			}
			for line := range strings.Lines(expand.Replace(c.header)) {
				line = strings.TrimSuffix(line, "\n")
				if not, negated := strings.CutPrefix(line, "!"); negated == hasLine(header, not) {
					t.Errorf("want %q among\n%s", line, header)
				}
			}
			want := expand.Replace(c.body)
			if begin, open := strings.CutSuffix(want, "*"); body != want &&
				!(open && strings.HasPrefix(body, begin)) {
				t.Errorf("body %q, want %q", body, want)
			}
		}})
	}
	return all
}

// hasLine says whether a header has a line, or one that begins with it if it ends with "*".
func hasLine(header, line string) bool {
	begin, open := strings.CutSuffix(line, "*")
	for got := range strings.Lines(header) {
		if got = strings.TrimSuffix(got, "\n"); got == line || open &&
			strings.HasPrefix(got, begin) {
			return true
		}
	}
	return false
}

// exchange sends a request as it is written and returns the answer's status, its header and its
// body.
func exchange(t *testing.T, url, send string) (status, header, body string) {
	t.Helper()
	head, content, _ := strings.Cut(send, "\n\n")
	lines := strings.Split(head, "\n")
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	request := lines[0] + " HTTP/1.1\r\nHost: nas.example\r\nConnection: close\r\n"
	for _, line := range lines[1:] {
		request += line + "\r\n"
	}
	if content != "" || strings.HasPrefix(head, "POST") {
		request += fmt.Sprintf("Content-Length: %d\r\n", len(content))
	}
	if _, err := io.WriteString(c, request+"\r\n"+content); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head, " ")
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range answer.Header {
		for _, value := range values {
			header += name + ": " + value + "\n"
		}
	}
	return answer.Status, header, string(text)
}

// row makes a behaviour; holds sees the test of the row.
func row(name string, holds func(t *testing.T)) behaviour { return behaviour{name, holds} }

// inOrder checks that texts that match stand one after the other.
func inOrder(t *testing.T, log string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		at := regexp.MustCompile(pattern).FindStringIndex(log)
		if at == nil {
			t.Fatalf("no %q in what is left:\n%s", pattern, log)
		}
		log = log[at[1]:]
	}
}

// writeFile writes a file as another program does.
func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
