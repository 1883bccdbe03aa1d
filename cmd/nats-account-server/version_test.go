package main_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the original prints comes first, so that what looks for it still finds it.
func TestTheVersionHasTheCommitAndItsDate(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nats-account-server")
	const set = "-X nats-account-server/internal/daemon.commit=0123456789abcdef0123 " +
		"-X nats-account-server/internal/daemon.date=2026-11-28T08:00:00Z"
	out, err := exec.Command("go", "build", "-ldflags", set, "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const want = " (commit 0123456789ab, 2026-11-28T08:00:00Z)\n"
	for _, flag := range []string{"-v", "--version"} {
		out, err = exec.Command(program, flag).Output()
		if err != nil || !regexp.MustCompile(`^nats-account-server: v\d+\.\d+\.\d+ `).Match(out) ||
			!strings.HasSuffix(string(out), want) {
			t.Errorf("%s: %q, %v", flag, out, err)
		}
	}
	p := startOther(t, program, t.TempDir(), nil, "-hp", "127.0.0.1:0")
	p.wait(`starting NATS Account server, version \d+\.\d+\.\d+` + regexp.QuoteMeta(want))
	p.url()
	p.term()
}

// A build in the repository needs no such flags.
func TestABuildInTheRepositoryKnowsItsCommit(t *testing.T) {
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Skip("the sources are in no repository")
	}
	program := filepath.Join(t.TempDir(), "nats-account-server")
	out, err := exec.Command("go", "build", "-buildvcs=true", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = exec.Command(program, "-v").Output()
	if err != nil || !strings.Contains(string(out), " (commit "+string(commit[:12])) {
		t.Errorf("%q, %v; the commit is %s", out, err, commit)
	}
}
