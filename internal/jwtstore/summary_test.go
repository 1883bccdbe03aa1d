package jwtstore_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
	"nats-account-server/internal/trust"
)

// TestASummaryIsBounded, whatever a JWT says.
func TestASummaryIsBounded(t *testing.T) {
	for name, want := range map[string]string{
		"":                             "",
		"orders":                       "orders",
		strings.Repeat("x", 64):        strings.Repeat("x", 64),
		strings.Repeat("x", 65):        strings.Repeat("x", 63) + "…",
		strings.Repeat("€", 70):        strings.Repeat("€", 63) + "…",
		strings.Repeat("€\xff", 40):    strings.Repeat("€\uFFFD", 31) + "€…",
		strings.Repeat("𝄞", 64):        strings.Repeat("𝄞", 64),
		strings.Repeat("𝄞", 1_000_000): strings.Repeat("𝄞", 63) + "…",
	} {
		got := jwtstore.NewSummary(trust.Head{Name: name}).Name
		if got != want || !utf8.ValidString(got) {
			t.Errorf("%.20q became %q", name, got)
		}
	}
	var many []string
	for range 40 {
		many = append(many, jwtstoretest.Key(t))
	}
	s := jwtstore.NewSummary(trust.Head{Issuer: "no key", Imports: append(many, many[0], "no key", "")})
	if n := len(slices.Collect(s.Sources())); s.Imports != 43 || n != 32 || s.Issuer != "" {
		t.Errorf("%d imports of %d accounts, issuer %q", s.Imports, n, s.Issuer)
	}
}

// summarized is a servable version with a summary of its own.
func summarized(t *testing.T, seq uint64, issuer string, expires int64, sources ...string) jwtstore.Version {
	v := indexed(seq, issuer, expires)
	v.Summary = jwtstore.NewSummary(trust.Head{Issuer: issuer, Name: "an account", Imports: sources,
		NoBearer: seq%2 == 0, JetStream: seq%4 < 2})
	return v
}

// openIndexIn opens the index in a directory, of which nothing may be warned.
func openIndexIn(t *testing.T, dir string) *jwtstore.Index {
	t.Helper()
	x, err := jwtstore.OpenIndex(dir, t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// swap records a version that was found in the directory, so that it is saved.
func swap(t *testing.T, x *jwtstore.Index, key string, v jwtstore.Version) {
	t.Helper()
	if !x.Swap(key, x.Get(key), v) {
		t.Fatalf("%s was swapped meanwhile", key)
	}
}

// TestSummariesAreSaved as they are.
func TestSummariesAreSaved(t *testing.T) {
	dir, all := t.TempDir(), map[string]jwtstore.Version{}
	x := openIndexIn(t, dir)
	for n := range 100 {
		key := jwtstoretest.Key(t)
		all[key] = summarized(t, uint64(n), jwtstoretest.Key(t), 0, slices.Collect(maps.Keys(all))[:n/3]...)
		swap(t, x, key, all[key])
	}
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	x.Close()
	if got := maps.Collect(openIndexIn(t, dir).All()); !maps.Equal(got, all) {
		t.Errorf("%d of %d are there", len(got), len(all))
	}
}

// TestAnIndexOfFormat1IsUsed, and has the present format after the next save.
func TestAnIndexOfFormat1IsUsed(t *testing.T) {
	dir := t.TempDir()
	x := openIndexIn(t, dir)
	old, issuer := jwtstoretest.Key(t), jwtstoretest.Key(t)
	swap(t, x, old, indexed(1, "old", 0)) // without a summary, entries are as in format 1
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	x.Close()
	path := filepath.Join(dir, "index")
	if err := jwtstore.StoreFormat(path, 1); err != nil {
		t.Fatal(err)
	}
	x = openIndexIn(t, dir)
	swap(t, x, "new", summarized(t, 2, issuer, 0))
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	if got := x.Get(old); got != indexed(1, "old", 0) {
		t.Errorf("the old one is %+v", got)
	}
	x.Close()
	if format, err := jwtstore.IndexFormat(path); format != 2 || err != nil {
		t.Errorf("the format is %d, %v", format, err)
	}
	if got := openIndexIn(t, dir).Get("new"); got.Summary.Issuer != issuer {
		t.Errorf("the new one is %+v", got)
	}
}

// TestAListBeginsAnywhere, in what is saved and in what is not.
func TestAListBeginsAnywhere(t *testing.T) {
	x := openIndexIn(t, t.TempDir())
	for n, key := range []string{"A", "AA", "AB", "ABA", "ABZ", "AC", "B"} {
		swap(t, x, key, indexed(0, key, 0))
		if n == 3 {
			if err := x.Save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, row := range []struct{ prefix, after, want string }{
		{"", "", "A AA AB ABA ABZ AC B"}, {"", "AB", "ABA ABZ AC B"}, {"AB", "", "AB ABA ABZ"},
		{"AB", "AB", "ABA ABZ"}, {"AB", "A", "AB ABA ABZ"}, {"AB", "AC", ""}, {"ABA", "", "ABA"},
		{"D", "", ""}, {"A", "B", ""}, {"", "B", ""}, {"2", "", ""},
	} {
		var got []string
		for key := range x.List(row.prefix, row.after) {
			got = append(got, key)
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("with %q and after %q: %q, want %q", row.prefix, row.after, got, row.want)
		}
	}
}

// TestAccountsAreCountedByIssuer, each once.
func TestAccountsAreCountedByIssuer(t *testing.T) {
	x := openIndexIn(t, t.TempDir())
	one, other := jwtstoretest.Key(t), jwtstoretest.Key(t)
	for n := range 10 {
		swap(t, x, jwtstoretest.Key(t), summarized(t, 0, one, []int64{0, 1000}[n%2]))
	}
	swap(t, x, jwtstoretest.Key(t), summarized(t, 0, other, 0))
	bad := summarized(t, 0, other, 0)
	bad.Servable = false
	swap(t, x, jwtstoretest.Key(t), bad)
	swap(t, x, jwtstoretest.Key(t), jwtstore.Version{Seq: 7}) // deleted
	swap(t, x, jwtstoretest.Hash(t), summarized(t, 0, one, 0))
	stored, unservable, expired, good := 0, 0, 0, map[string]int{}
	for _, v := range x.All() {
		stored++
		switch {
		case !v.Servable:
			unservable++
		case v.Expired(time.Unix(1000, 0)):
			expired++
		default:
			good[v.Summary.Issuer]++
		}
	}
	if stored != 12 || unservable != 1 || expired != 5 || good[one] != 5 || good[other] != 1 {
		t.Errorf("%d stored, %d bad, %d expired, good are %v", stored, unservable, expired, good)
	}
}
