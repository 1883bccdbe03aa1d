//go:build unix

package main_test

import (
	"encoding/json"
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
	test  string // which must fail; "bucket.TestX" is one of package bucket
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
			"\t\tif n := len(batch); n > 0 {\n\t\t\tlast := batch[n-1]\n" +
				"\t\t\tss.revisions.move(newCursor(ss.from.id(), last.seq, last))\n" +
				"\t\t\ttime.Sleep(300 * time.Millisecond)\n\t\t}\n" +
				"\t\tif err := ss.applyAll(batch); err != nil {\n"},
		{"bucket/revisions.go", "const saveInterval = time.Second", "const saveInterval = 0"}},
		"TestClusterSoak", "account server "},
	{"caught up is when nothing is pending", []edit{
		{"bucket/consumer.go", "\ntype consumer struct {\n", "\ntype consumer struct {\n\tpending bool\n"},
		{"bucket/consumer.go", "\tc.delivered, c.asked = own, c.asked-1\n",
			"\tc.delivered, c.asked, c.pending = own, c.asked-1, fields[8] != \"0\"\n"},
		{"bucket/consumer.go", "\"config\": c}, &answer{})\n",
			"\"config\": c}, &reply)\n"},
		{"bucket/consumer.go", "\tsubject := \"CONSUMER.CREATE.\"",
			"\tvar reply struct {\n\t\tanswer\n\t\tPending int `json:\"num_pending\"`\n\t}\n" +
				"\tsubject := \"CONSUMER.CREATE.\""},
		{"bucket/consumer.go", "made := &consumer{", "made := &consumer{pending: reply.Pending > 0, "},
		{"bucket/reconcile.go", "\tfor end := uint64(0); end < p.target; {\n",
			"\tfor end := uint64(0); c.pending && end < p.target; {\n"},
	}, "bucket.TestAReplicaThatIsBehindIsNoEndOfTheBucket", "when the bucket has been read"},
	{"it announces before it has caught up", []edit{{"daemon/nats.go",
		"\t\td.bucket.await(ctx)\n", ""}},
		"TestClusterSoak", "told NATS of"},
	{"it answers lookups before it has caught up", []edit{{"daemon/nats.go",
		"\t\td.bucket.await(ctx)\n", ""}},
		"TestAStaleAccountServerIsCorrected", "a lookup is answered"},
}

// run builds the program with the fault and runs the test on it, in a process of its own.
func (c *control) run(t *testing.T) {
	dir := t.TempDir()
	test := c.command(t, dir, c.overlay(t, dir))
	began := time.Now()
	out, err := test.CombinedOutput()
	took := time.Since(began).Round(time.Second)
	if err == nil || firstError(string(out)) == "" || !strings.Contains(string(out), c.says) {
		t.Fatalf("%s does not find the fault in %s, %v: %s", c.test, took, err, tail(string(out)))
	}
	t.Logf("found after %s: %s", took, firstError(string(out)))
}

// command is the test, which runs with the fault.
func (c *control) command(t *testing.T, dir, overlay string) *exec.Cmd {
	t.Helper()
	if name, isOfBucket := strings.CutPrefix(c.test, "bucket."); isOfBucket {
		return exec.Command("go", "test", "-overlay", overlay, "-run", "^"+name+"$", "../../internal/bucket")
	}
	program := filepath.Join(dir, "nats-account-server")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	self, err := os.Executable()
	must(t, err)
	test := exec.Command(self, "-test.run", "^"+c.test+"$", "-test.v", "-test.timeout", "30m")
	limit := os.Getenv("CLUSTER_TIME")
	if limit == "" {
		limit = "5m"
	}
	test.Env = append(os.Environ(), "CLUSTER_PROGRAM="+program, "CLUSTER_TIME="+limit)
	if raceDetector() {
		test.Env = append(test.Env, "CGO_ENABLED=1") // it builds the program once more
	}
	return test
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

// TestEachControlFitsTheSource: what a control changes is there.
func TestEachControlFitsTheSource(t *testing.T) {
	t.Parallel()
	for _, c := range clusterControls {
		t.Run(c.name, func(t *testing.T) { c.overlay(t, t.TempDir()) })
	}
}

// overlay writes the changed files, and the list of them that the compiler reads.
func (c *control) overlay(t *testing.T, dir string) (path string) {
	t.Helper()
	texts, replace := map[string]string{}, map[string]string{}
	for _, e := range c.edits {
		path, err := filepath.Abs(filepath.Join("../../internal", e.file))
		must(t, err)
		text, isChanged := texts[path]
		if !isChanged {
			text = mustReadFile(t, path)
		}
		if n := strings.Count(text, e.old); n != 1 {
			t.Fatalf("%s has %d times %q: the control does not fit any more", path, n, e.old)
		}
		texts[path] = strings.Replace(text, e.old, e.new, 1)
	}
	for path, text := range texts {
		replace[path] = jwttest.File(t, dir, filepath.Base(path), []byte(text))
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	return jwttest.File(t, dir, "overlay.json", list)
}
