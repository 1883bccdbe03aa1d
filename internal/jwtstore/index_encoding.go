package jwtstore

import (
	"encoding/binary"
	"errors"
)

// What the first byte of an encoded Version says. The numbers are part of the formats of the
// journal and of the index.
const (
	versionServable byte = 1 << iota
	versionIsFloor       // the floor has this version's hash and issue time
	versionStored        // the stamp follows
	versionCounted       // it is in the digest
	versionSummary       // a summary follows
)

var errNoVersion = errors.New("not a version of an account")

// append appends the entry to b.
//
//		flags      1 byte, see above
//		seq        uvarint
//		stamp      4 varints, if it is stored
//		hash       32 bytes
//		issued at  varint
//		expires    varint
//		mark       8 bytes
//		floor      hash and issue time, unless they are those above
//		replaced   length and bytes
//		summary    see Summary.append, unless it is empty
//	 Numbers are as in encoding/binary.
func (e indexEntry) append(b []byte) []byte {
	flags := flagIf(e.Servable, versionServable) | flagIf(e.Stored(), versionStored) |
		flagIf(e.Floor.Hash == e.Hash && e.Floor.IssuedAt == e.IssuedAt, versionIsFloor) |
		flagIf(e.counted, versionCounted) | flagIf(e.Summary != Summary{}, versionSummary)
	b = binary.AppendUvarint(append(b, flags), e.Seq)
	if e.Stored() {
		b = appendStamp(b, e.Stamp)
	}
	b = appendIssue(b, e.Hash, e.IssuedAt)
	b = binary.AppendVarint(b, e.Expires)
	b = binary.LittleEndian.AppendUint64(b, e.Mark)
	if flags&versionIsFloor == 0 {
		b = appendIssue(b, e.Floor.Hash, e.Floor.IssuedAt)
	}
	b = appendText(b, string(e.Floor.replaced))
	if e.Summary != (Summary{}) {
		b = e.Summary.append(b)
	}
	return b
}

// appendIssue appends which JWT it is and when it was issued.
func appendIssue(b []byte, hash Hash, issuedAt int64) []byte {
	return binary.AppendVarint(append(b, hash[:]...), issuedAt)
}

// decodeEntry is the inverse of append. Earlier versions of this program have written no summaries.
// e has no part of b.
func decodeEntry(b []byte) (e indexEntry, err error) {
	d := decoder{rest: b}
	flags := d.bytes(1)[0]
	e.Servable, e.counted = flags&versionServable != 0, flags&versionCounted != 0
	e.Seq = d.uvarint()
	if flags&versionStored != 0 {
		e.Stamp = d.stamp()
	}
	e.Hash, e.IssuedAt = d.issue()
	e.Expires = d.varint()
	e.Mark = binary.LittleEndian.Uint64(d.bytes(8))
	e.Floor.Hash, e.Floor.IssuedAt = e.Hash, e.IssuedAt
	if flags&versionIsFloor == 0 {
		e.Floor.Hash, e.Floor.IssuedAt = d.issue()
	}
	e.Floor.replaced = hashes(d.text())
	if flags&versionSummary != 0 {
		e.Summary = d.summary()
	}
	if d.bad || len(d.rest) > 0 || len(e.Floor.replaced)%len(Hash{}) != 0 {
		return indexEntry{}, errNoVersion
	}
	return e, nil
}

// issue takes what appendIssue has written.
func (d *decoder) issue() (hash Hash, issuedAt int64) {
	return Hash(d.bytes(len(hash))), d.varint()
}

// The index file has the stamps of the store's directories as well: those whose files the index
// knows, see Scan. They are one value, which no account has the key of. All keys of accounts and
// tokens follow it.
const directoriesKey = "/"

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

// append appends the state to b: numbers as varints and the digest.
func (s indexState) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, s.seq), s.saves)
	b = binary.AppendVarint(binary.AppendVarint(b, s.countedAt), s.nextExpiry)
	return append(b, s.digest[:]...)
}

// decodeState is the inverse of append. A file without a state is new.
func decodeState(b []byte) (s indexState, err error) {
	if b == nil {
		return s, nil
	}
	d := decoder{rest: b}
	s.seq, s.saves = d.uvarint(), d.uvarint()
	s.countedAt, s.nextExpiry = d.varint(), d.varint()
	s.digest = Hash(d.bytes(len(s.digest)))
	if d.bad || len(d.rest) > 0 {
		return indexState{}, errNoVersion
	}
	return s, nil
}
