package jwtstore

import (
	"bytes"
	"path/filepath"
)

// Journaled returns the changes of the store in dir that are in its journal only, by the name of
// the account or token: the JWT that is stored, nil if it was removed. It is for programs that read
// the files of a store, also of one that a server has open or has left in a crash. It changes
// nothing.
func Journaled(dir string) (map[string][]byte, error) {
	found, err := readJournal(filepath.Join(dir, journalDir, journalName))
	if err != nil {
		return nil, err
	}
	changes := map[string][]byte{}
	for name, r := range found.unflushed.latest {
		changes[name] = nil
		if r.kind == kindPut {
			changes[name] = bytes.Clone(r.body)
		}
	}
	return changes, nil
}
