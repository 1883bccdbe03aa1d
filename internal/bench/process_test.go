package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/natstest"
)

// process is a program that was started.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  string // path of what it has written, if that is kept
	once sync.Once
	err  error // of its end
	// peak is the greatest anonymous memory, in MB. It is final once watching is closed.
	peak     float64
	watching chan struct{}
}

// launch starts a program. end ends it after the test.
func launch(t testing.TB, c *exec.Cmd, end func()) *process {
	t.Helper()
	p := &process{t: t, cmd: c, watching: make(chan struct{})}
	check(t, c.Start())
	go p.watch()
	t.Cleanup(func() {
		end()
		_ = p.wait()
	})
	return p
}

// watch samples the memory until the process is gone.
func (p *process) watch() {
	defer close(p.watching)
	for {
		mb, ok := anonymous(p.cmd.Process.Pid)
		if !ok {
			return
		}
		p.peak = max(p.peak, mb)
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *process) wait() error {
	p.once.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}

// stop ends the process as an init system does, and returns the peak of its memory in MB.
func (p *process) stop() (peak float64) {
	p.t.Helper()
	check(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.wait(); err != nil {
		p.t.Fatalf("%s has not ended well: %v\n%s", p.cmd.Path, err, p.written())
	}
	<-p.watching
	return p.peak
}

// written is the end of what the process has logged.
func (p *process) written() string {
	content, _ := os.ReadFile(p.log)
	return string(content[max(0, len(content)-4000):])
}

// memory is the anonymous memory now, in MB.
func (p *process) memory() float64 {
	mb, _ := anonymous(p.cmd.Process.Pid)
	return mb
}

func (p *process) cpu() time.Duration { return cpuTime(p.t, p.cmd.Process.Pid) }

// settle returns when the process has not worked for some time. What it did before is finished
// then.
func (p *process) settle(quiet time.Duration) {
	p.t.Helper()
	const step = 100 * time.Millisecond
	last, calm := p.cpu(), time.Duration(0)
	for end := time.Now().Add(time.Hour); calm < quiet; time.Sleep(step) {
		now := p.cpu()
		if calm += step; now-last > step/50 {
			calm = 0
		}
		if last = now; time.Now().After(end) {
			p.t.Fatalf("%s works without an end", p.cmd.Path)
		}
	}
}

// accountServer is a running account server.
type accountServer struct {
	*process
	store   string
	address string // of HTTP
	began   time.Time
}

// setup is how an account server is to be started.
type setup struct {
	fixture *fixture
	store   string // "" is the fixture's
	address string // "" is any free port of the loopback
	nats    string // URL; "" is none
	kv      string // the section store.kv; "" is none
	discard bool   // the log is written to /dev/null
}

// start returns a server once it has answered a request.
func (s setup) start(t testing.TB) *accountServer {
	t.Helper()
	if s.store == "" {
		s.store = s.fixture.path("store")
	}
	if s.address == "" {
		s.address = freeAddress(t)
	}
	conf := filepath.Join(t.TempDir(), "server.conf")
	check(t, os.WriteFile(conf, []byte(s.conf()), 0o600))
	log := conf + ".log"
	if s.discard {
		log = os.DevNull
	}
	f, err := os.Create(log)
	check(t, err)
	defer f.Close()
	c := exec.Command(program, "-c", conf)
	c.Stdout, c.Stderr = f, f
	endWithUs(c)
	a := &accountServer{store: s.store, address: s.address, began: time.Now()}
	a.process = launch(t, c, func() { _ = c.Process.Kill() })
	a.log = log
	for !answers(s.address) {
		if !alive(a.cmd.Process.Pid) || time.Since(a.began) > 10*time.Minute {
			t.Fatalf("the server does not serve:\n%s", a.written())
		}
		time.Sleep(time.Millisecond)
	}
	return a
}

func (s setup) conf() string {
	host, port, _ := strings.Cut(s.address, ":")
	text := fmt.Sprintf("operatorjwtpath: %q\nsystemaccountjwtpath: %q\n",
		s.fixture.path("operator"), s.fixture.path("system"))
	text += fmt.Sprintf("http { host: %q, port: %s }\nstore { dir: %q, shard: true\n %s }\n",
		host, port, s.store, s.kv)
	if s.nats != "" {
		text += fmt.Sprintf("nats { servers: [%q], usercredentials: %q }\n",
			s.nats, s.fixture.path("creds"))
	}
	return text
}

func freeAddress(t testing.TB) string {
	return fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
}

// child is this test's program in another process, which runs one of its parts.
type child struct {
	*process
	in  io.WriteCloser
	out *bufio.Scanner
}

// partEnv has the name of the test that a child runs.
const partEnv = "BENCH_PART"

// answerPrefix begins the lines of a child that are meant for its parent.
const answerPrefix = "answer: "

// startChild runs a test in a child, until its input ends: so it ends with this process too. Each
// argument is a line of its input.
func startChild(t testing.TB, test string, lines ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+test+"$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), partEnv+"="+test)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	c := &child{in: in, out: bufio.NewScanner(out)}
	c.process = launch(t, cmd, func() { _ = in.Close() })
	for _, line := range lines {
		c.tell(line)
	}
	return c
}

func (c *child) tell(line string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, line)
	check(c.t, err)
}

// answer returns the next line that is meant for us.
func (c *child) answer() string {
	c.t.Helper()
	for c.out.Scan() {
		if text, ok := strings.CutPrefix(c.out.Text(), answerPrefix); ok {
			return text
		}
	}
	c.t.Fatal("a child of this process has ended early")
	return ""
}

// part returns the next lines of a child's input. It skips the test in any other process.
func part(t *testing.T) func() (line string, ok bool) {
	if os.Getenv(partEnv) != t.Name() {
		t.Skip("it is a part of TestTables")
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	return func() (string, bool) {
		ok := in.Scan()
		return in.Text(), ok
	}
}

func answer(format string, args ...any) { fmt.Printf("\n"+answerPrefix+format+"\n", args...) }
