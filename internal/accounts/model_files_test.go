package accounts_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nats-account-server/internal/jwtstore"
)

// tree is the content of files by their path below the store's directory.
type tree map[string][]byte

func (one tree) equal(other tree) bool {
	return maps.EqualFunc(one, other, func(a, b []byte) bool { return string(a) == string(b) })
}

// files reads the whole directory of the store. Files that vanish meanwhile are not there.
func (s *modelServer) files() tree {
	found := tree{}
	err := filepath.WalkDir(s.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreAbsent(err)
		}
		content, err := os.ReadFile(path)
		if err == nil {
			found[strings.TrimPrefix(path, s.root+string(filepath.Separator))] = content
		}
		return ignoreAbsent(err)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stable reads the whole directory at a moment when nothing is being written.
func (s *modelServer) stable() tree {
	before := s.files()
	for {
		now := s.files()
		if now.equal(before) {
			return now
		}
		before = now
	}
}

// restore makes the directory what it was. A file that is as it was is not touched, so that its
// stamp stays.
func (s *modelServer) restore(was tree) {
	for path, content := range s.files() {
		if had, stays := was[path]; stays && string(had) == string(content) {
			delete(was, path)
		} else if !stays {
			s.must(os.Remove(filepath.Join(s.root, path)))
		}
	}
	for path, content := range was {
		s.write(filepath.Join(s.root, path), content)
	}
}

// write puts a file in its place in one step.
func (s *modelServer) write(path string, content []byte) {
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	temp := filepath.Join(s.root, "hand.tmp")
	s.must(os.WriteFile(temp, content, 0o600))
	s.must(os.Rename(temp, path))
}

func (s *modelServer) must(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

// index returns the files of the index.
func (s *modelServer) index() tree {
	found := tree{}
	for path, content := range s.files() {
		if isState(path) && strings.HasPrefix(filepath.Base(path), "index") {
			found[path] = content
		}
	}
	return found
}

// isState reports whether a path is that of a file beside the journal or in a state directory.
func isState(path string) bool {
	return strings.HasPrefix(path, ".journal"+string(filepath.Separator)) || strings.HasPrefix(path, ".state")
}

// changeIndex changes each file of the index while the server is down. nil removes it.
func (s *modelServer) changeIndex(change func(path string, content []byte) []byte) {
	if s.store != nil || s.root == "" {
		return
	}
	for path, content := range s.index() {
		if content = change(path, content); content == nil {
			s.must(os.Remove(filepath.Join(s.root, path)))
		} else {
			s.must(os.WriteFile(filepath.Join(s.root, path), content, 0o600))
		}
	}
	for _, m := range s.memory {
		m.loseIndex()
	}
}

// byHand puts a version into the directory, in place of what is there.
func (s *modelServer) byHand(v *modelVersion) {
	if s.root == "" || s.readOnly {
		return
	}
	m, shard := s.memory[v.account], s.shard
	if !s.has(v.account, shard) && s.has(v.account, !shard) {
		shard = !shard
	}
	s.must(ignoreAbsent(os.Remove(s.path(v.account, !shard))))
	s.write(s.path(v.account, shard), v.token)
	m.hand, m.file, m.gone, m.ahead = v, v, false, false
	m.top = max(m.top, v.issued)
	if delete(s.placed, v.account); s.store == nil && v.issued > m.floor && !m.unsure {
		s.placed[v.account] = v
	}
}

// removeByHand removes the files of an account.
func (s *modelServer) removeByHand(account string) {
	if s.root == "" || s.readOnly || s.statePath(s.nextStateDir) != "" || s.statePath(s.stateDir) != "" {
		return
	}
	for _, shard := range []bool{false, true} {
		s.must(ignoreAbsent(os.Remove(s.path(account, shard))))
	}
	m := s.memory[account]
	m.hand, m.gone = nil, m.last != nil || m.hand != nil
	delete(s.placed, account)
}

// leave puts an older version into the other layout, as if it had not been removed from there when
// a newer one was written.
func (s *modelServer) leave(v *modelVersion) {
	m := s.memory[v.account]
	if s.root == "" || s.store != nil || m.last == nil || m.hand != nil || m.gone ||
		v.issued >= m.last.issued {
		return
	}
	shard := s.shard
	if !s.has(v.account, shard) && s.has(v.account, !shard) {
		shard = !shard
	}
	s.write(s.path(v.account, !shard), v.token)
}

// settle waits until every change is in its file.
func (s *modelServer) settle() {
	if s.root == "" {
		return
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if s.isSettled() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.fail("settle", "files are not written")
}

// isSettled reports whether no change waits for its file.
func (s *modelServer) isSettled() bool {
	for _, account := range strings.Split(modelAccounts, "") {
		_, stamp, err := s.store.Load(s.tokens.key(account), jwtstore.Stamp{})
		isFile := s.has(account, false) || s.has(account, true)
		switch {
		case err == nil && stamp[0] == -1, err != nil && isFile:
			return false
		}
	}
	return true
}
