package bucket

import (
	"log/slog"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
)

// Play lets commits go over a connection, as if the bucket had been read.
func (s *Store) Play(nc *nats.Conn, a Accounts, t Tokens) {
	s.applier.policy.Store(&policy{a, t})
	s.status.setFirst(false)
	s.stream.conn.Store(nc)
}

// ReadTimeout is after how long a read is asked again.
const ReadTimeout = readTimeout

// MaxAsked is how many values are asked for at a time.
const MaxAsked = maxAsked

// BucketID returns the id of the bucket that was read.
func (s *Store) BucketID() string { return s.revisions.now().ID }

// HeaderRoom is what the headers may take, and LargestHeader how many bytes the largest ones have.
const HeaderRoom = headerRoom

func LargestHeader() int {
	s := &stream{host: strings.Repeat("h", 253)}
	m := message{kind: kindTombstone, door: doorOffer, user: strings.Repeat("\x00", 1000), isOverride: true}
	for n := range byte(2 * maxReplaced) {
		m.floor = m.floor.After(1, jwtstore.Hash{n})
	}
	h := s.header(m)
	h.Set(headerExpected, strconv.FormatUint(math.MaxUint64, 10))
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, value := range values {
			size += len(name + ": " + value + "\r\n")
		}
	}
	return size
}

// Keys is how many the bucket had when it was last asked.
func (s *Store) Keys() int64 { return s.follower.keys.Load() }

// Revisions lets a test record revisions as if they were applied.
type Revisions struct{ r *revisions }

// NewRevisions returns those of a server that has read nothing yet.
func NewRevisions(dir string) Revisions {
	return Revisions{openRevisions(dir, slog.New(slog.DiscardHandler))}
}

// Begin records one, and reports whether it is later than what was recorded of the key.
func (r Revisions) Begin(key string, seq uint64) bool {
	_, ok := r.r.begin(key, seq, false)
	return ok
}

// Len returns how many keys are remembered.
func (r Revisions) Len() int { return len(r.r.of) }

// SetCompared says that everything up to seq has been compared.
func (r Revisions) SetCompared(seq uint64) { r.r.setCompared(seq) }
