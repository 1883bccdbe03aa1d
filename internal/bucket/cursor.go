package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
)

// cursor is how far this server has read a bucket: every revision up to seq is in its journal.
//
//	{"bucket":"4FQ2…","seq":4711,"last":4711,"at":1795433158000000000}
type cursor struct {
	ID  string `json:"bucket"` // of the bucket, see idKey; "": none was ever read
	Seq uint64 `json:"seq"`
	// Last is the last revision that was read, 0 if it is not known, and At when JetStream stored
	// it, in nanoseconds. A bucket that was restored from a backup has the same id, and the same
	// numbers again. But no two messages of one number have the same time.
	Last uint64 `json:"last,omitempty"`
	At   int64  `json:"at,omitempty"`
}

// newCursor returns the cursor of a server that has read up to seq. last is the last revision that
// it has read. The zero revision is none: then the time of the last message is not known.
func newCursor(id string, seq uint64, last revision) cursor {
	if last.seq == 0 {
		return cursor{ID: id, Seq: seq}
	}
	return cursor{id, seq, last.seq, last.at.UnixNano()}
}

// of returns the cursor if it is one of this bucket, otherwise 0.
func (c cursor) of(id string) uint64 {
	if c.ID != id {
		return 0
	}
	return c.Seq
}

// identity says how the bucket stands to the one that was read up to a cursor.
type identity int

const (
	// Only with the first one revisions can be compared with those that were applied.
	sameBucket     identity = iota
	otherBucket             // it was made anew
	shorterBucket           // it ends before the cursor
	replacedBucket          // it has another message in the place of the last one that was read
)

// identify says whether a bucket is the one that was read up to a cursor.
//
// The id is compared first: revisions of another bucket say nothing. Then comes the message, since
// a bucket that was restored and has grown since is not shorter. An error is that of a request.
// Nothing is known then, and the identity counts for nothing.
func (s *stream) identify(
	ctx context.Context, nc *nats.Conn, i streamInfo, c cursor,
) (identity, error) {
	if i.id() != c.ID {
		return otherBucket, nil
	}
	if c.Last > 0 {
		r, err := s.get(ctx, nc, map[string]any{"seq": c.Last})
		if err != nil {
			return otherBucket, fmt.Errorf("asking for revision %d: %w", c.Last, err)
		}
		// One that is not there was removed, for there are newer ones of its key.
		if r.seq > 0 && r.at.UnixNano() != c.At {
			return replacedBucket, nil
		}
	}
	if i.State.LastSeq < c.Seq {
		return shorterBucket, nil
	}
	return sameBucket, nil
}

// readCursor reads the file. One that is missing or damaged is that of a server which has never
// read a bucket: then everything is compared. An error is that of reading or of a damaged file, and
// comes with the zero cursor.
func readCursor(path string) (c cursor, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cursor{}, nil
	}
	if err == nil && json.Unmarshal(content, &c) != nil {
		return cursor{}, fmt.Errorf("%s is damaged: everything is compared with the bucket", path)
	}
	return c, err
}

// write replaces the file. It is on stable storage then, or the old one is. The directory is not
// synced: after a power cut the old cursor may be back, which is right as well.
func (c cursor) write(path string) error {
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	// Before the first commit there is no journal, and no directory of it.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return jwtstore.ReplaceFile(path, append(content, '\n'))
}

// Leave forgets how far a server has read a bucket, and reports whether it has. A server that is
// not told of changes any more must not take them for old ones later. dir is that of the store. The
// store must not be in use by a Store of this package. false and nil mean that there was nothing to
// forget.
func Leave(dir string) (left bool, err error) {
	err = os.Remove(jwtstore.CursorPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
