package daemon_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "nats-account-server/internal/"

// arrows says which package may import which. A package that is not listed may import leaves only.
var arrows = map[string][]string{
	"config":   {"natsconf"},
	"accounts": {"claimcheck", "jwtstore"}, // of jwtstore the types they share
	"effect":   {"accounts", "claimcheck", "claimdiff", "facts", "jwtstore"},
	"httpapi": {
		"accounts", "activations", "auth", "claimcheck", "dryrun", "effect", "manual", "monitor", "pages",
	},
	"dryrun":   {"effect"},
	"monitor":  {"accounts", "bucket", "claimcheck", "jwtstore", "notifier", "replica"},
	"notifier": {"accounts", "facts", "jwtstore"},
	"pages":    {"accounts", "claimdiff", "facts", "manual", "monitor"},
	"bucket":   {"accounts", "activations", "jwtstore"},
	"resolver": {"accounts", "activations"},
	"replica":  {"accounts", "activations"},
	"dirsync":  {"accounts", "activations", "jwtstore"}, // for the paths and stamps of files
	"daemon": {
		"accounts", "activations", "auth", "bucket", "config", "dirsync", "effect", "facts", "httpapi",
		"httpserver", "jwtstore", "monitor", "natsconn", "notifier", "pages", "replica", "resolver",
	},
	"activations": {"accounts", "jwtstore"},
	"tools":       {"accounts", "claimcheck", "dryrun", "jwtstore"}, // of jwtstore the reading of files
	// for tests only
	"natstest": {"jwttest"},
}

// leaves import no other package of this program, and every package may import them.
var leaves = []string{"claimdiff", "logging", "suggest", "trust", "pause", "process"}

func TestPackagesImportOnlyWhatTheArrowsAllow(t *testing.T) {
	const format = "{{.ImportPath}} {{join .Imports \" \"}}"
	out, err := exec.Command("go", "list", "-f", format, "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		packages++
		allowed := slices.Concat(leaves, arrows[name])
		for _, imported := range fields[1:] {
			sibling, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(allowed, sibling) && !strings.HasSuffix(name, "test") {
				t.Errorf("%s imports %s", name, sibling)
			}
		}
	}
	if packages < 10 {
		t.Errorf("only %d packages found", packages)
	}
}

func TestNatsServerIsForTestsOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../../cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, banned := range []string{"github.com/nats-io/nats-server",
			"testing", module + "jwttest",
			module + "natstest"} {
			if p == banned || strings.HasPrefix(p, banned+"/") {
				t.Errorf("the binary depends on %s", p)
			}
		}
	}
}
