package main_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of differences into the manual")

// parityNames has the names of the rows of TestParity that were run.
type parityNames struct {
	mu    sync.Mutex
	names map[string]bool
	parts int
}

func (n *parityNames) add(rows []behaviour) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts++
	if n.names == nil {
		n.names = map[string]bool{}
	}
	for _, b := range rows {
		n.names[b.name] = true
	}
}

// saysDifferent matches the names of rows that say that the original does something else.
var saysDifferent = regexp.MustCompile(`(where|which) (the original|0\.8\.4|1\.0\.3|neither)`)

// compare finds differences that no row shows, and rows with a difference that the manual does not have.
func (n *parityNames) compare(t *testing.T) {
	t.Helper()
	shown := map[string]bool{}
	for _, b := range different() {
		for _, name := range b.shown {
			shown[name] = true
			if !strings.HasPrefix(name, "Test") && !n.names[name] {
				t.Errorf("%s: TestParity has no row %q", b.here, name)
			}
		}
	}
	for name := range n.names {
		if saysDifferent.MatchString(name) && !shown[name] {
			t.Errorf("no difference in the manual is shown by: %s", name)
		}
	}
}

// different returns all differences, those of the table of features among them.
func different() []difference {
	all := differences
	for _, f := range features {
		all = append(all, difference{here: f.what, shown: f.shown})
	}
	return all
}

// differenceRows are rows of TestParity that name the other tests of the differences.
func differenceRows(t *testing.T) (all []behaviour) {
	for _, d := range different() {
		var tests []string
		for _, name := range d.shown {
			if strings.HasPrefix(name, "Test") {
				tests = append(tests, name)
			}
		}
		if len(d.shown) == 0 {
			t.Errorf("nothing shows: %s", d.here)
		}
		all = append(all, row(d.here, shownBy(tests...)))
	}
	return all
}

// tableRow returns a row of a table in Markdown.
func tableRow(cells ...string) string {
	for i, cell := range cells {
		if cells[i] = " " + strings.ReplaceAll(cell, "|", `\|`) + " "; cell == "" {
			cells[i] = " "
		}
	}
	return "|" + strings.Join(cells, "|") + "|\n"
}

// The tables of the page are made from the rows. With -update, this test writes them.
func TestTheManualHasTheDifferencesThatThereAre(t *testing.T) {
	t.Parallel()
	const page = "../../internal/manual/differences.md"
	var first, second strings.Builder
	for _, f := range features {
		first.WriteString(tableRow(f.what, f.v084, f.v103, f.here))
	}
	for _, d := range differences {
		second.WriteString(tableRow(d.here, d.original, d.why))
	}
	old := mustReadFile(t, page)
	if n := strings.Count(old, "\n|---"); n != 2 {
		t.Errorf("the page has %d tables, want 2", n)
	}
	made := old
	for head, table := range map[string]string{
		"| | 0.8.4 | 1.0.3 | here |\n|---|---|---|---|\n": first.String(),
		"| here | the original | why |\n|---|---|---|\n":  second.String(),
	} {
		before, rest, found := strings.Cut(made, head)
		if !found {
			t.Fatalf("the page has no %s", head)
		}
		after := regexp.MustCompile(`^(\|.*\n)*`).ReplaceAllLiteralString(rest, "")
		made = before + head + table + after
	}
	if *update {
		if err := os.WriteFile(page, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if made != old {
		t.Error("the tables are others: run make generate")
	}
}
