package jwtstore_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"nats-account-server/internal/jwtstore"
)

// TestAMemoryKeepsWhatIsAllowedUntilItIsRemoved also has a floor, which outlives the removal.
func TestAMemoryKeepsWhatIsAllowedUntilItIsRemoved(t *testing.T) {
	m, hash, errRefused := jwtstore.NewMemory(false), strings.Repeat("A", 52)+"====",
		errors.New("refused")
	floor := jwtstore.Floor{}.After(7, [32]byte{1})
	put := func(token string, err error) error {
		_, got := m.Put(t.Context(), hash, "test", []byte(token),
			func(jwtstore.Stored) (jwtstore.Version,
				error) {
				return jwtstore.Version{Floor: floor}, err
			})
		return got
	}
	load := func(want string, wantErr error) {
		t.Helper()
		if got, _, err := m.Load(hash, jwtstore.Stamp{}); string(got) != want ||
			!errors.Is(err, wantErr) {
			t.Errorf("%q, %v", got, err)
		}
	}
	load("", fs.ErrNotExist)
	if err := errors.Join(put("first", nil), put("second", nil)); err != nil {
		t.Error(err)
	}
	if err := put("third", errRefused); !errors.Is(err, errRefused) {
		t.Error(err)
	}
	load("second", nil)
	m.Remove(hash)
	load("", fs.ErrNotExist)
	_, err := m.Put(t.Context(), hash, "test", []byte("fourth"),
		func(now jwtstore.Stored) (jwtstore.Version, error) {
			if now.JWT != nil || now.Floor.IssuedAt != floor.IssuedAt {
				t.Errorf("it has %q and %v", now.JWT, now.Floor)
			}
			return jwtstore.Version{Floor: floor}, nil
		})
	if err != nil {
		t.Error(err)
	}
	load("fourth", nil)
}
