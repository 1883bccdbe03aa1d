package jwtstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// replayed is what a journal file says.
type replayed struct {
	generation uint64
	mark       uint64 // up to here everything is in its file
	outbox     *Outbox
	last       map[string]record // the latest Put or Delete of each account, if it may not be written out
	deletes    map[string]record // the latest Delete of each account, if it may not be written out
	damage     []string          // what was skipped, for people
}

// replay reads a journal file. It reads on after damage, at every multiple of 8, so that one bad record does not
// take the later ones with it. What is missing or torn at the end is no damage: it is how a crash looks, and nobody
// was told that it is stored.
func replay(data []byte) (*replayed, error) {
	version, generation, whole := parseFileHead(data)
	if whole && version != formatVersion {
		return nil, fmt.Errorf("the journal has format %d, this program knows %d", version, formatVersion)
	}
	s := &replayed{generation: generation, outbox: newOutbox(false, nil), last: map[string]record{}, deletes: map[string]record{}}
	if !whole && len(data) > 0 {
		s.generation = newestGeneration(data)
		s.damage = append(s.damage, "its head is damaged")
	}
	s.scan(data)
	written := func(_ string, r record) bool { return r.seq <= s.mark }
	maps.DeleteFunc(s.last, written)
	maps.DeleteFunc(s.deletes, written)
	return s, nil
}

// newestGeneration stands in for a head that is damaged.
func newestGeneration(data []byte) (newest uint64) {
	for r := range records(data) {
		newest = max(newest, r.generation)
	}
	return newest
}

// records yields the whole records of data and where they start.
func records(data []byte) func(yield func(record, int) bool) {
	return func(yield func(record, int) bool) {
		for at := 0; at+recordHead <= len(data); {
			r, ok := parseRecord(data[at:])
			if !ok {
				at += 8
				continue
			}
			if !yield(r, at) {
				return
			}
			at += r.size()
		}
	}
}

func (s *replayed) scan(data []byte) {
	end := fileHead
	seen := false
	for r, at := range records(data) {
		if r.generation != s.generation {
			continue // of a file that had these blocks before
		}
		if at > end {
			s.damage = append(s.damage, fmt.Sprintf("%d bytes at offset %d are damaged", at-end, end))
		}
		if !seen && r.kind != kindSnapshot {
			s.damage = append(s.damage, "what was known at its beginning is lost")
		}
		seen = true
		s.apply(r)
		end = at + r.size()
	}
	if !seen && bytes.ContainsFunc(data, func(c rune) bool { return c != 0 }) {
		s.damage = append(s.damage, "nothing in it can be read")
	}
}

func (s *replayed) apply(r record) {
	switch r.kind {
	case kindSnapshot:
		s.restore(r.body)
	case kindPut:
		keepLatest(s.last, r)
		s.change(r)
	case kindDelete:
		keepLatest(s.last, r)
		keepLatest(s.deletes, r)
		s.change(r)
	case kindTouch:
		s.change(r)
	case kindMark:
		s.mark = max(s.mark, r.seq)
	case kindNews:
		s.outbox.replay(r.body)
	}
}

// keepLatest keeps r in one of the maps of replayed, unless it has a later one of the account.
func keepLatest(of map[string]record, r record) {
	if had, found := of[r.key]; validName(r.key) && len(r.body) <= maxJWT && (!found || had.seq < r.seq) {
		of[r.key] = r
	}
}

// change tells the outbox. A snapshot is followed by changes that it knows already.
func (s *replayed) change(r record) {
	if r.seq > s.outbox.head && validName(r.key) {
		s.outbox.apply(r)
	}
}

func (s *replayed) restore(body []byte) {
	mark, n := binary.Uvarint(body)
	outbox, err := (*Outbox)(nil), errors.New("the mark is damaged")
	if n > 0 {
		outbox, err = restoreOutbox(body[n:])
	}
	if err != nil {
		s.damage = append(s.damage, err.Error())
		return
	}
	s.mark, s.outbox = mark, outbox
}

// unwritten returns what may not be written out, oldest first: of each account the last Put or Delete, and before a
// Put the Delete whose tombstone stays. Their bodies do not keep the file's bytes in memory.
func (s *replayed) unwritten() []record {
	all := slices.Collect(maps.Values(s.last))
	for key, r := range s.deletes {
		if s.last[key].kind == kindPut {
			all = append(all, r)
		}
	}
	for i := range all {
		all[i].body = bytes.Clone(all[i].body)
	}
	slices.SortFunc(all, bySeq)
	return all
}

func bySeq(a, b record) int {
	if a.seq < b.seq {
		return -1
	}
	return 1
}

// complaint is one line about the damage, "" if there is none.
func (s *replayed) complaint() string { return strings.Join(s.damage, ", ") }
