package jwtstore_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// TestAMissingEndOfTheJournalIsSaid cuts off or overwrites the end of a journal with changes that
// were acknowledged, and are in no file yet.
func TestAMissingEndOfTheJournalIsSaid(t *testing.T) {
	dir, keys := t.TempDir(), writerKeys()
	d := open(t, options(t, dir))
	var journals [2][]byte // begun by the first Put, and by a start that could write no file
	d.HoldFiles(func() {
		for _, key := range keys[:6] {
			put(t, d, key, "the JWT")
		}
		journals[0] = readFile(t, filepath.Join(dir, ".journal", "journal"))
		if err := os.Remove(filepath.Join(dir, ".journal", "journal")); err != nil {
			t.Fatal(err)
		}
		put(t, d, keys[6], "the JWT")
		journals[1] = readFile(t, filepath.Join(dir, ".journal", "journal"))
	})
	for n, journal := range journals {
		starts := recordsIn(journal)
		stored := len(starts) - 1 // the first is the snapshot
		last, third := starts[len(starts)-1], starts[3]
		for name, c := range map[string]struct {
			content []byte
			missing int
		}{
			"nothing":   {journal, 0},
			"the zeros": {bytes.TrimRight(journal, "\x00"), 0},
			"what was never durable": {slices.Concat(journal[:last+ends(journal[last:])],
				journal[third:third+90]), 0},
			"the last":          {journal[:last], 1},
			"half of the last":  {journal[:last+60], 1},
			"the last is zeros": {zeroFrom(journal, last), 1},
			"some are zeros":    {zeroFrom(journal, third), stored - 2},
			"all":               {journal[:starts[1]], stored},
		} {
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				warnings := startOn(t, c.content, stored-c.missing)
				switch want := fmt.Sprintf("%d acknowledged changes or more are missing", c.missing); {
				case c.missing == 0 && len(warnings) > 0:
					t.Errorf("warnings %q", warnings)
				case c.missing > 0 && (len(warnings) != 1 || !strings.Contains(warnings[0], want)):
					t.Errorf("warnings %q, want %q", warnings, want)
				}
			})
		}
	}
	for name, content := range map[string][]byte{"empty": {}, "zeros": make([]byte, 4096)} {
		if warnings := startOn(t, content, 0); len(warnings) != 1 {
			t.Errorf("%s: warnings %q", name, warnings)
		}
	}
}

// startOn opens a store with this journal, and wants this many accounts in it.
func startOn(t *testing.T, journal []byte, accounts int) (warnings []string) {
	t.Helper()
	o := options(t, t.TempDir())
	o.Warn = func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}
	write(t, filepath.Join(o.Dir, ".journal", "journal"), string(journal))
	d, err := jwtstore.OpenDir(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if found, _ := jwtstoretest.Stored(t, d); len(found) != accounts {
		t.Errorf("%d accounts, want %d", len(found), accounts)
	}
	closeStore(t, d)
	return warnings
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// recordsIn returns where the records of a journal start.
func recordsIn(journal []byte) (starts []int) {
	const magic = "\xf5rec"
	for at := 32; ; {
		next := bytes.Index(journal[at:], []byte(magic))
		if next < 0 {
			return starts
		}
		starts = append(starts, at+next)
		at += next + len(magic)
	}
}

// ends returns the length of the record at the beginning of b, which zeros follow.
func ends(b []byte) int { return (len(bytes.TrimRight(b, "\x00")) + 7) &^ 7 }

// zeroFrom returns a journal with zeros from there on.
func zeroFrom(journal []byte, at int) []byte {
	journal = bytes.Clone(journal)
	clear(journal[at:])
	return journal
}
