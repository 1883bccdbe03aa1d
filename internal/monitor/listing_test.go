package monitor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// A filter that few of very many accounts pass took as many pages as it takes to look at all of them.
func TestASurveyListsWhatIsRare(t *testing.T) {
	now := time.Now()
	for _, expired := range []int{0, 2, maxRare, maxRare + 1} {
		store := jwtstore.NewMemory(false)
		var want []string
		for n := range maxRare + 10 {
			v := jwtstore.Version{Stamp: jwtstore.Stamp{1}, Servable: true}
			key := fmt.Sprintf("A%055d", n)
			if n < expired {
				v.Expires = now.Add(-time.Hour).Unix()
				want = append(want, key)
			}
			store.Index().Swap(key, jwtstore.Version{}, v)
		}
		s := (&surveyor{store.Index(), accounts.New(accounts.Options{Store: store, Committer: store})}).find()
		rare := s.rare[HaveExpired]
		if isTooMany := expired > maxRare; rare.isTooMany != isTooMany ||
			!isTooMany && !slices.Equal(rare.keys, want) || isTooMany && rare.keys != nil {
			t.Errorf("%d: %v, and too many: %v", expired, len(rare.keys), rare.isTooMany)
		}
	}
}

func TestAPartOfATextIsFoundInAnyCase(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for n := range 0x80 {
		part := []byte{byte(n), 'b'}
		for _, c := range all {
			text := []byte{0xff, c, 'B', 0xff}
			want := strings.EqualFold(string(part), string(text[1:3]))
			if got := containsFold(text, part); got != want {
				t.Errorf("%q has %q: %v", text, part, got)
			}
		}
	}
	for part, want := range map[string]bool{
		"acme corp": true, "a": true, "p": true, "acme corp.": false, "acme  corp": false, "corp ": false,
	} {
		if got := containsFold([]byte("ACME Corp"), []byte(part)); got != want {
			t.Errorf("%q: %v", part, got)
		}
	}
	if containsFold(nil, []byte("a")) {
		t.Error("nothing has a part")
	}
}

// What takes long made each page wait for it, as long as it was being found out.
func TestOneCallerWaitsForWhatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cached[int]{find: func() int { time.Sleep(3 * time.Second); return 1 }}
		wait := func(want time.Duration, isKnown bool) {
			t.Helper()
			began := time.Now()
			if _, known, _ := c.look(); known != isKnown || time.Since(began) != want {
				t.Errorf("known: %v, after %s, want %s", known, time.Since(began), want)
			}
		}
		wait(maxWait, false)
		wait(0, false)
		time.Sleep(3 * time.Second)
		wait(0, true)
		time.Sleep(time.Hour) // now it is found out again
		wait(0, true)
		wait(0, true)
		time.Sleep(3 * time.Second)
	})
}
