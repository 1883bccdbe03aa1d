package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// TestParity is what users of the original know of it, a row for each behaviour, in the order command line,
// configuration, HTTP, stores, NATS, replica, log. Where this program differs on purpose the row
// says so. A row watches the program do it, or names the test that does.
func TestParity(t *testing.T) {
	t.Parallel()
	for _, part := range []struct {
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
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range part.rows(t) {
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
		if got = strings.TrimSuffix(got, "\n"); got == line || open && strings.HasPrefix(got, begin) {
			return true
		}
	}
	return false
}

// exchange sends a request as it is written and returns the answer's status, its header and its body.
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

func commandLine(t *testing.T) []behaviour {
	k := newParityEnv(t)
	jwttest.File(t, k.dir, "afile", []byte("x"))
	jwttest.File(t, k.dir, "home.conf", []byte("http { port: 0 }"))
	nsc := filepath.Join(k.dir, "OP")
	for _, dir := range []string{".nsc", "accounts"} {
		if err := os.MkdirAll(filepath.Join(nsc, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	jwttest.File(t, nsc, "OP.jwt", []byte(k.op.Token(t)))
	return []behaviour{
		row("every flag of either version is known",
			k.ends(0, flags("-t -c home.conf -dir d -operator op.jwt -nats nats://127.0.0.1:1 -creds "+
				"sys.creds -hp 127.0.0.1:0 -D -V -DV -dump"), "is valid")),
		row("-nsc and -ro, which 1.0.3 refuses, work as in 0.8.4",
			k.ends(0, flags("-t -nsc OP -ro"), "is valid", "!removed")),
		row("-primary is known, and makes a replica as in 0.8.4",
			k.ends(0, flags("-t -operator op.jwt -primary http://127.0.0.1:1"), "is valid")),
		row("one or two dashes, = or a space, and words that are ignored",
			k.ends(0, flags("--t -hp=127.0.0.1:0 --c home.conf word -bogus"), "is valid")),
		row("an unknown flag is exit code 2 and the usage",
			k.ends(2, flags("-bogus"), "flag provided but not defined: -bogus\n", "-creds")),
		row("-h is the usage and exit code 0", k.ends(0, flags("-h"), "-creds")),
		row("-help too", k.ends(0, flags("-help"), "-creds")),
		row("-v, which neither has, is the version", k.ends(0, flags("-v"), "nats-account-server: v")),
		row("-D, -V and -DV have an effect, as in 0.8.4", shownBy("TestTheFlagsDAndVAreHonoured")),

		row("a flag wins over the file, the file over the defaults",
			k.dumps(anyPort+"nats { servers: [nats://a:1, nats://b:1], connecttimeout: 1234 }",
				flags("-nats nats://127.0.0.1:1"),
				"NATS.Servers", `["nats://127.0.0.1:1"]`, "NATS.ConnectTimeout", "1234",
				"NATS.ReconnectWait",
				"1000")),
		row("a flag can't switch off what the file switches on",
			k.dumps(anyPort+"logging { debug: true }", flags("-D=false -V=false"), "Logging.Debug", "true",
				"Logging.Trace", "false")),
		row("-D, -V and -DV are in the dump",
			k.dumps(anyPort, flags("-DV"), "Logging.Debug", "true", "Logging.Trace", "true")),
		row("-dir replaces the whole store section",
			k.dumps(anyPort+"store { dir: other, shard: true, cleanupinterval: 5000 }",
				flags("-dir flagged"),
				"Store.Dir", `"$WORK/flagged"`, "Store.Shard", "false", "Store.CleanupInterval", "0")),
		row("-nsc replaces it too, beats -dir, and finds the operator",
			k.dumps(anyPort+"store { dir: other, shard: true }", flags("-dir flagged -nsc OP"),
				"Store.Dir", `""`, "Store.Shard", "false", "Store.NSC", `"$WORK/OP"`, "OperatorJWTPath",
				`"$WORK/OP/OP.jwt"`)),
		row("-hp replaces host and port, and without a host it is every interface",
			k.dumps("http { host: \"127.0.0.1\", port: 70 }", flags("-hp :0"), "HTTP.Host", `""`,
				"HTTP.Port", "0")),
		row("-operator and -creds are their keys",
			k.dumps(anyPort+"operatorjwtpath: nope", flags("-operator op.jwt -creds sys.creds"),
				"OperatorJWTPath", `"$WORK/op.jwt"`, "NATS.UserCredentials", `"$WORK/sys.creds"`)),
		row("~ is the home directory in -c, -dir, -creds",
			k.dumps("", flags("-c ~/home.conf -hp 127.0.0.1:0 -dir ~/hometown -creds ~/sys.creds"),
				"Store.Dir", `"$WORK/hometown"`, "NATS.UserCredentials", `"$WORK/sys.creds"`)),
		row("~ is the home directory in the file too, where the original makes a directory of that name",
			k.dumps(anyPort+"store { dir: \"~/inside\" }", nil, "Store.Dir", `"$WORK/inside"`)),
		row("a relative path in the file is relative to the working directory",
			k.dumps(anyPort+"store { dir: near }", nil, "Store.Dir", `"$WORK/near"`)),

		row("-hp without a port", k.ends(1, flags("-hp 1234"),
			"error parsing hostport: address 1234: missing port in address")),
		row("-hp with a word for a port", k.ends(1, flags("-hp 127.0.0.1:abc"),
			`error parsing hostport: strconv.Atoi: parsing "abc": invalid syntax`)),
		row("-hp with a port that does not exist",
			k.ends(1, flags("-hp 127.0.0.1:70000"),
				"error creating listener: listen tcp: address 70000: invalid port")),
		row("a configuration file that is not there",
			k.ends(1, flags("-c /nonexist.conf"),
				"error reading configuration file: open /nonexist.conf: no such file or directory")),
		row("an empty store directory", k.ends(1, flags("-c", k.file(t, `store { dir: "" }`)),
			"store directory is required")),
		row("a broken file is named before what is wrong with -nsc",
			k.ends(1, flags("-nsc /nope -c", k.file(t, "http {")), "never closed")),
		row("an operator file that is not there",
			k.ends(1, flags("-operator /nope -hp 127.0.0.1:0"), "open /nope: no such file or directory")),
		row("an operator file with another JWT",
			k.ends(1, flags("-operator sys.jwt -hp 127.0.0.1:0"), "not operator claim")),
		row("a system account file with another JWT",
			k.ends(1, flags("-operator op.jwt -c", k.file(t, "systemaccountjwtpath: op.jwt")),
				"not account claim")),
		row("an operator file with BEGIN and END, which the original can't read",
			shownBy("TestOperatorFilesAreBareOrDecorated")),
		row("line ends of the operator's and the system account's file are served too",
			k.servesFilesVerbatim()),
		row("a system account that the operator did not sign, which the original serves",
			k.foreignSystemAccount()),
		row("a system account that the operator does not name", k.anotherSystemAccount()),
		row("-dir that is a file", k.ends(1, flags("-hp 127.0.0.1:0 -dir afile"),
			"mkdir "+k.dir+"/afile: not a directory")),
		row("-dir below a file, where the original panics",
			k.ends(1, flags("-hp 127.0.0.1:0 -dir afile/x"), "not a directory", "!goroutine")),
		row("-ro without -dir has no effect, as in 0.8.4, and says so",
			k.ends(1, flags("-t -ro -c", k.file(t, "store { dir: mine }")),
				"-ro has no effect without -dir")),
		row("an empty store directory that is read-only is 0.8.4's empty store",
			k.dumps(anyPort+`store { dir: "", readonly: true }`, nil, "Store.Dir", `""`, "Store.ReadOnly",
				"true")),
		row("-ro of a directory that is not there",
			k.ends(1, flags("-hp 127.0.0.1:0 -ro -dir /nope"), "the path [/nope] doesn't exist")),
		row("a port that is in use is exit code 1", shownBy("TestAPortInUseIsOneLineAndExitCode1")),
		row("NATS that closes for good is no end, where 1.0.3 exits with 255",
			shownBy("TestAnAuthorizationFailureIsNeverTheEnd")),
		row("SIGINT is an empty line, a line in the log, and exit code 0", k.interrupted()),
		row("SIGTERM is as orderly, where the original is killed by it",
			shownBy("TestSIGTERMStopsInOrderWithoutAnError")),
		row("SIGQUIT is a stack dump", k.quits()),
		row("SIGINT is not held up while NATS is silent", shownBy("TestHTTPLivesWhileNATSIsSilent")),
	}
}

// servesFilesVerbatim: what is around the JWT in a file is part of the answer.
func (k *parityEnv) servesFilesVerbatim() func(*testing.T) {
	return func(t *testing.T) {
		operator, system := k.op.Token(t)+"\n\n", string(k.op.SystemAccount(t))+"\r\n"
		jwttest.File(t, k.dir, "opn.jwt", []byte(operator))
		jwttest.File(t, k.dir, "sysn.jwt", []byte(system))
		p := start(t, k.dir, nil, flags("-operator opn.jwt -c",
			k.file(t, anyPort+"systemaccountjwtpath: sysn.jwt"))...)
		url := p.url()
		for path, want := range map[string]string{"operator": operator,
			"accounts/" + k.op.System.ID: system} {
			if status, body := get(t, url+"/jwt/v1/"+path); status != http.StatusOK || body != want {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
		p.term()
	}
}

func (k *parityEnv) foreignSystemAccount() func(*testing.T) {
	return func(t *testing.T) {
		jwttest.File(t, k.dir, "foreign.jwt", jwttest.NewOperator(t).Account(t, k.op.System))
		k.ends(1, flags("-operator op.jwt -hp 127.0.0.1:0 -c",
			k.file(t, "systemaccountjwtpath: foreign.jwt")), "error loading system account from ")(t)
	}
}

func (k *parityEnv) anotherSystemAccount() func(*testing.T) {
	return func(t *testing.T) {
		other := jwttest.NewAccount(t)
		jwttest.File(t, k.dir, "other.jwt", k.op.Account(t, other))
		k.ends(1, flags("-operator op.jwt -c", k.file(t, "systemaccountjwtpath: other.jwt")),
			fmt.Sprintf("the Operator System Account %s differs from configured System Account %s",
				k.op.System.ID, other.ID))(t)
	}
}

func (k *parityEnv) interrupted() func(*testing.T) {
	return func(t *testing.T) {
		out := &logBuffer{}
		p := launchInto(t, exec.Command(binary, "-hp", "127.0.0.1:0"), &logBuffer{}, out)
		p.url()
		p.signal(os.Interrupt)
		p.wait("received sig-interrupt, shutting down")
		if code := p.exited(); code != 0 || out.String() != "\n" {
			t.Errorf("exit code %d, on standard output %q", code, out)
		}
	}
}

func (k *parityEnv) quits() func(*testing.T) {
	return func(t *testing.T) {
		p := start(t, k.dir, nil, "-hp", "127.0.0.1:0")
		p.url()
		p.signal(syscall.SIGQUIT)
		if code := p.exited(); code != 2 || !strings.Contains(p.log.String(), "goroutine 1") {
			t.Errorf("exit code %d\n%s", code, p.log)
		}
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
