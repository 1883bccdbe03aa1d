package jwtstore_test

import (
	"fmt"
	"slices"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
	"nats-account-server/internal/trust"
)

// importersOf returns the keys of the accounts that import from an account, and of those that may.
func importersOf(x *jwtstore.Index, key string) (sure, unsure []string) {
	for i := range x.Importers(key) {
		if i.Unsure {
			unsure = append(unsure, i.Key)
		} else {
			sure = append(sure, i.Key)
		}
	}
	return sure, unsure
}

// importing is a version of an account that imports from these.
func importing(name string, sources ...string) jwtstore.Version {
	v := indexed(1, name, 0)
	v.Summary = jwtstore.NewSummary(trust.Head{Name: name, Imports: sources})
	return v
}

// TestImporters follow each change, before it is saved and after that. None of many is lost.
func TestImporters(t *testing.T) {
	x := openIndexIn(t, t.TempDir())
	exporter, another := jwtstoretest.Key(t), jwtstoretest.Key(t)
	keys := make([]string, 5)
	for i := range keys {
		keys[i] = jwtstoretest.Key(t)
	}
	slices.Sort(keys)
	many := []string{another}
	for len(many) < 40 {
		many = append(many, jwtstoretest.Key(t))
	}
	slices.Sort(many)
	exactly := append([]string{exporter}, many[:31]...)
	swap(t, x, keys[0], importing("one", exporter))
	swap(t, x, keys[1], importing("none"))
	swap(t, x, keys[2], importing("another", another))
	swap(t, x, keys[3], importing("very many", many...))
	swap(t, x, keys[4], importing("as many as are kept", exactly...))
	for _, when := range []string{"before it is saved", "after it is saved"} {
		sure, unsure := importersOf(x, exporter)
		if !slices.Equal(sure, []string{keys[0], keys[4]}) || !slices.Equal(unsure, keys[3:4]) {
			t.Errorf("%s: %v, and maybe %v", when, sure, unsure)
		}
		if sure, unsure = importersOf(x, many[0]); len(sure) == 0 || slices.Contains(unsure, keys[3]) {
			t.Errorf("%s: %v, and maybe %v import what is kept", when, sure, unsure)
		}
		if err := x.Save(); err != nil {
			t.Fatal(err)
		}
	}
	// What has changed since it was saved counts, and what was deleted does not.
	swap(t, x, keys[0], importing("one", another))
	swap(t, x, keys[1], importing("none", exporter))
	gone := x.Get(keys[4])
	gone.Stamp = jwtstore.Stamp{}
	swap(t, x, keys[4], gone)
	if sure, _ := importersOf(x, exporter); !slices.Equal(sure, keys[1:2]) {
		t.Errorf("after changes: %v", sure)
	}
	for _, key := range []string{"", "no key", exporter[:55], exporter + "\n"} {
		if sure, unsure := importersOf(x, key); len(sure)+len(unsure) > 0 {
			t.Errorf("%q has importers", key)
		}
	}
}

// TestImportersReadOnlyTheirGroup looks at what a call allocates: each key that is read is a text.
func TestImportersReadOnlyTheirGroup(t *testing.T) {
	const accounts = 20_000
	x := openIndexIn(t, t.TempDir())
	first := indexKey(0)
	for i := range accounts {
		x.Swap(indexKey(i), jwtstore.Version{}, importing("account"))
		first = min(first, indexKey(i))
	}
	exporter := jwtstoretest.Key(t)
	swap(t, x, first, importing("importer", exporter))
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(3, func() {
		if sure, _ := importersOf(x, exporter); !slices.Equal(sure, []string{first}) {
			t.Error(sure)
		}
	})
	if allocated > accounts/4 {
		t.Errorf("%.0f allocations for one importer among %d accounts", allocated, accounts)
	}
}

// BenchmarkImporters is the second call for an index of this many accounts, each of which imports from two.
func BenchmarkImporters(b *testing.B) {
	for _, n := range []int{200_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, err := jwtstore.OpenIndex(b.TempDir(), b.Errorf)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(x.Close)
			for i := range n {
				v := importing("account", indexKey(i/1000), indexKey(i/7))
				x.Swap(indexKey(i), jwtstore.Version{}, v)
			}
			if err := x.Save(); err != nil {
				b.Fatal(err)
			}
			importersOf(x, indexKey(0))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				// Those from n/1000 on are imported by seven accounts.
				if sure, _ := importersOf(x, indexKey(n/1000+i%1000)); len(sure) != 7 {
					b.Fatal(len(sure))
				}
			}
		})
	}
}
