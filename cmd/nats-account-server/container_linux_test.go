package main_test

import (
	"debug/elf"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nats-account-server/internal/jwttest"
)

// The test builds the program as the Dockerfile does and runs it as the first process of a
// container that has nothing else in it: it needs no library, and `docker stop` is a stop in order.
func TestTheProgramRunsAloneInAContainer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	program := filepath.Join(root, "nats-account-server")
	build := exec.Command("sh", "-ec",
		strings.Replace(buildOfTheImage(t), " -o /nats-account-server ",
			" -o "+program+" ", 1))
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if f, err := elf.Open(program); err != nil {
		t.Fatal(err)
	} else if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %q, %v", libraries, err)
	}
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/nats-account-server", "-hp", "127.0.0.1:0", "-dir", "/nats/jwt")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		Chroot:      root,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if !mayHaveNamespaces() {
		jwttest.Lacks(t, "namespaces", "users may not make them")
	}
	p := launch(t, c)
	if status, _ := get(t, p.url()+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	p.term()
}

// The image has the original's paths and entry point, and nothing else that an image can have.
func TestTheImageIsTheOriginals(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, _ := strings.Cut(string(text), "\nFROM alpine:3\n")
	want := `RUN apk add --no-cache ca-certificates && mkdir -p /nats/bin /nats/conf
COPY --from=build /nats-account-server /nats/bin/nats-account-server
RUN ln -s /nats/bin/nats-account-server /bin/nats-account-server
ENTRYPOINT ["/bin/nats-account-server"]
`
	if final != want {
		t.Errorf("the image is\n%s\nwant\n%s", final, want)
	}
}

// buildOfTheImage is the line of the Dockerfile that builds.
func buildOfTheImage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if command, is := strings.CutPrefix(line, "RUN "); is &&
			strings.Contains(command, "go build") {
			return command
		}
	}
	t.Fatal("the Dockerfile builds nothing")
	return ""
}

func mayHaveNamespaces() bool {
	c := exec.Command("/bin/true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID}
	return c.Run() == nil
}
