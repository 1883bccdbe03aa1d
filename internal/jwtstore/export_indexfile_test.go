package jwtstore

import "os"

// ErrIndexDamaged is errIndexDamaged.
var ErrIndexDamaged = errIndexDamaged

// IndexFile is an indexFile.
type IndexFile struct{ f *indexFile }

// OpenIndexFile is openIndexFile.
func OpenIndexFile(path string) (*IndexFile, error) {
	f, err := openIndexFile(path)
	if err != nil {
		return nil, err
	}
	return &IndexFile{f}, nil
}

func (x *IndexFile) Get(key string) ([]byte, error) { return x.f.get(key) }

func (x *IndexFile) Note() ([]byte, error) { return x.f.note() }

func (x *IndexFile) Put(values map[string][]byte, note []byte) error {
	return x.f.put(values, note)
}

func (x *IndexFile) Scan(after string, max int) ([]string, [][]byte, error) {
	return x.f.scan(after, max, filter{})
}

func (x *IndexFile) Close() error { return x.f.close() }

func (x *IndexFile) Tidy() { x.f.tidy() }

// LogSize returns the length of the log.
func (x *IndexFile) LogSize() int64 { return x.f.logSize() }

// SetMinMerge lets files be merged when their log has this many bytes. It returns the size before.
func SetMinMerge(n int64) (before int64) {
	before, minMerge = minMerge, n
	return before
}

// SetRenamesOpenFiles sets whether open files can be renamed.
func SetRenamesOpenFiles(can bool) { renamesOpenFiles = can }

// Break lets it be unknown what is on the disk.
func (x *IndexFile) Break() { x.f.broken = true }

// LogStart returns where the log begins.
func (x *IndexFile) LogStart() int64 { return x.f.content.end }

// IndexFormat returns the format in the head of the file at path.
func IndexFormat(path string) (format uint32, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	h, err := decodeIndexHead(b[:indexHeadSize])
	return h.Format, err
}

// StoreFormat makes the head of the file at path say another format.
func StoreFormat(path string, format uint32) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	h, err := decodeIndexHead(b[:indexHeadSize])
	if err != nil {
		return err
	}
	h.Format = format
	copy(b, h.encode())
	return os.WriteFile(path, b, 0o600)
}

// Hold calls do while the content is read.
func (x *IndexFile) Hold(do func()) error {
	return x.f.read(func(*indexContent) error { do(); return nil })
}
