package jwtstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// watchedStore is a store whose changes are noticed, with a file for key.
type watchedStore struct {
	*testing.T
	*jwtstore.Dir
	root, key, path string
}

func newWatchedStore(t *testing.T) *watchedStore {
	t.Helper()
	root := filepath.Join(t.TempDir(), "store")
	s := &watchedStore{T: t, root: root, key: jwtstoretest.Key(t)}
	s.Dir = open(t, options(t, root))
	if !jwtstore.TellsAll(root) {
		t.Skip("the file system does not tell of changes")
	}
	s.path = filepath.Join(root, jwtstore.Path(true, s.key))
	put(t, s.Dir, jwtstoretest.Key(t), "another") // it makes the directory of the journal
	written(t, s.Dir)
	write(t, s.path, "jwt")
	return s
}

func (s *watchedStore) do(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// known is the number of the last change, which must be known and stay.
func (s *watchedStore) known() uint64 {
	s.Helper()
	n := s.Changes(s.key)
	loads(s, s.Dir, s.key, "jwt")
	if again := s.Changes(s.key); n == 0 || again != n {
		s.Fatalf("nothing has changed, and the numbers are %d and %d", n, again)
	}
	return n
}

// TestChangesAreKnownWithoutALookAtTheFile changes what is stored in all ways.
func TestChangesAreKnownWithoutALookAtTheFile(t *testing.T) {
	for name, change := range map[string]func(s *watchedStore){
		"edited in place": func(s *watchedStore) { write(s, s.path, "new") },
		"replaced": func(s *watchedStore) {
			write(s, s.root+"/../new", "new")
			s.do(os.Rename(s.root+"/../new", s.path))
		},
		"removed":            func(s *watchedStore) { s.do(os.Remove(s.path)) },
		"moved away":         func(s *watchedStore) { s.do(os.Rename(s.path, s.root+"/../old")) },
		"not to be read":     func(s *watchedStore) { s.do(os.Chmod(s.path, 0)) },
		"cut":                func(s *watchedStore) { s.do(os.Truncate(s.path, 1)) },
		"in the other place": func(s *watchedStore) { write(s, s.root+"/"+s.key+".jwt", "new") },
		"its directory replaced": func(s *watchedStore) {
			s.do(os.Rename(filepath.Dir(s.path), s.root+"/../shard"))
			write(s, s.path, "new")
		},
		"its directory a link": func(s *watchedStore) {
			s.do(os.Rename(filepath.Dir(s.path), s.root+"/../shard"))
			s.do(os.Symlink("../shard", filepath.Dir(s.path)))
		},
		"the store moved away": func(s *watchedStore) { s.do(os.Rename(s.root, s.root+".else")) },
		"put": func(s *watchedStore) {
			s.HoldFiles(func() {
				put(s, s.Dir, s.key, "new")
				if n := s.Changes(s.key); n != 0 {
					s.Errorf("what has no file yet has the number %d", n)
				}
			})
		},
		"put, and in its file": func(s *watchedStore) { put(s, s.Dir, s.key, "new"); written(s, s.Dir) },
		"scanned": func(s *watchedStore) {
			s.do(s.Scan(s.Context(), jwtstore.Scan{Look: func(string, error) bool { return true }}))
		},
		"too many to be told of": func(s *watchedStore) { s.LoseEvents() },
		"closed":                 func(s *watchedStore) { closeStore(s, s.Dir) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newWatchedStore(t)
			before := s.known()
			change(s)
			if now := s.Changes(s.key); now == before {
				t.Errorf("the number is still %d", now)
			}
		})
	}
}

// TestALinkToAShardLeadsElsewhere changes a file behind the link that has taken another's place.
func TestALinkToAShardLeadsElsewhere(t *testing.T) {
	s := newWatchedStore(t)
	shard, name := filepath.Dir(s.path), filepath.Base(s.path)
	lead := func(to string) {
		write(t, filepath.Join(s.root, "..", to, name), "jwt")
		s.do(os.Symlink(filepath.Join("..", to), s.root+"/../link"))
		s.do(os.Rename(s.root+"/../link", shard))
	}
	s.do(os.RemoveAll(shard))
	lead("first")
	s.known()
	lead("second")
	before := s.known()
	write(t, filepath.Join(s.root, "..", "second", name), "new")
	if now := s.Changes(s.key); now == before {
		t.Errorf("the number is still %d", now)
	}
}

// TestOtherShardsDoNotCount changes a file of another account.
func TestOtherShardsDoNotCount(t *testing.T) {
	s := newWatchedStore(t)
	other := filepath.Join(s.root, jwtstore.Path(true, jwtstoretest.Key(t)))
	for filepath.Dir(other) == filepath.Dir(s.path) {
		other = filepath.Join(s.root, jwtstore.Path(true, jwtstoretest.Key(t)))
	}
	write(t, other, "old")
	before := s.known()
	write(t, other, "new")
	if now := s.Changes(s.key); now != before {
		t.Errorf("the number was %d, and is %d", before, now)
	}
}

// TestAFileWithOtherNamesCountsAsChanged edits a file by a name that is not in the store.
func TestAFileWithOtherNamesCountsAsChanged(t *testing.T) {
	for name, link := range map[string]func(old, new string) error{
		"a symbolic link": os.Symlink, "a hard link": os.Link,
	} {
		t.Run(name, func(t *testing.T) {
			s := newWatchedStore(t)
			elsewhere := filepath.Join(s.root, "..", "elsewhere")
			s.do(os.Rename(s.path, elsewhere))
			s.do(link(elsewhere, s.path))
			for _, text := range []string{"first", "second"} {
				write(t, elsewhere, text)
				before := s.Changes(s.key)
				loads(t, s.Dir, s.key, text)
				if now := s.Changes(s.key); now != 0 && now == before {
					t.Errorf("a change by another name would not be noticed after %s", text)
				}
			}
			// The next change in the shard does not hide the link.
			write(t, s.path+".deleted", "tombstone")
			before := s.Changes(s.key)
			loads(t, s.Dir, s.key, "second")
			if now := s.Changes(s.key); now != 0 && now == before {
				t.Error("a change by another name would not be noticed after another one")
			}
		})
	}
}
