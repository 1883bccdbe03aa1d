package jwtstore

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"nats-account-server/internal/trust"
)

const (
	maxNameRunes = 64 // of the name of an account that are kept
	maxSources   = 32 // accounts that an account imports from
)

// Summary is what lists and metrics tell of a stored JWT, so that it need not be read for them. The
// zero Summary says that it is not known: the JWT is damaged, or an earlier version of this program
// has made the index.
type Summary struct {
	Issuer   string // public key that has signed it, as the JWT says
	Name     string // of the account: valid UTF-8, at most 64 characters
	Imports  int    // how many there are
	NoBearer bool   // users of the account can't have bearer tokens
	// JetStream says that the account may store something.
	JetStream bool
	sources   string // the keys of the accounts that it imports from, in order, one after the other
}

// NewSummary returns the summary of the JWT with this head.
func NewSummary(head trust.Head) Summary {
	s := Summary{Name: cutName(head.Name), Imports: len(head.Imports), NoBearer: head.NoBearer,
		JetStream: head.JetStream}
	if looksLikeKey(head.Issuer) {
		s.Issuer = head.Issuer
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(head.Imports))) {
		if looksLikeKey(key) && len(s.sources) < maxSources*trust.KeyLength {
			s.sources += key
		}
	}
	return s
}

// cutName returns a name, or the beginning of a long one, which then ends in "…". It shares no
// memory with a longer one.
func cutName(name string) string {
	const maxBytes = (maxNameRunes + 1) * utf8.UTFMax
	runes := []rune(strings.ToValidUTF8(name[:min(len(name), maxBytes)], "\uFFFD"))
	if len(runes) > maxNameRunes {
		runes = append(runes[:maxNameRunes-1], '…')
	}
	return string(runes)
}

// Sources yields the accounts that the account imports from, by key. There may be more of them than
// the 32 that are yielded.
func (s Summary) Sources() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := s.sources; rest != ""; rest = rest[trust.KeyLength:] {
			if !yield(rest[:trust.KeyLength]) {
				return
			}
		}
	}
}

const (
	summaryIssuer byte = 1 << iota
	summaryNoBearer
	summaryJetStream
)

// append appends the summary to b. A key takes 35 bytes.
//
//	flags     1 byte, see above
//	issuer    a key, if there is one
//	name      length and bytes
//	imports   uvarint
//	sources   how many, a uvarint, and as many keys
func (s Summary) append(b []byte) []byte {
	b = append(b, flagIf(s.Issuer != "", summaryIssuer)|flagIf(s.NoBearer, summaryNoBearer)|
		flagIf(s.JetStream, summaryJetStream))
	b = appendKeys(b, s.Issuer)
	b = binary.AppendUvarint(appendText(b, s.Name), uint64(s.Imports))
	b = binary.AppendUvarint(b, uint64(len(s.sources)/trust.KeyLength))
	return appendKeys(b, s.sources)
}

// summary takes what append has written.
func (d *decoder) summary() (s Summary) {
	flags := d.bytes(1)[0]
	s.NoBearer, s.JetStream = flags&summaryNoBearer != 0, flags&summaryJetStream != 0
	if flags&summaryIssuer != 0 {
		s.Issuer = d.keys(1)
	}
	s.Name, s.Imports = d.text(), int(d.uvarint())
	s.sources = d.keys(min(d.count(), maxSources))
	return s
}
