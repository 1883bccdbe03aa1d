package main_test

import (
	"debug/elf"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nats-account-server/internal/jwttest"
)

// The test makes the image's root directory by the commands of the Dockerfile, and runs the image's
// entry point and command in it, as the first process of a container that has nothing else in it: the
// program needs no library, and `docker stop` is a stop in order.
func TestTheProgramRunsAloneInAContainer(t *testing.T) {
	t.Parallel()
	if !mayHaveNamespaces() {
		jwttest.Lacks(t, "namespaces", "users may not make them")
	}
	image := dockerfile(t)
	root, certificates := t.TempDir(), jwttest.File(t, t.TempDir(), "ca.crt", nil)
	program := filepath.Join(t.TempDir(), "nats-account-server")
	for _, command := range image.commands("go build", "/image/bin") {
		command = strings.NewReplacer("/nats-account-server ./cmd", program+" ./cmd",
			"cp /nats-account-server", "cp "+program, " /image", " "+root,
			"/etc/ssl/certs/ca-certificates.crt "+root, certificates+" "+root,
			"chown 65532:65532", "test -d").Replace(command)
		build := exec.Command("sh", "-ec", command)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	if f, err := elf.Open(program); err != nil {
		t.Fatal(err)
	} else if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %q, %v", libraries, err)
	}
	jwttest.File(t, root, "nats/conf/operator.jwt", []byte(jwttest.NewOperator(t).Token(t)))
	args := slices.Concat(image.list("ENTRYPOINT"), image.list("CMD"),
		[]string{"-hp", "127.0.0.1:0"})
	c := exec.Command(args[0], args[1:]...)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		Chroot:      root,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	p := launch(t, c)
	url := p.url()
	if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	// The health check of the image, with the address that the server has here.
	check := strings.Replace(strings.Join(image.list("HEALTHCHECK"), " "), "http://127.0.0.1:9090",
		url, 1)
	check = strings.Replace(check, args[0], program, 1)
	if out, err := exec.Command("sh", "-c", check).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", check, err, out)
	}
	p.term()
	if out, err := exec.Command("sh", "-c", check).CombinedOutput(); err == nil {
		t.Errorf("the health check of a server that has stopped succeeds: %s", out)
	}
}

// The image has the original's entry point and paths. It runs as a user that is not root, and has no
// shell.
func TestTheImageIsTheOriginals(t *testing.T) {
	t.Parallel()
	image := dockerfile(t)
	_, final, _ := strings.Cut(image.text, "\nFROM scratch\n")
	for _, want := range []string{
		`ENTRYPOINT ["/bin/nats-account-server"]`, "USER 65532:65532", "EXPOSE 9090",
		"VOLUME /nats/store", `org.opencontainers.image.title="nats-account-server"`,
	} {
		if !strings.Contains(final, want) {
			t.Errorf("the image lacks %s:\n%s", want, final)
		}
	}
	if run := regexp.MustCompile(`(?m)^RUN`).FindString(final); run != "" {
		t.Error("the image has no shell that could run something")
	}
	const conf = "../../conf/container.conf"
	if command := image.list("CMD"); !slices.Equal(command,
		[]string{"-c", "/nats/conf/nats-account-server.conf"}) ||
		!strings.Contains(mustReadFile(t, conf), `host: "0.0.0.0"`) {
		t.Errorf("%q, and %s: it must listen on every interface", command, conf)
	}
}

// imageFile is the text of the Dockerfile, without line continuations.
type imageFile struct {
	t    *testing.T
	text string
}

func dockerfile(t *testing.T) imageFile {
	t.Helper()
	return imageFile{t, strings.ReplaceAll(mustReadFile(t, "../../Dockerfile"), "\\\n", " ")}
}

// commands returns the RUN lines that contain one of the texts, in the order of the texts.
func (f imageFile) commands(texts ...string) (commands []string) {
	f.t.Helper()
	for _, text := range texts {
		line := regexp.MustCompile("(?m)^RUN (.*" + regexp.QuoteMeta(text) + ".*)$").
			FindStringSubmatch(f.text)
		if line == nil {
			f.t.Fatalf("the Dockerfile does not run %s", text)
		}
		commands = append(commands, line[1])
	}
	return commands
}

// list returns the list in JSON at the end of an instruction.
func (f imageFile) list(instruction string) (words []string) {
	f.t.Helper()
	line := regexp.MustCompile(`(?m)^` + instruction + `\b.*?(\[.*\])$`).FindStringSubmatch(f.text)
	if line == nil {
		f.t.Fatalf("the Dockerfile has no %s", instruction)
	}
	if err := json.Unmarshal([]byte(line[1]), &words); err != nil {
		f.t.Fatal(err)
	}
	return words
}

func mayHaveNamespaces() bool {
	c := exec.Command("/bin/true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID}
	return c.Run() == nil
}
