package claimdiff_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// filler makes claims that have something in each leaf. The leaf target has something else, and so have
// those that are in it.
type filler struct {
	target string
	leaves map[string]bool
}

// claims returns claims, and gathers their leaves.
func (f *filler) claims() *jwt.AccountClaims {
	f.leaves = map[string]bool{}
	c := f.value(reflect.TypeFor[jwt.AccountClaims](), "").Interface().(jwt.AccountClaims)
	return &c
}

func (f *filler) value(of reflect.Type, path string) reflect.Value {
	v := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(of.Elem()))
		v.Elem().Set(f.value(of.Elem(), path))
	case reflect.Struct:
		f.fields(v, path)
	case reflect.Slice:
		v.Set(reflect.Append(v, f.value(of.Elem(), path+"[]")))
	case reflect.Map:
		f.element(v, path+"{}")
	case reflect.Interface: // the scope of a signing key
		v.Set(f.value(reflect.TypeFor[*jwt.UserScope](), path))
	default:
		f.leaf(v, path)
	}
	return v
}

// fields fills a struct. What is embedded has no path of its own unless its tag names one.
func (f *filler) fields(v reflect.Value, path string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "":
			name = path
		case path != "":
			name = path + "." + name
		}
		v.Field(i).Set(f.value(field.Type, name))
	}
}

// element fills a map with one element. The key of a signing key is a leaf of its own.
func (f *filler) element(v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	key := "a"
	if v.Type() == reflect.TypeFor[jwt.SigningKeys]() {
		f.leaves[path] = true
		if f.target == path {
			key = "b"
		}
	}
	v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), f.value(v.Type().Elem(), path))
}

func (f *filler) leaf(v reflect.Value, path string) {
	f.leaves[path] = true
	isTarget := path == f.target
	switch v.Kind() {
	case reflect.String:
		v.SetString(map[bool]string{false: "x", true: "y"}[isTarget])
	case reflect.Bool:
		v.SetBool(isTarget)
	case reflect.Int, reflect.Int64:
		v.SetInt(map[bool]int64{false: 1, true: 2}[isTarget])
	case reflect.Uint, reflect.Uint8:
		v.SetUint(map[bool]uint64{false: 1, true: 2}[isTarget])
	default:
		panic(v.Type())
	}
}

// elsewhere has the leaves whose change is told as that of another one: what an element is matched by
// makes it another element.
var elsewhere = map[string]string{
	"nats.exports[].type":                        "nats.exports[].subject",
	"nats.imports[].type":                        "nats.imports[].subject",
	"nats.imports[].account":                     "nats.imports[].subject",
	"nats.signing_keys{}.template.times[].end":   "nats.signing_keys{}.template.times[].start",
	"nats.signing_keys{}.template.times[].start": "nats.signing_keys{}.template.times[].start",
}

// The library's claims are walked, so that a new version of it with more of them fails here.
func TestEachLeafHasWordsAndNothingElseHas(t *testing.T) {
	t.Parallel()
	var f filler
	f.claims()
	leaves := slices.Sorted(maps.Keys(f.leaves))
	if known := slices.Sorted(maps.Keys(claimdiff.Effects)); !slices.Equal(leaves, known) {
		for _, leaf := range leaves {
			if claimdiff.Effects[leaf] == "" {
				t.Errorf("%s has no effect", leaf)
			}
		}
		t.Errorf("%d leaves, %d have an effect", len(leaves), len(known))
	}
	for _, leaf := range leaves {
		stored, pushed := (&filler{}).claims(), (&filler{target: leaf}).claims()
		if leaf == "nats.imports[].to" { // counts only without the newer field
			stored.Imports[0].LocalSubject, pushed.Imports[0].LocalSubject = "", ""
		}
		checkLeaf(t, leaf, claimdiff.Diff(stored, pushed))
		if again := claimdiff.Diff(pushed, pushed); len(again) > 0 {
			t.Errorf("%s: the same claims differ: %v", leaf, again)
		}
	}
}

// checkLeaf sees that what was found about a leaf that differs is about that leaf.
func checkLeaf(t *testing.T, leaf string, found []claimdiff.Change) {
	t.Helper()
	if leaf == "iat" || leaf == "jti" {
		if len(found) > 0 {
			t.Errorf("%s: claims that were issued anew differ: %v", leaf, found)
		}
		return
	}
	field := leaf
	if other := elsewhere[leaf]; other != "" {
		field = other
	}
	if len(found) == 0 {
		t.Errorf("%s: no difference is found", leaf)
	}
	for _, c := range found {
		t.Logf("%-50s %s %-5s %s", c.Field, c.Sign, c.Effect, c.Words)
		if c.Field != field {
			t.Errorf("%s: told as %q of %s", leaf, c.Words, c.Field)
		}
		if want := claimdiff.Effects[leaf]; c.Effect != want && c.Effect != claimdiff.None {
			t.Errorf("%s: effect %s, want %s", leaf, c.Effect, want)
		}
		checkChange(t, c)
	}
}
