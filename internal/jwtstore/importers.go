package jwtstore

import (
	"bytes"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"

	"nats-account-server/internal/trust"
)

// Importer is an account that imports from another one.
type Importer struct {
	Key string
	Version
	// Unsure says that the account imports from more accounts than the index remembers, and that
	// the other one is not among those. Its JWT tells.
	Unsure bool
}

// Importers yields the accounts for which something is stored that imports from an account, by key.
// The Index may change meanwhile; what is yielded is as it was a moment ago. The first call looks
// at all entries. Each looks at those of the groups that may have one of these accounts.
func (x *Index) Importers(key string) iter.Seq[Importer] {
	return func(yield func(Importer) bool) {
		if !looksLikeKey(key) {
			return
		}
		x.filterSources()
		raw := appendKeys(nil, key)
		want := func(value []byte) bool { return bytes.Contains(value, raw) || mayHaveMore(value) }
		for _, group := range x.groupsOf(key) {
			for importer, v := range x.group(group, want) {
				isSource := slices.Contains(slices.Collect(v.Summary.Sources()), key)
				isUnsure := !isSource && v.Summary.hasMore()
				if (isSource || isUnsure) && v.Stored() && !yield(Importer{importer, v, isUnsure}) {
					return
				}
			}
		}
	}
}

// hasMore reports whether the account may import from more accounts than Sources yields.
func (s Summary) hasMore() bool {
	return len(s.sources) == maxSources*trust.KeyLength && s.Imports > maxSources
}

// mayHaveMore reports whether the summary that a value ends with may have as many sources as it
// can. It is quick, and may be wrong for one that has not.
func mayHaveMore(value []byte) bool {
	at := len(value) - maxSources*keyBytes - 1
	return at >= 0 && value[at] == maxSources
}

// groupOf returns which of the 1024 groups of accounts a key is in. The keys of a group follow each
// other.
func groupOf(key string) string { return key[:min(len(key), groupLength)] }

const (
	groupLength = 3       // characters; the first one of all account keys is the same
	filterBits  = 1 << 15 // of the sources of one group
	filterMarks = 3       // bits of a source
)

// sourceFilters are Bloom filters: for each group of accounts, from which others they may import. A
// source that was removed stays in its filter. They take 4 MB at most, however many accounts there
// are. A filter may say yes in vain: the entries of the group decide.
type sourceFilters struct {
	seed    maphash.Seed
	byGroup map[string]*[filterBits / 64]uint64
}

// anySource stands for the sources that a Summary has no room for.
const anySource = ""

// add adds the sources of an account.
func (f *sourceFilters) add(key string, s Summary) {
	if s.sources == "" {
		return
	}
	filter := f.byGroup[groupOf(key)]
	if filter == nil {
		filter = new([filterBits / 64]uint64)
		f.byGroup[strings.Clone(groupOf(key))] = filter
	}
	mark := func(source string) {
		for bit := range f.bits(source) {
			filter[bit/64] |= 1 << (bit % 64)
		}
	}
	for source := range s.Sources() {
		mark(source)
	}
	if s.hasMore() {
		mark(anySource)
	}
}

// bits yields the bits of a source.
func (f *sourceFilters) bits(source string) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		hash := maphash.String(f.seed, source)
		for range filterMarks {
			if !yield(hash % filterBits) {
				return
			}
			hash /= filterBits
		}
	}
}

// mayHave reports whether a group may have an account that imports from source. The group must have
// a filter.
func (f *sourceFilters) mayHave(group, source string) bool {
	for bit := range f.bits(source) {
		if f.byGroup[group][bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
	}
	return true
}

// group yields the entries of one group. Those of the file whose values are not wanted may be left
// out: so it ends by what was read, and not by what is yielded.
func (x *Index) group(group string, want func(value []byte) bool) iter.Seq2[string, Version] {
	return func(yield func(string, Version) bool) {
		for after, more := lastBefore(group), true; more && groupOf(after) <= group; {
			var entries []keyedEntry
			x.mu.Lock()
			entries, after, more = x.nextLocked(after, filter{value: want})
			x.mu.Unlock()
			for _, e := range entries {
				if groupOf(e.key) > group || groupOf(e.key) == group && !yield(e.key, x.latest(e)) {
					return
				}
			}
		}
	}
}

// groupsOf returns the groups that may have an account which imports from source, in order. Without
// sources there is none.
func (x *Index) groupsOf(source string) (groups []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, group := range slices.Sorted(maps.Keys(x.sources.byGroup)) {
		if x.sources.mayHave(group, source) || x.sources.mayHave(group, anySource) {
			groups = append(groups, group)
		}
	}
	return groups
}

// filterSources makes the filters, if they are not there. From then on each change of an entry is
// added to them.
func (x *Index) filterSources() {
	x.filtering.Lock()
	defer x.filtering.Unlock()
	x.mu.Lock()
	isThere := x.sources != nil
	if !isThere {
		x.sources = &sourceFilters{maphash.MakeSeed(), make(map[string]*[filterBits / 64]uint64)}
	}
	x.mu.Unlock()
	if isThere {
		return
	}
	x.eachPart(func(part []keyedEntry) {
		for _, e := range part {
			x.sources.add(e.key, e.Summary)
		}
	})
}
