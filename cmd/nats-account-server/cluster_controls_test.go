//go:build unix

package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// control is the program with one fault that the tests of several account servers must find. The
// fault is changes of the source, which only the compiler sees.
type control struct {
	name  string
	edits []edit
	test  string // which must fail
	says  string // a part of what it says then
}

// edit is a change of a file below internal. The old text is there once.
type edit struct{ file, old, new string }

// TestClusterControls runs tests on programs with a fault each, which they must find. It needs
// CLUSTER_CONTROLS=1; CLUSTER_TIME is how long a soak tries (5m).
func TestClusterControls(t *testing.T) {
	if os.Getenv("CLUSTER_CONTROLS") == "" {
		t.Skip("takes minutes: set CLUSTER_CONTROLS=1")
	}
	for _, c := range clusterControls {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

var clusterControls = []control{
	{"no compare-and-set", []edit{{"bucket/api.go",
		"\th.Set(headerExpected, strconv.FormatUint(expected, 10))\n",
		"\t_ = strconv.FormatUint(expected, 10)\n"}},
		"TestClusterSoak", "the bucket goes back"},
	{"not stored after a timeout", []edit{{"bucket/api.go",
		"&publishError{cause: err, maybe: true}", "&publishError{cause: err}"}},
		"TestClusterSoak", "no push may have stored it"},
	{"the cursor is ahead of the disk", []edit{
		{"bucket/follow.go", "\t\tif err := ss.applyAll(batch); err != nil {\n",
			"\t\tif n := len(batch); n > 0 {\n\t\t\tss.moveCursor(ss.from.id, batch[n-1].seq)\n" +
				"\t\t\ttime.Sleep(300 * time.Millisecond)\n\t\t}\n" +
				"\t\tif err := ss.applyAll(batch); err != nil {\n"},
		{"bucket/bucket.go", "const saveInterval = time.Second", "const saveInterval = 0"}},
		"TestClusterSoak", ""},
	{"it announces before it has caught up", []edit{{"daemon/nats.go",
		"\t\td.awaitBucket(ctx)\n", ""}},
		"TestClusterSoak", "told NATS of"},
	{"it answers lookups before it has caught up", []edit{{"daemon/nats.go",
		"\t\td.awaitBucket(ctx)\n", ""}},
		"TestAStaleAccountServerIsCorrected", "a lookup is answered"},
}

// run builds the program with the fault and runs the test on it, in a process of its own.
func (c *control) run(t *testing.T) {
	program := c.build(t)
	self, err := os.Executable()
	must(t, err)
	began := time.Now()
	test := exec.Command(self, "-test.run", "^"+c.test+"$", "-test.v", "-test.timeout", "30m")
	limit := os.Getenv("CLUSTER_TIME")
	if limit == "" {
		limit = "5m"
	}
	test.Env = append(os.Environ(), "CLUSTER_PROGRAM="+program, "CLUSTER_TIME="+limit)
	out, err := test.CombinedOutput()
	took := time.Since(began).Round(time.Second)
	if err == nil || !strings.Contains(string(out), c.says) {
		t.Fatalf("%s does not find the fault in %s, %v: %s", c.test, took, err, tail(string(out)))
	}
	t.Logf("found after %s: %s", took, firstError(string(out)))
}

// firstError is the first line in which a test says what is wrong.
func firstError(out string) string {
	for line := range strings.Lines(out) {
		if text := strings.TrimSpace(line); strings.Contains(text, "_test.go:") &&
			!strings.Contains(text, "CLUSTER_SEED") {
			return text[:min(len(text), 300)]
		}
	}
	return ""
}

// build builds the program with the fault.
func (c *control) build(t *testing.T) (program string) {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	for i, e := range c.edits {
		path, err := filepath.Abs(filepath.Join("../../internal", e.file))
		must(t, err)
		text := mustReadFile(t, path)
		if n := strings.Count(text, e.old); n != 1 {
			t.Fatalf("%s has %d times %q: the control does not fit any more", path, n, e.old)
		}
		replace[path] = jwttest.File(t, dir, fmt.Sprintf("%d.go", i),
			[]byte(strings.Replace(text, e.old, e.new, 1)))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	program = filepath.Join(dir, "nats-account-server")
	build := exec.Command("go", "build", "-overlay",
		jwttest.File(t, dir, "overlay.json", overlay), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
