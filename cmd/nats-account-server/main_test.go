package main_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// binary is the built program. It has the race detector in it if the tests have.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(partEnv) != "" {
		if err := playPart(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "nats-account-server")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "nats-account-server")
	build := exec.Command("go", append([]string{"build", "-o", binary}, raceFlags()...)...)
	build.Stderr = os.Stderr
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // a process would sleep for a second at its end
	// A push on a connection that the program closes at the same time gets no answer. So an idle connection
	// is let go before the program ends it, which takes five seconds.
	http.DefaultTransport.(*http.Transport).IdleConnTimeout = time.Second
	// The tests mostly wait for processes and for NATS. More of them run at once than there are
	// processors.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
	} else {
		_ = os.Setenv("CGO_ENABLED", "0") // as `make build` has it, so that little is compiled again
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// releaseBinary builds the program without the race detector, which multiplies the memory of a
// connection, and the time of a start.
var releaseBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "release")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

// raceFlags are the flags of the race detector that the tests were built with. With other flags every package
// would be compiled once more.
func raceFlags() (flags []string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "-race" || s.Key == "-gcflags" {
			flags = append(flags, s.Key+"="+s.Value)
		}
	}
	return flags
}

// raceDetector says whether the tests were built with -race.
func raceDetector() bool { return slices.Contains(raceFlags(), "-race=true") }
