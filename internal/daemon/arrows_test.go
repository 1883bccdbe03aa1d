package daemon_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "nats-account-server/internal/"

// arrows is the plan of the house: which room may import which. A room that is not listed may import none.
var arrows = map[string][]string{
	"config":   {"natsconf"},
	"accounts": {"operator"},
	"httpapi":  {"access", "accounts", "operator"},
	"notifier": {"accounts"}, // for what a receipt says; the store and the connection are interfaces
	"resolver": {"accounts"},
	"replica":  {"accounts"},
	"mirror":   {"accounts", "jwtstore"}, // between the two: files to the gate
	"daemon":   {"access", "accounts", "config", "httpapi", "jwtstore", "logging", "mirror", "natslink", "notifier", "operator", "replica", "resolver"},
	// for tests only
	"natstest": {"jwttest"},
}

func TestRoomsImportOnlyWhatTheHouseAllows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	rooms := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], module)
		rooms++
		for _, imported := range fields[1:] {
			sibling, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(arrows[room], sibling) && !strings.HasSuffix(room, "test") {
				t.Errorf("%s imports %s", room, sibling)
			}
		}
	}
	if rooms < 10 {
		t.Errorf("only %d rooms found", rooms)
	}
}

func TestNatsServerIsForTestsOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../../cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, banned := range []string{"github.com/nats-io/nats-server", "testing", module + "jwttest", module + "natstest"} {
			if p == banned || strings.HasPrefix(p, banned+"/") {
				t.Errorf("the binary depends on %s", p)
			}
		}
	}
}
