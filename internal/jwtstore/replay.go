package jwtstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
)

// replayed is what a journal file says.
type replayed struct {
	generation uint64
	mark       uint64 // up to here everything is in its file
	outbox     *Outbox
	damage     []string // what was skipped, for people

	// What may be unflushed: of each account the latest Put or Delete, and the latest Delete.
	last    map[string]*record
	deletes map[string]*record
}

// readJournal replays the journal of an earlier process. Without one, nothing has happened.
func readJournal(path string) (*replayed, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := replay(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// replay reads a journal file. After damage it goes on at the next multiple of 8 at which a record
// is. So one bad record does not take the later ones with it. What is missing or torn at the end is
// no damage: a crash leaves that, and no client was told that it is stored.
func replay(data []byte) (*replayed, error) {
	version, generation, whole := parseFileHead(data)
	if whole && version != formatVersion {
		return nil, fmt.Errorf("the journal has format %d, this program knows %d",
			version, formatVersion)
	}
	s := &replayed{
		generation: generation,
		outbox:     newOutbox(false, nil),
		last:       map[string]*record{},
		deletes:    map[string]*record{},
	}
	if !whole && len(data) > 0 {
		s.generation = newestGeneration(data)
		s.damage = append(s.damage, "its head is damaged")
	}
	s.scan(data)
	flushed := func(_ string, r *record) bool { return r.seq <= s.mark }
	maps.DeleteFunc(s.last, flushed)
	maps.DeleteFunc(s.deletes, flushed)
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
func records(data []byte) iter.Seq2[*record, int] {
	return func(yield func(*record, int) bool) {
		for at := 0; at+recordHead <= len(data); {
			r, ok := parseRecord(data[at:])
			if !ok {
				at += 8
				continue
			}
			if !yield(&r, at) {
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
			text := fmt.Sprintf("%d bytes at offset %d are damaged", at-end, end)
			s.damage = append(s.damage, text)
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

func (s *replayed) apply(r *record) {
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
	case kindEvents:
		s.outbox.replay(r.body)
	}
}

// keepLatest keeps r in one of the maps of replayed, unless it has a later one of the account.
func keepLatest(of map[string]*record, r *record) {
	if had := of[r.key]; isName(r.key) && len(r.body) <= maxJWT && (had == nil || had.seq < r.seq) {
		of[r.key] = r
	}
}

// change tells the outbox. A snapshot is followed by changes that it knows already.
func (s *replayed) change(r *record) {
	if r.seq > s.outbox.head && isName(r.key) {
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

// unflushed returns what may be unflushed, oldest first: of each account the last Put or Delete,
// and before a Put the Delete whose tombstone stays. Their bodies do not keep the file's bytes in
// memory.
func (s *replayed) unflushed() []*record {
	all := slices.Collect(maps.Values(s.last))
	for key, r := range s.deletes {
		if s.last[key].kind == kindPut {
			all = append(all, r)
		}
	}
	for _, r := range all {
		r.body = bytes.Clone(r.body)
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// complaint is one line about the damage, "" if there is none.
func (s *replayed) complaint() string { return strings.Join(s.damage, ", ") }
