package jwtstore_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"nats-account-server/internal/jwtstore"
)

// TestNextFindsWhatIsWanted, in blocks of the file, in its log and in memory. Blocks without it are passed
// over.
func TestNextFindsWhatIsWanted(t *testing.T) {
	const accounts = 8000
	x := openIndexIn(t, t.TempDir())
	want := map[string][]string{} // keys by name
	for n := range accounts {
		name := fmt.Sprintf("name-%d.", n%500)
		if n%10 == 9 {
			name = "will be another"
		}
		swap(t, x, indexKey(n), importing(name))
	}
	if err := x.Save(); err != nil { // it is large enough to be merged into blocks
		t.Fatal(err)
	}
	rename := func(n int) { swap(t, x, indexKey(n), importing(fmt.Sprintf("name-%d.", n%500))) }
	for n := 9; n < accounts; n += 20 {
		rename(n)
	}
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	for n := 19; n < accounts; n += 20 {
		rename(n)
	}
	for n := range accounts {
		name := fmt.Sprintf("name-%d.", n%500)
		want[name] = append(want[name], indexKey(n))
	}
	for n := 0; n < 500; n += 25 {
		name := fmt.Sprintf("name-%d.", n)
		keys := want[name]
		var got []string
		asked, calls := 0, 0
		wants := func(encoded []byte) bool { asked++; return bytes.Contains(encoded, []byte(name)) }
		for after, more := "", true; more; calls++ {
			var some []jwtstore.Keyed
			some, after, more = x.Next(after, wants)
			for _, a := range some {
				if a.Summary.Name == name {
					got = append(got, a.Key)
				}
			}
		}
		slices.Sort(keys)
		if !slices.Equal(got, keys) {
			t.Fatalf("%s: %d of %d are found, in order: %v", name, len(got), len(keys), got)
		}
		if asked > accounts/2 || calls > accounts/1000 {
			t.Fatalf("%s: %d entries and blocks were looked at in %d calls", name, asked, calls)
		}
	}
}
