package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/natstest"
)

// quickStart does what the quick start of the README says, line by line.
type quickStart struct {
	t         *testing.T
	text      string // of the README's section
	addresses *strings.Replacer
	names     map[string]string // the shell's variables
	thrownOut chan struct{}
}

// TestTheQuickStartWorksAsTheReadmeSays runs the commands of the README, on free ports and with another
// directory. A command that the test does not know is an error.
func TestTheQuickStartWorksAsTheReadmeSays(t *testing.T) {
	t.Chdir("../..")
	readme := mustReadFile(t, "README.md")
	section := regexp.MustCompile(`(?s)\n## Quick start\n(.*?)\n## `).FindStringSubmatch(readme)
	if section == nil {
		t.Fatal("the README has no quick start")
	}
	natsPort := freePort(t)
	p := start(t, ".", nil, "-c", "conf/quickstart.conf", "-hp", "127.0.0.1:0", "-dir", t.TempDir(),
		"-nats", fmt.Sprintf("nats://127.0.0.1:%d", natsPort))
	url := p.url()
	s := &quickStart{t: t, text: section[1], names: map[string]string{}, thrownOut: make(chan struct{}),
		addresses: strings.NewReplacer("http://localhost:9090", url,
			"localhost:4222", fmt.Sprintf("localhost:%d", natsPort),
			"127.0.0.1:4222", fmt.Sprintf("127.0.0.1:%d", natsPort))}
	natstest.Start(t, s.addresses.Replace(mustReadFile(t, "conf/nats-server-quickstart.conf")))
	p.wait("connected to NATS for account and activation notifications")
	waitServers(t, url, 1)

	for _, line := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(s.text, -1) {
		s.run(line[1])
	}
	<-s.thrownOut
	p.term()
}

// run runs one line of the README.
func (s *quickStart) run(line string) {
	s.t.Helper()
	name, args, _ := strings.Cut(line, " ")
	args = s.addresses.Replace(args)
	for name, value := range s.names {
		args = strings.ReplaceAll(args, "$"+name, value)
	}
	args = strings.ReplaceAll(args, `"`, "")
	assigned := regexp.MustCompile(`^(\w+)=\$\(cat (\S+)\)$`).FindStringSubmatch(line)
	switch {
	case assigned != nil:
		s.names[assigned[1]] = strings.TrimSpace(mustReadFile(s.t, assigned[2]))
	case name == "curl":
		s.curl(strings.Fields(args))
	case strings.HasPrefix(line, "$(go env GOPATH)/bin/nats "):
		s.connect(strings.Fields(args)[2:])
	case line == "make demo", line == "make run", strings.HasPrefix(line, "go install "):
		// What make does is tested in internal/demo.
	default:
		s.t.Errorf("the test can't run: %s", line)
	}
}

// curl sends a request. The answer to a push must be in the text.
func (s *quickStart) curl(args []string) {
	s.t.Helper()
	if len(args) == 1 {
		if status, body := get(s.t, args[0]); status != http.StatusOK ||
			!strings.Contains(body, `"name": "sample"`) {
			s.t.Errorf("%s: %d %s", args[0], status, body)
		}
		return
	}
	file, isFile := strings.CutPrefix(args[1], "@")
	if len(args) != 3 || args[0] != "--data-binary" || !isFile {
		s.t.Fatalf("the test can't run: curl %q", args)
	}
	// On a busy machine the answer may come before that of the nats-server, but not each time.
	var body string
	defer func() { s.t.Logf("%q is answered with %q", args, body) }()
	natstest.Eventually(s.t, "the answer is in the README", func() bool {
		_, body = post(http.DefaultClient, args[2], []byte(mustReadFile(s.t, file)))
		return strings.Contains(s.text, "`"+strings.TrimSpace(body)+"`")
	})
}

// connect connects a client, which is to be thrown out.
func (s *quickStart) connect(args []string) {
	s.t.Helper()
	if len(args) != 6 || args[0] != "--server" || args[2] != "--creds" || args[4] != "sub" {
		s.t.Fatalf("the test can't run: nats %q", args)
	}
	natstest.Connect(s.t, "nats://"+args[1], []byte(mustReadFile(s.t, args[3])), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(s.thrownOut) }))
}
