package jwtstore

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// Keys yields every account that something is stored for, in any order; one that changes meanwhile may come twice or
// not at all. Files that are not where a JWT lies are passed over. An error says what can't be read; the walk goes on.
func (d *Dir) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, key := range d.unwrittenKeys() {
			if !yield(key, nil) {
				return
			}
		}
		d.walk("", func(key string, err error) bool {
			if err == nil {
				if d.waiting(key) != nil {
					return true // it came before, or has been deleted
				}
			}
			return yield(key, err)
		})
	}
}

func (d *Dir) unwrittenKeys() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	keys := make([]string, 0, len(d.pending))
	for key, v := range d.pending {
		if v.kind == kindPut {
			keys = append(keys, key)
		}
	}
	return keys
}

// walk yields the keys of the files in a directory below root, and in root those of its shards. It says whether to go
// on.
func (d *Dir) walk(below string, yield func(string, error) bool) bool {
	dir, err := os.Open(d.root + below)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) && below != "" || yield("", err)
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			if !d.visit(filepath.Join(below, e.Name()), below == "" && e.IsDir(), yield) {
				return false
			}
		}
		if len(entries) == 0 {
			return err == nil || err == io.EOF || yield("", err)
		}
	}
}

func (d *Dir) visit(path string, shard bool, yield func(string, error) bool) bool {
	if shard {
		return len(path) != 2 || d.walk(path, yield)
	}
	for _, c := range [...]codec{d.preferred, d.other} {
		if key, ok := c.key(path); ok {
			return yield(key, nil)
		}
	}
	return true
}

// Keys yields every account that something is stored for, in any order.
func (m *Memory) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m.mu.RLock()
		keys := make([]string, 0, len(m.versions))
		for key, v := range m.versions {
			if v.jwt != nil {
				keys = append(keys, key)
			}
		}
		m.mu.RUnlock()
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}
