package accounts

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// tokenStore makes a text up for every account.
type tokenStore struct {
	size  int // of a JWT
	reads int
}

func (s *tokenStore) Load(
	key string, known jwtstore.Stamp,
) (jwt []byte, now jwtstore.Stamp, err error) {
	stamp := jwtstore.Stamp{1, 1, 1, 1}
	if known == stamp {
		return nil, stamp, nil
	}
	s.reads++
	return bytes.Repeat([]byte{'x'}, s.size), stamp, nil
}

func (*tokenStore) Changes(string) uint64 { return 0 }

// verified is what a check makes of a JWT. Its texts are allocated one by one, as a decoder does it.
func verified(key string, token []byte) (*Account, error) {
	imports := make([]string, len(token)/1000)
	for i := range imports {
		imports[i] = strings.Repeat("I", trust.KeyLength)
	}
	return NewAccount(token, trust.Head{
		Imports: imports,
		Subject: strings.Clone(key),
		Issuer:  strings.Repeat("O", trust.KeyLength),
		ID:      strings.Repeat("J", 52),
		Payload: token[len(token)/4:],
	}), nil
}

// TestVerdictsAreBoundedInBytes asks for far more JWTs than there is room for, and measures what the
// process keeps. Small JWTs have the most beside them.
func TestVerdictsAreBoundedInBytes(t *testing.T) {
	const limit = 16 << 20
	for _, size := range []int{450, 800, 5000} {
		store := &tokenStore{size: size}
		vs := NewVerdicts(store, limit, verdictSize, slog.New(slog.DiscardHandler))
		before := heap()
		const n = 25_000
		load := func(i int) {
			path := fmt.Sprintf("/jwt/v1/accounts/A%055d?check=true", i)
			key := path[17:73]
			_, err := vs.Load(key, 1, func(token []byte) (*Account, error) { return verified(key, token) })
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			load(i)
		}
		grown := heap() - before
		t.Logf("JWTs of %d bytes: %d are kept in %d bytes", size, len(vs.byKey), grown)
		if grown > limit*11/10 {
			t.Errorf("%d bytes are kept, the limit is %d", grown, limit)
		}
		if grown < limit*7/10 {
			t.Errorf("only %d bytes of %d are used", grown, limit)
		}
		store.reads = 0
		if load(n - 1); store.reads > 0 {
			t.Error("the last one was forgotten")
		}
	}
}

// TestNoVerdictsAreKept asks with a limit of 0.
func TestNoVerdictsAreKept(t *testing.T) {
	store := &tokenStore{size: 700}
	vs := NewVerdicts(store, 0, verdictSize, slog.New(slog.DiscardHandler))
	for range 3 {
		_, err := vs.Load("A", 1, func(token []byte) (*Account, error) {
			return NewAccount(token, trust.Head{}), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if store.reads != 3 || len(vs.byKey) > 0 {
		t.Errorf("it was read %d times, and %d are kept", store.reads, len(vs.byKey))
	}
}

// heap returns what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAStoreThatKnowsOfNoChangeIsNotAsked counts how often the store is asked.
func TestAStoreThatKnowsOfNoChangeIsNotAsked(t *testing.T) {
	store := &stampedStore{}
	vs := NewVerdicts(store, 1<<20, verdictSize, slog.Default())
	for _, step := range []struct {
		name    string
		changes uint64
		stamp   jwtstore.Stamp
		mark    uint64
		want    int // of two Loads, how many ask
	}{
		{"the first time", 1, jwtstore.Stamp{1, 1, 1, 1}, 1, 1},
		{"another file has changed", 2, jwtstore.Stamp{1, 1, 1, 1}, 1, 1},
		{"the file has changed", 3, jwtstore.Stamp{2, 1, 1, 1}, 1, 1},
		{"the operators have changed", 3, jwtstore.Stamp{2, 1, 1, 1}, 2, 1},
		{"changes are not known", 0, jwtstore.Stamp{2, 1, 1, 1}, 2, 2},
		// It may give way to an older file, of which no change is told.
		{"a change without a file", 4, jwtstore.CommitStamp(7), 2, 2},
	} {
		*store = stampedStore{stamp: step.stamp, changes: step.changes}
		for range 2 {
			v, err := vs.Load("A", step.mark, func(token []byte) (*Account, error) {
				return verified("A", token)
			})
			if want := fmt.Sprint(step.stamp); err != nil || string(v.token) != want {
				t.Errorf("%s: loaded %q, %v, want %q", step.name, v.token, err, want)
			}
		}
		if store.asked != step.want {
			t.Errorf("%s: the store was asked %d times, want %d", step.name, store.asked, step.want)
		}
	}
}

// stampedStore has one JWT, which is its stamp as a text.
type stampedStore struct {
	stamp   jwtstore.Stamp
	changes uint64
	asked   int
}

func (s *stampedStore) Changes(string) uint64 { return s.changes }

func (s *stampedStore) Load(
	_ string, known jwtstore.Stamp,
) (jwt []byte, now jwtstore.Stamp, err error) {
	s.asked++
	if known == s.stamp {
		return nil, s.stamp, nil
	}
	return []byte(fmt.Sprint(s.stamp)), s.stamp, nil
}
