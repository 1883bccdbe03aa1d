package monitor

import (
	"bytes"
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

func TestLettersOfASCIIBecomeLowerCase(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for n := range len(all) {
		text := all[n:]
		var want []byte
		for _, c := range text {
			if c < 0x80 {
				c = strings.ToLower(string(rune(c)))[0]
			}
			want = append(want, c)
		}
		if got := appendLower(nil, text); !bytes.Equal(got, want) {
			t.Fatalf("%q became %q", text, got)
		}
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
