package jwtstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
)

// The log follows the table in an index file. Each put is a record.
//
//	 0  magic    4 bytes
//	 4  CRC-32C  4 bytes, of the file's number, the record's offset in it, length and content
//	 8  length   4 bytes, of the content
//	12  content  the note, then keys and values
//
// So a record of another file, or of another place in this one, is not taken for one of this log.
const (
	indexRecordMagic = "\xf5put"
	indexRecordHead  = 12        // bytes
	maxIndexLog      = 128 << 20 // bytes; a longer one is damage
)

// appendIndexRecord appends a record that is at this offset of the file with this number. at is
// where in the file b will stand.
func appendIndexRecord(b []byte, number uint64, at int64, content []byte) []byte {
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(content)))
	b = append(b, indexRecordMagic...)
	b = binary.LittleEndian.AppendUint32(b, indexRecordSum(number, at, length, content))
	return append(append(b, length...), content...)
}

// indexRecordSum returns the CRC of a record.
func indexRecordSum(number uint64, at int64, length, content []byte) uint32 {
	place := binary.LittleEndian.AppendUint64(nil, number)
	place = binary.LittleEndian.AppendUint64(place, uint64(at))
	return crc32.Update(crc32.Checksum(append(place, length...), castagnoli), castagnoli, content)
}

// parseIndexRecord returns the content of the record that b begins with; ok is false if there is no
// whole one. content is a part of b.
func parseIndexRecord(b []byte, number uint64, at int64) (content []byte, ok bool) {
	if len(b) < indexRecordHead || string(b[:4]) != indexRecordMagic {
		return nil, false
	}
	length, content := b[8:indexRecordHead], b[indexRecordHead:]
	n := int64(binary.LittleEndian.Uint32(length))
	if n > int64(len(content)) {
		return nil, false
	}
	content = content[:n]
	return content, binary.LittleEndian.Uint32(b[4:]) == indexRecordSum(number, at, length, content)
}

// readIndexLog returns the contents of the records in a log, and how long the records are together.
// What follows them is a put that a crash tore, and that did not succeed. But if there is a whole
// record later on, the log is damaged. log is what stands behind the table, and start where that is
// in the file.
func readIndexLog(log []byte, number uint64, start int64) (contents [][]byte, size int, err error) {
	content, ok := parseIndexRecord(log, number, start)
	for ; ok; content, ok = parseIndexRecord(log[size:], number, start+int64(size)) {
		contents = append(contents, content)
		size += indexRecordHead + len(content)
	}
	for at := size; at < len(log); at++ {
		if _, ok := parseIndexRecord(log[at:], number, start+int64(at)); ok {
			return nil, 0, damagedIndex("its log is damaged at offset %d", start+int64(size))
		}
	}
	if size == 0 { // the first record was written together with the table
		return nil, 0, damagedIndex("its log was cut")
	}
	return contents, size, nil
}

// encodeIndexPut returns the content of a record. Keys are in order, so that equal puts have equal
// bytes.
func encodeIndexPut(values map[string][]byte, note []byte) []byte {
	b := appendValue(nil, note)
	for _, e := range sortedValues(values) {
		b = e.append(b)
	}
	return b
}

// decodeIndexPut is the inverse of encodeIndexPut. The values are parts of content.
func decodeIndexPut(content []byte) (values []keyValue, note []byte, err error) {
	d := decoder{rest: content}
	note = d.value()
	for len(d.rest) > 0 {
		values = append(values, d.keyValue())
	}
	if d.bad {
		return nil, nil, damagedIndex("a record of its log can't be read")
	}
	return values, note, nil
}

// sortedValues returns values in order. The values are not copied.
func sortedValues(values map[string][]byte) []keyValue {
	sorted := make([]keyValue, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		sorted = append(sorted, keyValue{key, values[key]})
	}
	return sorted
}

// indexContent is what is in an index file after a put. It never changes. What the log has comes
// before what the table has, and is in memory, in order: recent, which is short, comes before
// older. Readers use it without a lock, so each put makes another one.
type indexContent struct {
	*indexTable
	older, recent []keyValue
	note          []byte
	size          int64 // of the file
}

// maxRecent bounds recent, which each put copies.
const maxRecent = 1000

// readIndexContent reads all of a file but the blocks. Only the list of the blocks and the log are
// in memory then.
func readIndexContent(file *os.File) (*indexContent, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		return nil, damagedIndex("%s", err)
	}
	table, err := readIndexTable(file, info.Size())
	if err != nil {
		return nil, err
	}
	log := make([]byte, min(info.Size()-table.end, maxIndexLog))
	if _, err := file.ReadAt(log, table.end); err != nil && err != io.EOF {
		return nil, damagedIndex("%s", err)
	}
	contents, size, err := readIndexLog(log, table.number, table.end)
	if err != nil {
		return nil, err
	}
	return newIndexContent(table, contents, table.end+int64(size))
}

// newIndexContent returns the content of a file with these records in its log, which ends at size.
// The last record's note counts.
func newIndexContent(table *indexTable, records [][]byte, size int64) (*indexContent, error) {
	c := &indexContent{indexTable: table, size: size}
	latest := map[string][]byte{}
	for _, content := range records {
		values, note, err := decodeIndexPut(content)
		if err != nil {
			return nil, err
		}
		for _, e := range values {
			latest[e.key] = e.value
		}
		c.note = note
	}
	c.older = sortedValues(latest)
	return c, nil
}

// with returns the content after one more put, whose record has this size. c is not changed.
func (c *indexContent) with(content []byte, size int64) (*indexContent, error) {
	values, note, err := decodeIndexPut(content)
	if err != nil {
		return nil, err
	}
	after := &indexContent{
		indexTable: c.indexTable,
		older:      c.older,
		recent:     mergeValues(c.recent, values),
		note:       note,
		size:       c.size + size,
	}
	if len(after.recent) > maxRecent {
		after.older, after.recent = mergeValues(after.older, after.recent), nil
	}
	return after, nil
}

// mergeValues returns old and new values in order. The new ones take the place of old ones. Both
// are in order, and neither is changed.
func mergeValues(old, new []keyValue) []keyValue {
	merged := make([]keyValue, 0, len(old)+len(new))
	for _, e := range new {
		n, found := findValue(old, e.key)
		merged = append(append(merged, old[:n]...), e)
		if found {
			n++
		}
		old = old[n:]
	}
	return append(merged, old...)
}

// findValue returns where a key is or would be. values is in order.
func findValue(values []keyValue, key string) (n int, found bool) {
	return slices.BinarySearchFunc(values, key,
		func(e keyValue, key string) int { return strings.Compare(e.key, key) })
}

// from is indexTable.from with what the log has.
func (c *indexContent) from(key string, want func(block []byte) bool) iter.Seq2[keyValue, error] {
	return overlay(overlay(c.indexTable.from(key, want), c.older, key), c.recent, key)
}

// overlay yields from a key on what all yields, in order, with newer values in the place of its
// own. Both are in order of keys.
func overlay(
	all iter.Seq2[keyValue, error], newer []keyValue, key string,
) iter.Seq2[keyValue, error] {
	return func(yield func(keyValue, error) bool) {
		n, _ := findValue(newer, key)
		newer := newer[n:]
		for e, err := range all {
			for ; err == nil && len(newer) > 0 && newer[0].key < e.key; newer = newer[1:] {
				if !yield(newer[0], nil) {
					return
				}
			}
			if err == nil && len(newer) > 0 && newer[0].key == e.key {
				continue // its newer value is yielded before the next key
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		for _, e := range newer {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// get returns the value of a key; nil if there is none. The newest put counts, so recent is looked
// at first. The caller must not change the value.
func (c *indexContent) get(key string) ([]byte, error) {
	for _, logged := range [][]keyValue{c.recent, c.older} {
		if n, found := findValue(logged, key); found {
			return logged[n].value, nil
		}
	}
	for e, err := range c.indexTable.from(key, nil) {
		if err != nil || e.key != key {
			return nil, err
		}
		return e.value, nil
	}
	return nil, nil
}
