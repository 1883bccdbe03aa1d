package bucket

import "github.com/nats-io/nats.go"

// Play lets commits go over a connection, as if the bucket had been read.
func (s *Store) Play(nc *nats.Conn) {
	s.status.setFirst(false)
	s.stream.conn.Store(nc)
}

// BucketID returns the id of the bucket that was read.
func (s *Store) BucketID() string { return s.revisions.now().ID }
