package jwtstore

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// record is one entry of the journal. All numbers are little-endian; a record starts at a multiple
// of 8.
//
//	 0  magic                4 bytes, F5 is in no JWT
//	 4  CRC32C               of bytes 8 to 48
//	 8  length               of everything from byte 48 to the padding
//	12  CRC32C               of these bytes
//	16  generation           of the file the record was written to
//	24  sequence number      see kind
//	32  time                 Unix ns
//	40  kind                 1 byte
//	41  flags                1 byte
//	42  length of the origin 1 byte
//	43  length of the key    1 byte
//	44  length of the version 2 bytes
//	46  length of follows     2 bytes
//	48  origin, key, version, follows, body
//	    zeros up to a multiple of 8
//
// The version is what the index gets; format 1 had none.
//
// The head has a CRC of its own, so that no length is believed that was not written as one. In
// memory it is not changed once it is committed: readers share its body.
type record struct {
	// kind decides what the other fields mean.
	kind recordKind
	// flags is 0 or flagQuiet.
	flags      byte
	generation uint64
	seq        uint64
	at         time.Time
	origin     string // kind of the origin, for people: no code reads it
	key        string
	// version is what the index gets of a Put, encoded, and the floor that stays after a Delete. It
	// is empty if it is not indexed. A mark and a snapshot have how often the index was saved, as a
	// uvarint. Format 1 had none of it.
	version []byte
	// follows is of what the change, and those that it supersedes, were allowed to follow: the
	// floor, earlier floors that the index file may still have, and the stored JWT. What the index
	// or a file has of it does not stand against a replay.
	follows hashes
	body    []byte

	// Of a change of this process; not part of the entry.
	floor Floor         // what the index knew then
	done  chan struct{} // closed when err is known
	err   error         // why it could not be committed
}

// recordKind says what a record means.
type recordKind byte

const (
	kindSnapshot recordKind = 1 + iota // only the first in a file. seq: of the last change
	kindPut                            // seq: of the change; body: the JWT
	kindTouch                          // seq: of the change; the stored JWT is announced once more
	kindMark                           // seq: up to here everything is in its file
	kindEvents                         // body: what was learned of nats-servers, see event
	kindDelete                         // seq: of the change; body: the tombstone
)

// flagQuiet marks a change that is not to be announced to nats-servers.
const flagQuiet byte = 1

const (
	recordHead = 48 // bytes
	magic      = "\xf5rec"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bodySize is the length of the body in bytes; nil has none.
func (r *record) bodySize() int64 {
	if r == nil {
		return 0
	}
	return int64(len(r.body))
}

// load is Load of an account whose last change this is. The caller must not change jwt.
func (r *record) load(known Stamp) (jwt []byte, now Stamp, err error) {
	now = CommitStamp(r.seq)
	switch {
	case r.kind == kindDelete:
		return nil, Stamp{}, unknown(r.key)
	case now == known:
		return nil, now, nil
	}
	return r.body, now, nil
}

// floorAfter returns the floor after a change; none if it is not indexed, or of format 1.
func (r *record) floorAfter() Floor {
	e, _ := decodeEntry(r.version)
	return e.Floor
}

// maxFollows bounds what a change takes over from those that it supersedes.
const maxFollows = 64

// follow adds what a change was allowed to follow after what those were that it supersedes. Of very
// many the first ones count. earlier is of the change that this one supersedes before it was
// flushed.
func (r *record) follow(earlier hashes) {
	own := r.follows
	r.follows = earlier.first(maxFollows)
	for h := range own.each() {
		r.followOne(h)
	}
}

// followOne adds a hash; the zero Hash is none.
func (r *record) followOne(h Hash) {
	if h != (Hash{}) && !r.mayFollow(h) {
		r.follows = r.follows.with(h)
	}
}

// mayFollow reports whether a change was allowed to follow what has this hash.
func (r *record) mayFollow(h Hash) bool { return r.follows.has(h) }

// padded rounds a size up to a multiple of 8. n is not negative.
func padded(n int) int { return (n + 7) &^ 7 }

// size is how many bytes the record takes in the file.
func (r *record) size() int {
	return padded(recordHead + len(r.origin) + len(r.key) + len(r.version) + len(r.follows) +
		len(r.body))
}

// append appends the record to b, whose length is a multiple of 8, for a file of this generation.
// It does not check lengths: Put has bounded the key, the version and the body.
func (r *record) append(b []byte, generation uint64) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = append(b, r.origin...)
	b = append(b, r.key...)
	b = append(b, r.version...)
	b = append(b, r.follows...)
	b = append(b, r.body...)
	head, body := b[start:start+recordHead], b[start+recordHead:]
	copy(head, magic)
	le := binary.LittleEndian
	le.PutUint32(head[8:], uint32(len(body)))
	le.PutUint32(head[12:], crc32.Checksum(body, castagnoli))
	le.PutUint64(head[16:], generation)
	le.PutUint64(head[24:], r.seq)
	le.PutUint64(head[32:], uint64(r.at.UnixNano()))
	head[40], head[41] = byte(r.kind), r.flags
	head[42], head[43] = byte(len(r.origin)), byte(len(r.key))
	le.PutUint16(head[44:], uint16(len(r.version)))
	le.PutUint16(head[46:], uint16(len(r.follows)))
	le.PutUint32(head[4:], crc32.Checksum(head[8:], castagnoli))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseRecord reads the record at the beginning of b; ok is false if there is no whole one. Its
// body is a part of b. The CRC of the head is looked at first, so that the lengths can be believed.
func parseRecord(b []byte) (r record, ok bool) {
	le := binary.LittleEndian
	if len(b) < recordHead || string(b[:4]) != magic ||
		le.Uint32(b[4:]) != crc32.Checksum(b[8:recordHead], castagnoli) {
		return record{}, false
	}
	length, origin, key, version := le.Uint32(b[8:]), int(b[42]), int(b[43]), int(le.Uint16(b[44:]))
	follows, body := int(le.Uint16(b[46:])), b[recordHead:]
	if uint64(length) > uint64(len(body)) || origin+key+version+follows > int(length) {
		return record{}, false
	}
	body = body[:length]
	if le.Uint32(b[12:]) != crc32.Checksum(body, castagnoli) {
		return record{}, false
	}
	return record{
		kind:       recordKind(b[40]),
		flags:      b[41],
		generation: le.Uint64(b[16:]),
		seq:        le.Uint64(b[24:]),
		at:         time.Unix(0, int64(le.Uint64(b[32:]))),
		origin:     string(body[:origin]),
		key:        string(body[origin : origin+key]),
		version:    body[origin+key : origin+key+version],
		follows:    hashes(body[origin+key+version : origin+key+version+follows]),
		body:       body[origin+key+version+follows:],
	}, true
}

// fileHead is the beginning of a journal file.
//
//	 0  magic        8 bytes
//	 8  version      4 bytes, of the format: 2; a journal of format 1 is read
//	12  CRC32C       4 bytes, of the version and the generation
//	16  generation   8 bytes, one more than the file's that it took the place of
//	24  the count    8 bytes, see countAt
const (
	fileHead      = 32
	fileMagic     = "JWTlog\xf5\n"
	formatVersion = 2
)

// appendFileHead appends the head of a file of this generation, with this count, to b, which is
// empty. The result has fileHead bytes.
func appendFileHead(b []byte, generation uint64, count uint32) []byte {
	head := make([]byte, countAt)
	copy(head, fileMagic)
	binary.LittleEndian.PutUint32(head[8:], formatVersion)
	binary.LittleEndian.PutUint64(head[16:], generation)
	binary.LittleEndian.PutUint32(head[12:], headSum(head))
	return appendCount(append(b, head...), generation, count)
}

// parseFileHead gives the version and the generation of a journal file; ok is false if they are
// damaged.
func parseFileHead(b []byte) (version uint32, generation uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < fileHead || string(b[:8]) != fileMagic || le.Uint32(b[12:]) != headSum(b) {
		return 0, 0, false
	}
	return le.Uint32(b[8:]), le.Uint64(b[16:]), true
}

// headSum leaves out the magic, which is compared, and the sum itself.
func headSum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[8:12], castagnoli), castagnoli, head[16:24])
}

// The head of a journal file says how many changes in the file are durable. So a start sees when
// the end of the file was cut off or overwritten.
//
//	24  count   4 bytes, of Puts, Deletes and Touches
//	28  CRC32C  4 bytes, of the generation and the count
//
// It is written when a group of changes was synced, and before their clients are answered. It is
// not synced itself: the sync of the next group takes it along. So the count is never too high, and
//
//	after                                   is noticed if it is missing
//	the process was killed                  every change that was acknowledged
//	a power cut                             every acknowledged change but those of the last group
//
// What was torn at the end by a crash is not counted, because no client was told that it is stored.
// A file that is missing altogether is not noticed: a clean stop removes it too.
const countAt = 24

// appendCount appends the count to b, which has the head of a file of this generation up to there.
func appendCount(b []byte, generation uint64, count uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, count)
	return binary.LittleEndian.AppendUint32(b, countSum(generation, count))
}

// parseCount returns the count of a file of this generation. It is 0 if there is none: in a file of
// an earlier version of this program, or if a power cut has torn it.
func parseCount(head []byte, generation uint64) (count uint32) {
	count = binary.LittleEndian.Uint32(head[countAt:])
	if binary.LittleEndian.Uint32(head[countAt+4:]) != countSum(generation, count) {
		return 0
	}
	return count
}

// countSum returns the CRC of a count.
func countSum(generation uint64, count uint32) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], generation)
	binary.LittleEndian.PutUint32(b[8:], count)
	return crc32.Checksum(b[:], castagnoli)
}
