package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/manual"
	"nats-account-server/internal/natstest"
)

// notHere are the programs of the manual that the test does not run, and why.
var notHere = map[string]string{
	"nsc":         "it has keys and a folder of its own, and can't be built from go.mod",
	"nats":        "it can't be built from go.mod",
	"nats-server": "it is part of the tests, and not a program here",
	"docker":      "it needs a daemon and the network",
	"goreleaser":  "it needs the network",
	"go":          "it installs programs from the network",
	"make":        "what it does is tested elsewhere",
	"kill":        "the test must not signal other processes",
	"pidof":       "as kill",
	"sc":          "it is of Windows",
	"man":         "it may not be installed",
	"htpasswd":    "it may not be installed",
	"systemctl":   "it needs systemd",
}

// notCommands are code in the manual that looks like a command or a path to ask for and is none, and why.
var notCommands = map[string]string{
	"nats-account-server help TOPIC":     "TOPIC stands for a page",
	"nats-account-server server.conf":    "it is what does not work here",
	"nats-account-server healthcheck":    "it asks the port of the configuration, in a container",
	"/nats/conf/operator.jwt":            "a file in a container",
	"/nats/store":                        "a directory in a container",
	"/accounts/<hash>":                   "it is what is not there",
	"nats-account-server import":         "the name of the command",
	"curl --data-binary @orders.jwt …":   "it is named again, after the example",
	"nats-account-server help":           "it is run with words",
	"nats-account-server man | man -l -": "man may not be installed",
	"store { kv { … } }":                 "the example follows it",
}

// shellPrelude defines what the shell runs instead of the programs of the manual. What goes wrong is a line
// in the file failures.
const shellPrelude = `
failed() { echo "$*" >>failures; }
command_not_found_handle() { failed "the test does not know the command: $*"; return 127; }
curl() { command curl -sS -f "$@" || failed "curl $*: $?"; }
nats-account-server() {
	case "$1 $2" in
	"-c "*) set -- -t "$@";; # it would run for ever
	"healthcheck -c") set -- "$@" -hp "$ADDRESS";;
	esac
	"$BINARY" "$@"
	local code=$?
	case "$code $*" in
	0*|"2 diff"*|"2 push"*--dry-run*) ;;
	*) failed "exit code $code: nats-account-server $*";;
	esac
	return $code
}
`

// reader follows the manual: what is where it says, on other ports and in other directories.
type reader struct {
	t       *testing.T
	program string
	dir     string
	url     string
	key     string // of the account orders
	names   *strings.Replacer
	ran     int
}

// TestTheCommandsOfTheManualWork runs each command of the README and of the manual that can run here, and
// checks each snippet of a configuration. The quick start has a test of its own.
func TestTheCommandsOfTheManualWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		jwttest.Lacks(t, "jq", err)
	}
	r := newReader(t)
	readme := mustReadFile(t, "../../README.md")
	before, rest, _ := strings.Cut(readme, "\n## Quick start\n")
	_, after, found := strings.Cut(rest, "\n## With your own operator\n")
	if !found {
		t.Fatal("the README has no quick start")
	}
	r.follow("README", before+after)
	for _, page := range manual.Pages() {
		r.follow(page.Topic, page.Text)
	}
	for _, command := range []string{"push", "verify", "import", "export", "diff"} {
		help := output(t, command, "-h")
		for _, line := range regexp.MustCompile(`(?m)^  (?:\$ )?(nats-account-server .*)$`).
			FindAllStringSubmatch(help, -1) {
			r.shell("help of "+command, line[1])
		}
	}
	if r.ran < 30 {
		t.Errorf("only %d commands and snippets were found", r.ran)
	}
}

// newReader starts the account server and a nats-server on the configurations of the README.
func newReader(t *testing.T) *reader {
	s := newEnv(t, "", "")
	program, err := releaseBinary() // it is started a hundred times
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, program: program, dir: s.dir}
	orders, sales := jwttest.NewAccount(t), jwttest.NewAccount(t)
	r.key = orders.ID
	ago := func(d time.Duration, a *jwttest.Account, conns int64) []byte {
		return jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-d), func(c *jwt.AccountClaims) {
			c.Name, c.Limits.Conn = "orders", conns
			c.Expires = time.Now().Add(time.Hour).Unix()
		})
	}
	newest := ago(0, orders, 60)
	for name, content := range map[string][]byte{
		"orders.jwt": newest, "account.jwt": newest, "new/" + orders.ID + ".jwt": newest,
		"OP/accounts/orders/orders.jwt": newest, "OP/accounts/SYS/SYS.jwt": s.op.SystemAccount(t),
		"OP/.nsc": []byte("{}"), "OP/OP.jwt": []byte(s.op.Token(t)), "a.jwt": []byte(s.op.Token(t)),
		"b.jwt": []byte(jwttest.NewOperator(t).Token(t)),
	} {
		writeFile(t, filepath.Join(s.dir, name), content)
	}
	r.certificates()
	if err := os.Mkdir(filepath.Join(s.dir, "kvstore"), 0o700); err != nil {
		t.Fatal(err)
	}

	port := freePort(t)
	readme := mustReadFile(t, "../../README.md")
	conf := strings.NewReplacer("localhost:4222", fmt.Sprintf("127.0.0.1:%d", port)).Replace(
		r.block(readme, "operatorjwtpath:"))
	jwttest.File(t, s.dir, "server.conf", []byte(conf))
	p := start(t, s.dir, nil, "-c", "server.conf", "-hp", "127.0.0.1:0")
	r.url = p.url()
	natstest.Start(t, fmt.Sprintf("listen: 127.0.0.1:%d\n", port)+strings.ReplaceAll(
		r.absolute(r.block(readme, "operator:")), "http://localhost:9090", r.url))
	p.wait("connected to NATS for account and activation notifications")
	mustPush(t, r.url, orders.ID, ago(time.Hour, orders, -1))
	mustPush(t, r.url, sales.ID, ago(time.Hour, sales, -1))
	_, other := newEnvOf(t, s.op, "", "").start(t)
	r.names = strings.NewReplacer("http://localhost:9090", r.url, "http://old:9090", r.url,
		"http://new:9090", other, "nats://localhost:4222", fmt.Sprintf("nats://127.0.0.1:%d", port),
		"DIRECTORY", "store", "FOLDER", "OP", "/var/lib/nats-account-server", "kvstore",
		"/etc/nats-account-server/kv.creds", "sys.creds", "/backup/accounts", "backup", "<key>", r.key,
		"A….jwt", r.key+".jwt", "$2a$11$…", "$2a$11$"+strings.Repeat("a", 53),
		"/etc/operator.jwt", "op.jwt", "/var/lib/jwt", "store", "~/.local/share/nats/nsc/stores/Acme", "OP",
		"dir: D", "dir: store", "nsc: F", "nsc: OP")
	return r
}

// certificates writes the files of certificates that snippets name.
func (r *reader) certificates() {
	r.t.Helper()
	authority := certtest.New(r.t)
	rename := func(from, to string) {
		if err := os.Rename(from, filepath.Join(r.dir, to)); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, name := range []string{"ca", "clients"} {
		rename(authority.Write(r.t, r.dir, name), name+".crt")
	}
	for _, name := range []string{"n1", "server"} {
		cert, key := authority.Issue(r.t).Write(r.t, r.dir, name)
		rename(cert, name+".crt")
		rename(key, name+".key")
	}
}

// block returns the block of code that begins with a word.
func (r *reader) block(page, begin string) string {
	r.t.Helper()
	for _, block := range r.code(page) {
		if strings.HasPrefix(block, begin) {
			return block
		}
	}
	r.t.Fatalf("the README has no %s", begin)
	return ""
}

// code returns the blocks and the spans of code of a page in Markdown. Spans have no line end.
func (r *reader) code(page string) (all []string) {
	source := []byte(page)
	root := goldmark.New().Parser().Parse(text.NewReader(source))
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n.Kind() {
		case ast.KindCodeBlock, ast.KindFencedCodeBlock:
			if entering {
				all = append(all, string(n.Lines().Value(source)))
			}
		case ast.KindCodeSpan:
			if span := n.FirstChild().(*ast.Text); entering && n.ChildCount() == 1 {
				all = append(all, strings.ReplaceAll(string(span.Value(source)), `\|`, "|"))
			}
		}
		return ast.WalkContinue, nil
	})
	return all
}

var (
	isCommand = regexp.MustCompile(`^(\w+=.* )?(` + strings.Join(append(programs(), "curl",
		"nats-account-server", "source"), "|") + `) |^\w+=\$\(`)
	isSection = regexp.MustCompile(`(?s)^((store|http|nats|monitor|logging|kv) \{.*\}\n?` +
		`|operator(jwtpath)?: .*)$`)
)

func programs() (all []string) {
	for name := range notHere {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// follow runs the commands of a page and checks its snippets.
func (r *reader) follow(page, content string) {
	r.t.Helper()
	for _, code := range r.code(content) {
		code = r.names.Replace(code)
		isBlock := strings.HasSuffix(code, "\n")
		_, isNone := notCommands[code]
		switch {
		case isNone, strings.ContainsAny(code, "│"), strings.HasPrefix(code, `{"time"`):
		case isCommand.MatchString(code):
			r.shell(page, code)
		case strings.Contains(code, "resolver: "):
			r.natsServer(page, code)
		case isSection.MatchString(code):
			r.configuration(page, code)
		case isBlock:
			r.t.Errorf("%s: the test does not know what this is:\n%s", page, code)
		case strings.HasPrefix(code, "/") && !strings.Contains(code, " "):
			r.route(page, code)
		}
	}
}

// shell runs commands in a shell.
func (r *reader) shell(page, script string) {
	r.t.Helper()
	r.ran++
	prelude := shellPrelude
	for _, name := range programs() {
		prelude += name + "() { :; }\n"
	}
	bin := filepath.Join(r.dir, "bin")
	for _, name := range []string{"curl", "jq", "sort", "cat"} {
		path, err := exec.LookPath(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := os.MkdirAll(bin, 0o700); err != nil {
			r.t.Fatal(err)
		}
		_ = os.Symlink(path, filepath.Join(bin, name))
	}
	c := exec.Command("bash", "-c", prelude+r.names.Replace(script))
	c.Dir = r.dir
	c.Env = []string{"PATH=" + bin, "HOME=" + r.dir, "BINARY=" + r.program, "KEY=" + r.key,
		"ADDRESS=" + strings.TrimPrefix(r.url, "http://"), "NATS_ACCOUNT_SERVER_URL=" + r.url}
	out, err := c.CombinedOutput()
	failures, _ := os.ReadFile(filepath.Join(r.dir, "failures"))
	if len(failures) > 0 || c.ProcessState == nil {
		r.t.Errorf("%s: %v\n%s\n%s\n%s", page, err, script, failures, out)
	}
	_ = os.Remove(filepath.Join(r.dir, "failures"))
}

// configuration checks a snippet of a configuration with -t.
func (r *reader) configuration(page, snippet string) {
	r.t.Helper()
	r.ran++
	if strings.HasPrefix(snippet, "kv") {
		snippet = "store { dir: kvstore\n" + snippet + "}"
	}
	if !strings.HasPrefix(snippet, "operator") {
		snippet = "operatorjwtpath: op.jwt\n" + snippet
	}
	path := jwttest.File(r.t, r.dir, "snippet.conf", []byte(snippet))
	c := exec.Command(r.program, "-t", "-c", path)
	c.Dir = r.dir
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Errorf("%s: %v\n%s\n%s", page, err, snippet, out)
	}
}

// absolute makes paths of files absolute: nats-server is not started in their directory.
func (r *reader) absolute(snippet string) string {
	return regexp.MustCompile(`\b\w+\.(crt|key|jwt)\b`).ReplaceAllString(snippet, r.dir+"/$0")
}

// natsServer lets nats-server read a snippet of its configuration.
func (r *reader) natsServer(page, snippet string) {
	r.t.Helper()
	r.ran++
	path := jwttest.File(r.t, r.dir, "nats-server.conf", []byte(r.absolute(snippet)))
	if _, err := natstest.ProcessConfig(path); err != nil {
		r.t.Errorf("%s: %v\n%s", page, err, snippet)
	}
}

// route asks for a path. It is one that the server has.
func (r *reader) route(page, path string) {
	r.t.Helper()
	r.ran++
	status, _ := getPage(r.t, r.url+strings.ReplaceAll(path, "KEY", r.key))
	if status == http.StatusNotFound {
		r.t.Errorf("%s: there is no %s", page, path)
	}
}
