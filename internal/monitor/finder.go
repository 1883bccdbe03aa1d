package monitor

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

const (
	// changesAtOnce is how many pending changes are read from the outbox at once. The outbox is
	// locked while they are read.
	changesAtOnce = 1000
	// lookSteps is how many accounts with a prefix are read from the index at once.
	lookSteps = 256
)

// finder finds a part of the accounts, in the order of their keys.
type finder struct {
	after string // a key: only accounts whose keys follow it are meant
	limit int    // how many at most; more than 0
	has   func(jwtstore.Keyed) bool
	// isOver reports whether the part ends after so many accounts were looked at, also if it is not
	// full.
	isOver func(looked int) bool
	isSlow bool // has reads JWTs, so isOver is asked after each account
}

// collect returns the accounts that has selects among those of next. after is where the next part
// goes on; "" if there is none. isUnfinished says that it ended early.
func (f *finder) collect(next some) (found []jwtstore.Keyed, after string, isUnfinished bool) {
	looked := 0
	for last, more := f.after, true; more; {
		var candidates []jwtstore.Keyed
		candidates, last, more = next(last)
		looked += len(candidates)
		for _, c := range candidates {
			if f.has(c) {
				if found = append(found, c); len(found) > f.limit {
					found, after = firstOf(found, f.limit)
					return found, after, false
				}
			}
			if f.isSlow && f.isOver(looked) {
				return found, c.Key, true
			}
		}
		if more && f.isOver(looked) {
			return found, last, true
		}
	}
	return found, "", false
}

// firstOf returns the first accounts, and the key of the last one if that leaves some out.
func firstOf(found []jwtstore.Keyed, limit int) (first []jwtstore.Keyed, after string) {
	if len(found) <= limit {
		return found, ""
	}
	return found[:limit], found[limit-1].Key
}

// some returns some of the accounts that follow a key, up to a last key, and whether there may be
// more. after is "" at the first call, and then the last of the call before. The calls are from one
// goroutine.
type some func(after string) (found []jwtstore.Keyed, last string, more bool)

// pending is some of those that a nats-server has not acknowledged. They are stored: deletions are
// pending as well, and are left out.
func (m *Monitor) pending(after string) (found []jwtstore.Keyed, last string, more bool) {
	keys, more := pendingAfter(m.Outbox, after, maxScanned)
	found, _, _ = m.storedOf(keys)(after)
	if more {
		last = keys[len(keys)-1]
	}
	return found, last, more
}

// storedOf returns a some of those accounts of a list of keys that are stored, all at once.
func (m *Monitor) storedOf(keys []string) some {
	return func(after string) (found []jwtstore.Keyed, last string, more bool) {
		for _, key := range slices.Sorted(slices.Values(keys)) {
			if v := m.Index.Get(key); key > after && v.Stored() {
				found = append(found, jwtstore.Keyed{Key: key, Version: v})
			}
		}
		return found, "", false
	}
}

// pendingAfter returns the first accounts, by key, of which a change is pending and whose keys
// follow one, and whether there are more. It returns up to twice max, and keeps no more in memory.
// The outbox may have a million changes, and they are not in the order of keys: so all are read,
// and the smallest keys are kept. An account with several changes is there once, since a change
// replaces the one before.
func pendingAfter(outbox *jwtstore.Outbox, key string, max int) (keys []string, more bool) {
	last := "" // if there are more, those that follow it are left out
	for seq := uint64(0); ; {
		some := outbox.PendingOf("", seq, changesAtOnce)
		for _, c := range some {
			if seq = c.Seq; c.Key > key && (!more || c.Key < last) {
				keys = append(keys, c.Key)
			}
		}
		if len(keys) > 2*max {
			slices.Sort(keys)
			keys, last, more = keys[:max], keys[max-1], true
		}
		if len(some) < changesAtOnce {
			slices.Sort(keys)
			return keys, more
		}
	}
}

// search looks for accounts with a text, in lower case: first for those whose keys begin with it,
// if that is possible, since these follow each other in the index. Then for all others, by key.
type search struct {
	index *jwtstore.Index
	// prefix is what keys begin with that match, in capitals; "" if no key can begin with the text.
	prefix string
	part   []byte // of the text: its longest part of ASCII
}

// firstKey comes before all keys of accounts, and no text begins with it that a key may begin with.
const firstKey = "A"

// newSearch returns a search. The text is in lower case. A part of ASCII is what can be looked for
// in an encoded entry without decoding it: lower case of other characters depends on the language
// and may have another length.
func newSearch(index *jwtstore.Index, text string) *search {
	s := &search{index: index}
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) {
		if len(part) > len(s.part) {
			s.part = []byte(part)
		}
	}
	upper := strings.ToUpper(text)
	// A key is in base32 and begins with "A". One letter would be a prefix of all.
	if len(upper) > len(firstKey) && strings.HasPrefix(upper, firstKey) && trust.IsBase32(upper) {
		s.prefix = upper
	}
	return s
}

// next implements some.
func (s *search) next(after string) (found []jwtstore.Keyed, last string, more bool) {
	if s.prefix == "" {
		return s.index.Next(after, s.wants)
	}
	// The first phase ends with the key firstKey, which is no account's, and begins the second one.
	if after == "" || strings.HasPrefix(after, s.prefix) {
		for key, v := range s.index.List(s.prefix, after) {
			found = append(found, jwtstore.Keyed{Key: key, Version: v})
			if len(found) == lookSteps {
				return found, key, true
			}
		}
		return found, firstKey, true
	}
	found, last, more = s.index.Next(after, s.wants)
	// Those were found in the first phase.
	isShown := func(c jwtstore.Keyed) bool { return strings.HasPrefix(c.Key, s.prefix) }
	return slices.DeleteFunc(found, isShown), last, more
}

// wants reports whether an encoded entry of the index, or one of several, may have the text in its
// name. The index decodes only those: to decode all of a million takes a second. It may say yes to
// an entry whose name has not got the text, such as one whose issuer has: lister.has decides.
func (s *search) wants(encoded []byte) bool {
	if len(s.part) == 0 {
		return true
	}
	return containsFold(encoded, s.part)
}

// containsFold reports whether a text has a part of ASCII in it, in any case. The comparison of the
// first byte is quick, and is wrong for some bytes that are no letters: EqualFold decides. Part is
// not empty.
func containsFold(text, part []byte) bool {
	const inCase = 'a' - 'A' // the bit that differs between the cases of a letter
	last := len(text) - len(part)
	if last < 0 {
		return false
	}
	for i, c := range text[:last+1] {
		if c|inCase == part[0]|inCase && bytes.EqualFold(text[i:i+len(part)], part) {
			return true
		}
	}
	return false
}
