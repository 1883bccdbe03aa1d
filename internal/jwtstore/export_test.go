package jwtstore

import (
	"bytes"
	"encoding/binary"
	"os"
	"time"
)

// Path and Key are the codec; Path gives "" for what is not an account key.
func Path(shard bool, key string) string {
	if !validKey(key) {
		return ""
	}
	return codec{shard: shard}.path("", key)
}

func Key(shard bool, path string) (string, bool) { return codec{shard: shard}.key(path) }

// JournalOf returns a journal file with these puts, one after the other, and where each of them ends.
func JournalOf(keys []string, jwt []byte) (data []byte, ends []int) {
	data = appendFileHead(nil, 3)
	records := []record{{kind: kindSnapshot, body: snapshot(0, newLedger())}}
	for i, key := range keys {
		records = append(records, record{kind: kindPut, seq: uint64(i + 1), key: key, door: "test", body: jwt})
	}
	for i, r := range records {
		r.generation, r.at = 3, time.Unix(1, 0)
		data = r.append(data)
		if i > 0 {
			ends = append(ends, len(data))
		}
	}
	return data, ends
}

// JournalOfVersion returns an empty journal file of a later format.
func JournalOfVersion(version byte) []byte {
	head := appendFileHead(nil, 1)
	head[8] = version
	binary.LittleEndian.PutUint32(head[12:], headSum(head))
	return head
}

// Replay returns the puts in a journal file by key, and what is said about damage.
func Replay(data []byte) (puts map[string][]byte, owed []Change, complaint string, err error) {
	r, err := replay(bytes.Clone(data))
	if err != nil {
		return nil, nil, "", err
	}
	puts = map[string][]byte{}
	for _, p := range r.unwritten() {
		puts[p.key] = p.body
	}
	return puts, r.led.changes(), r.complaint(), nil
}

// BreakJournal lets the next append go to f.
func (d *Dir) BreakJournal(f *os.File) {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	d.journal.file.Close()
	d.journal.file = f
}

// Pending is how many JWTs are committed whose files are not written.
func (d *Dir) Pending() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.pending)
}

// SetMostPending bounds the bytes that are pending.
func (d *Dir) SetMostPending(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.most = n
}

// Ledger is the outbox by itself, for a comparison with a simple model.
type Ledger struct{ *ledger }

func NewLedger() Ledger                             { return Ledger{newLedger()} }
func (l Ledger) Commit(seq uint64, key string)      { l.commit(seq, key, time.Unix(int64(seq), 0), true) }
func (l Ledger) Meet(name string)                   { l.meet(name, time.Unix(1, 0)) }
func (l Ledger) Confirm(name string, seq uint64)    { l.confirm(name, seq) }
func (l Ledger) Forget(name string)                 { l.forget(name) }
func (l Ledger) Lacks(name string, seq uint64) bool { return l.lacks(name, seq) }
func (l Ledger) Changes() []Change                  { return l.changes() }
func (l Ledger) Reload() (Ledger, error) {
	n, err := decodeLedger(l.encode(nil))
	return Ledger{n}, err
}
func DecodeLedger(data []byte) (changes int, err error) {
	l, err := decodeLedger(data)
	if err != nil {
		return 0, err
	}
	return l.order.Len(), nil
}
