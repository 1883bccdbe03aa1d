package bucket

import (
	"log/slog"

	"github.com/nats-io/nats.go"
)

// Play lets commits go over a connection, as if the bucket had been read.
func (s *Store) Play(nc *nats.Conn) {
	s.status.setFirst(false)
	s.stream.conn.Store(nc)
}

// BucketID returns the id of the bucket that was read.
func (s *Store) BucketID() string { return s.revisions.now().ID }

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
