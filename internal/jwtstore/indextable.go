package jwtstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"sync"
)

const (
	indexMagic     = "JWTidx\xf5\n"
	indexFormat    = 2       // in format 1 the entries had no summaries
	indexHeadSize  = 52      // bytes
	indexBlockSize = 4 << 10 // bytes; a block with one long value is larger
)

// indexTable is the first part of an index file: values by key. It never changes.
//
//	head │ block │ block │ … │ list of the blocks
//
//	block   keys and values
//	list    of each block: first key │ length of the block, a uvarint │ its CRC-32C, 4 bytes
//
// The head has the CRC of the list, and the list has those of the blocks. So what was not written
// together with this head is noticed when it is read.
type indexTable struct {
	reading sync.RWMutex // held for reading while file is read
	file    *os.File
	format  uint32
	number  uint64 // of this file; no other has it
	blocks  []indexBlock
	end     int64 // where the log begins
}

// indexBlock is what is in memory of a block: some 100 bytes.
type indexBlock struct {
	first string // its first key
	at    int64
	size  uint32
	sum   uint32
}

// indexHead is the beginning of a file. It is written in little endian without gaps, and a CRC-32C
// after it. It has 48 bytes, and 52 with its CRC.
type indexHead struct {
	Magic    [8]byte
	Format   uint32
	ListSum  uint32
	_        uint64
	Number   uint64
	ListAt   uint64
	ListSize uint64
}

// keyValue is a key and its value.
type keyValue struct {
	key   string
	value []byte
}

// encode returns the head as it is written.
func (h indexHead) encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, h)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeIndexHead is the inverse of encode. The error says why the file can't be used.
func decodeIndexHead(b []byte) (h indexHead, err error) {
	n, _ := binary.Decode(b, binary.LittleEndian, &h)
	switch {
	case string(h.Magic[:]) != indexMagic ||
		crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]):
		err = damagedIndex("its head is damaged")
	case h.Format < 1 || h.Format > indexFormat:
		err = damagedIndex("its format is %d, and this program knows up to %d",
			h.Format, indexFormat)
	}
	return h, err
}

// damagedIndex returns an error that wraps errIndexDamaged.
func damagedIndex(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errIndexDamaged, fmt.Sprintf(format, args...))
}

// readIndexTable reads the head and the list of a file of this size. The blocks are not read.
func readIndexTable(file *os.File, fileSize int64) (*indexTable, error) {
	b := make([]byte, indexHeadSize)
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, damagedIndex("its head: %s", err)
	}
	h, err := decodeIndexHead(b)
	if err != nil {
		return nil, err
	}
	if size := uint64(fileSize); h.ListSize > size || h.ListAt > size-h.ListSize {
		return nil, damagedIndex("it was cut")
	}
	list, err := readSummed(file, int64(h.ListAt), int64(h.ListSize), h.ListSum)
	if err != nil {
		return nil, err
	}
	t := &indexTable{file: file, format: h.Format, number: h.Number}
	t.end = int64(h.ListAt + h.ListSize)
	return t, t.readList(list)
}

// close closes the file, after those that read it.
func (t *indexTable) close() error {
	t.reading.Lock()
	defer t.reading.Unlock()
	return t.file.Close()
}

// readList takes the blocks from the list. They follow each other. Their order is that of their
// first keys.
func (t *indexTable) readList(list []byte) error {
	d := decoder{rest: list}
	for at := int64(indexHeadSize); len(d.rest) > 0; {
		b := indexBlock{first: d.text(), at: at, size: uint32(d.uvarint())}
		b.sum = binary.LittleEndian.Uint32(d.bytes(4))
		t.blocks = append(t.blocks, b)
		at += int64(b.size)
	}
	if d.bad {
		return damagedIndex("the list of its blocks is damaged")
	}
	return nil
}

// readSummed reads bytes that have this CRC. size comes from a part that has been checked.
func readSummed(file io.ReaderAt, at, size int64, sum uint32) ([]byte, error) {
	b := make([]byte, size)
	if _, err := file.ReadAt(b, at); err != nil {
		return nil, damagedIndex("reading %d bytes at offset %d: %s", size, at, err)
	}
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, damagedIndex("%d bytes at offset %d are damaged", size, at)
	}
	return b, nil
}

// from yields a key, if it is there, and all that follow it, in order. An error is the last. Of a
// block that is not wanted it yields the first key only, without its value; want nil: all are. ""
// is before all keys.
func (t *indexTable) from(key string, want func(block []byte) bool) iter.Seq2[keyValue, error] {
	return func(yield func(keyValue, error) bool) {
		later := sort.Search(len(t.blocks), func(n int) bool { return t.blocks[n].first > key })
		r := blockReader{table: t, next: max(0, later-1)}
		for {
			first, content, err := r.read(want)
			switch {
			case err == io.EOF:
				return
			case err != nil:
				yield(keyValue{}, err)
				return
			case content == nil && first >= key && !yield(keyValue{key: first}, nil):
				return
			}
			for d := (decoder{rest: content}); len(d.rest) > 0; {
				if e := d.keyValue(); e.key >= key && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// blockReader reads the blocks of a table one after the other. One goroutine uses it, for one walk.
type blockReader struct {
	table *indexTable
	next  int    // the block
	ahead []byte // what was read of it and of those after it
	buf   []byte
}

// readAhead is how many bytes are read at a time, at least, if not all blocks are wanted.
const readAhead = 64 << 10

// read returns the first key of the next block and what it has, nil if that is not wanted. The
// error is io.EOF after the last one. content is nil or a value of its own.
func (r *blockReader) read(want func(block []byte) bool) (first string, content []byte, err error) {
	if r.next == len(r.table.blocks) {
		return "", nil, io.EOF
	}
	b := r.table.blocks[r.next]
	r.next++
	if want == nil {
		content, err = readSummed(r.table.file, b.at, int64(b.size), b.sum)
		return b.first, content, err
	}
	if len(r.ahead) == 0 {
		if err := r.fill(b.at); err != nil {
			return "", nil, err
		}
	}
	content, r.ahead = r.ahead[:b.size], r.ahead[b.size:]
	switch {
	case crc32.Checksum(content, castagnoli) != b.sum:
		return "", nil, damagedIndex("%d bytes at offset %d are damaged", b.size, b.at)
	case !want(content):
		return b.first, nil, nil
	}
	return b.first, bytes.Clone(content), nil
}

// fill reads the block at an offset, and whole ones after it.
func (r *blockReader) fill(at int64) error {
	size := 0
	for _, b := range r.table.blocks[r.next-1:] {
		if size += int(b.size); size >= readAhead {
			break
		}
	}
	r.buf = slices.Grow(r.buf[:0], size)[:size]
	if _, err := r.table.file.ReadAt(r.buf, at); err != nil {
		return damagedIndex("reading %d bytes at offset %d: %s", size, at, err)
	}
	r.ahead = r.buf
	return nil
}

// writeIndexFile makes a file with these values, which are in order, and a log that only has the
// note. The file is durable then, its name is not. If it fails there is no file. The head is
// written last, so that a torn file has none.
func writeIndexFile(path string, note []byte, values iter.Seq2[keyValue, error]) error {
	_ = os.Remove(path) // whatever it is
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := indexHead{Format: indexFormat, Number: rand.Uint64()}
	copy(h.Magic[:], indexMagic)
	w := bufio.NewWriterSize(&syncedFile{File: file}, 256<<10)
	_, _ = w.Write(h.encode()) // is overwritten when the list is known
	list, size, err := writeIndexBlocks(w, values)
	h.ListAt, h.ListSize = uint64(indexHeadSize+size), uint64(len(list))
	h.ListSum = crc32.Checksum(list, castagnoli)
	_, _ = w.Write(list)
	logAt := int64(h.ListAt + h.ListSize)
	_, _ = w.Write(appendIndexRecord(nil, h.Number, logAt, encodeIndexPut(nil, note)))
	err = errors.Join(err, w.Flush()) // fails if a Write before has failed
	if err == nil {
		_, err = file.WriteAt(h.encode(), 0)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

// syncedFile syncs after each maxUnsynced bytes. So the syncs of other files, of the journal for
// instance, do not wait for many bytes of this one. The bytes that are left are synced by the
// caller.
type syncedFile struct {
	*os.File
	unsynced int
}

const maxUnsynced = 4 << 20 // bytes

// Write implements io.Writer.
func (f *syncedFile) Write(b []byte) (int, error) {
	if f.unsynced += len(b); f.unsynced > maxUnsynced {
		f.unsynced = 0
		if err := syncData(f.File); err != nil {
			return 0, err
		}
	}
	return f.File.Write(b)
}

// writeIndexBlocks writes values in blocks, and returns the list of these and how long they are
// together. A block has one value at least.
func writeIndexBlocks(
	w io.Writer, values iter.Seq2[keyValue, error],
) (list []byte, size int, err error) {
	var block []byte
	var first string
	end := func() error {
		if len(block) == 0 {
			return nil
		}
		list = binary.AppendUvarint(appendText(list, first), uint64(len(block)))
		list = binary.LittleEndian.AppendUint32(list, crc32.Checksum(block, castagnoli))
		size += len(block)
		_, err := w.Write(block)
		block = block[:0]
		return err
	}
	for e, err := range values {
		if err == nil && len(block)+len(e.key)+len(e.value) > indexBlockSize {
			err = end()
		}
		if err != nil {
			return nil, 0, err
		}
		if len(block) == 0 {
			first = e.key
		}
		block = e.append(block)
	}
	return list, size, end()
}

// append appends a key and its value. They are read by decoder.keyValue.
func (e keyValue) append(b []byte) []byte { return appendValue(appendText(b, e.key), e.value) }

// keyValue takes a key and its value. The value is a part of what is decoded.
func (d *decoder) keyValue() keyValue { return keyValue{d.text(), d.value()} }

// appendValue appends a 0 for nil, or a 1, the length as a uvarint, and the bytes.
func appendValue(b, value []byte) []byte {
	if value == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(append(b, 1), uint64(len(value))), value...)
}

// value takes what appendValue has written. It is a part of what is decoded.
func (d *decoder) value() []byte {
	if d.bytes(1)[0] == 0 {
		return nil
	}
	return d.bytes(d.count())
}
