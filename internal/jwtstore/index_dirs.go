package jwtstore

import (
	"encoding/binary"
	"maps"

	"nats-account-server/internal/pause"
)

// The index file has the stamps of the store's directories as well: those whose files the index
// knows, see Scan. They are one value, which no account has the key of. All keys of accounts and
// tokens follow it.
const directoriesKey = "/"

// directories returns the stamps of the directories whose files are known, by name.
func (x *Index) directories() map[string]Stamp {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.dirs)
}

// IsFilled reports whether a Scan has seen the whole store, in this process or an earlier one. What
// the index does not know was put into the store since.
func (x *Index) IsFilled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.dirs) > 0
}

// setDirectories replaces the stamps.
func (x *Index) setDirectories(known map[string]Stamp) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !maps.Equal(known, x.dirs) {
		x.dirs, x.dirsChanged = known, true
		pause.Wake(x.wake)
	}
}

// readDirectories reads the stamps from an index file.
func readDirectories(file *indexFile) (known map[string]Stamp, err error) {
	b, err := file.get(directoriesKey)
	if err != nil {
		return nil, err
	}
	return decodeDirectories(b)
}

// encodeDirectories returns the stamps as they are written: of each directory the name, with its
// length, and four varints.
func encodeDirectories(known map[string]Stamp) []byte {
	b := []byte{}
	for name, stamp := range known {
		b = appendStamp(appendText(b, name), stamp)
	}
	return b
}

// decodeDirectories is the inverse of encodeDirectories.
func decodeDirectories(b []byte) (known map[string]Stamp, err error) {
	known = map[string]Stamp{}
	d := decoder{rest: b}
	for len(d.rest) > 0 {
		name := d.text()
		known[name] = d.stamp()
	}
	if d.bad {
		return nil, errNoVersion
	}
	return known, nil
}

// appendStamp appends a stamp as four varints.
func appendStamp(b []byte, s Stamp) []byte {
	for _, n := range s {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// stamp takes what appendStamp has written.
func (d *decoder) stamp() (s Stamp) {
	for i := range s {
		s[i] = d.varint()
	}
	return s
}
