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

// IndexPages is where some of a file is, in bytes.
type IndexPages struct {
	Bucket   int // the number of the page that the tree begins with
	Root     int // that page
	Children int // what Root has of its children: their numbers are 16 bytes apart
	Size     int // of a page
}

// Pages describes a file with a tree of at least two levels.
func (x *IndexFile) Pages() IndexPages {
	t := x.f.tree
	root := int(t.root * t.pageSize)
	bucket := int(t.top*t.pageSize) + pageHeadSize + elementSize + len(indexBucket)
	return IndexPages{Bucket: bucket, Root: root, Children: root + pageHeadSize + 8, Size: int(t.pageSize)}
}

// FailLastSync is a Put whose transaction is in the file, and whose last sync failed.
func (x *IndexFile) FailLastSync(values map[string][]byte, err error) error {
	return errors.Join(x.f.write(values), x.f.failed(err))
}

// PutUnchecked lets bbolt read what was not checked before.
func (x *IndexFile) PutUnchecked(values map[string][]byte) error {
	if err := x.f.write(values); err != nil {
		return x.f.failed(err)
	}
	return x.f.renew()
}

// HoldTree lets read read all that is in the file now, until release is called.
func (x *IndexFile) HoldTree() (read func() (map[string]string, error), release func(), err error) {
	t, err := x.f.acquire()
	if err != nil {
		return nil, nil, err
	}
	return func() (map[string]string, error) {
		all := map[string]string{}
		err := t.walk([]byte{1}, func(key, value []byte) bool {
			all[string(key)] = string(value)
			return true
		})
		return all, err
	}, t.readers.Done, nil
}
