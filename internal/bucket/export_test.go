package bucket

import "github.com/nats-io/nats.go"

// Play lets commits go over a connection, as if the bucket had been read.
func (s *Store) Play(nc *nats.Conn) {
	s.mu.Lock()
	s.progress.isFirst = false
	s.mu.Unlock()
	s.conn.Store(nc)
}

// BucketID returns the id of the bucket that was read.
func (s *Store) BucketID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.ID
}
