package jwtstore

import (
	"bytes"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

// ErrIndexDamaged is errIndexDamaged.
var ErrIndexDamaged = errIndexDamaged

// IndexFile is an indexFile.
type IndexFile struct{ f *indexFile }

// OpenIndexFile is openIndexFile.
func OpenIndexFile(path string, directory uint64) (*IndexFile, error) {
	f, err := openIndexFile(path, directory)
	if err != nil {
		return nil, err
	}
	return &IndexFile{f}, nil
}

func (x *IndexFile) Get(key string) ([]byte, error) { return x.f.get(key) }

func (x *IndexFile) Note() ([]byte, error) { return x.f.note() }

func (x *IndexFile) Put(values map[string][]byte, note []byte) error { return x.f.put(values, note) }

func (x *IndexFile) Scan(after string, max int) ([]string, [][]byte, error) {
	return x.f.scan(after, max)
}

func (x *IndexFile) Close() error { return x.f.close() }

// StoreIdentity stores another identity.
func (x *IndexFile) StoreIdentity(format uint32, directory uint64) error {
	identity := encodeIdentity(directory)
	binary.LittleEndian.PutUint32(identity, format)
	return x.f.put(map[string][]byte{indexIdentityKey: identity}, nil)
}

// CopySealed gives a key the value of another as it is stored.
func (x *IndexFile) CopySealed(from, to string) error {
	err := x.f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(indexBucket)
		return b.Put([]byte(to), bytes.Clone(b.Get([]byte(from))))
	})
	return errors.Join(err, x.f.renew())
}

// Root is the offset and the number of the page that the tree begins with.
func (x *IndexFile) Root() (offset int64, page uint64) {
	return int64(x.f.tree.root * x.f.tree.pageSize), x.f.tree.root
}

// FailLastSync is a Put whose transaction is in the file, and whose last sync failed.
func (x *IndexFile) FailLastSync(values map[string][]byte, err error) error {
	return errors.Join(x.f.write(values), x.f.failed(err))
}
