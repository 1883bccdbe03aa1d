package jwtstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

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

// countLocked records that n more changes of the file are durable. Where it can't be written, a
// missing end is not noticed. The caller must hold the commit token.
func (j *journal) countLocked(n int) {
	if n == 0 {
		return
	}
	j.count += uint32(n)
	_, _ = j.file.WriteAt(appendCount(nil, j.generation, j.count), countAt)
}

// compareCount records as damage that fewer changes were found than are durable.
func (s *replayed) compareCount(count uint32) {
	if s.changes < count {
		s.damage = append(s.damage, fmt.Sprintf("%d acknowledged changes or more are missing: "+
			"push the latest JWTs again, or copy their files into the directory", count-s.changes))
	}
}
