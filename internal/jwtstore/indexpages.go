package jwtstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"sort"
	"sync"
)

// The file format of bbolt, version 2. Numbers are in the byte order of the machine.
//
//	page      id 8 │ flags 2 │ count 2 │ overflow 4 │ elements of 16 bytes │ their keys and values
//	leaf      flags 4 │ offset 4 │ key size 4 │ value size 4
//	branch    offset 4 │ key size 4 │ page of the child 8
//	freelist  ids of 8 bytes; if there are 65535 or more, their number comes first
//	meta      magic 4 │ version 4 │ page size 4 │ flags 4 │ root 8 │ sequence 8 │ freelist 8 │
//	          pages 8 │ transaction 8 │ FNV-1a of these 8
//
// An offset counts from its element. Keys and values follow each other without a gap. A page has
// overflow more pages behind it. Pages 0 and 1 are metas; the one with the later transaction counts.
// The root page has one element, the bucket, whose value is: root page 8 │ sequence 8. A small bucket
// has root page 0, and its only page follows in the value.
const (
	pageHeadSize = 16
	elementSize  = 16
	bucketSize   = 16
	metaSize     = 64

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01 // of an element

	bboltMagic   = 0xED0CDAED
	bboltVersion = 2

	maxTreeDepth = 16 // 4 are enough for a million accounts
)

// native is the byte order of bbolt.
var native = binary.NativeEndian

// indexTree reads the tree of one transaction from a bbolt file. bbolt itself trusts each byte that it
// reads: a wrong page number sends it round in a circle until the runtime ends the process, or to
// another page, where the key is not found. So every page that is read here must have its number, the
// exact layout that bbolt writes, keys in order, all of them between those that its parent says, and in
// a leaf whole values.
//
// It is valid until the next transaction but one begins, which has to wait for its readers. Its methods
// may be called from any goroutine.
type indexTree struct {
	file        io.ReaderAt
	pageSize    uint64
	pages       uint64 // those in use or free; the file has at least as many
	transaction uint64
	freelist    uint64
	top         uint64 // the page that has the bucket
	root        uint64 // the root page of the bucket; 0: it is inline
	inline      []byte // a small bucket's only page
	readers     sync.WaitGroup
}

// readIndexTree reads the newest transaction. A crash leaves two whole metas. With one of them gone the
// state might be that of the transaction before the last, so both must be whole.
func readIndexTree(file io.ReaderAt) (*indexTree, error) {
	t := &indexTree{file: file}
	first, err := t.meta(0)
	if err != nil {
		return nil, err
	}
	second, err := t.meta(uint64(native.Uint32(first[8:])))
	if err != nil {
		return nil, err
	}
	if native.Uint64(second[48:]) > native.Uint64(first[48:]) {
		first = second
	}
	t.pageSize = uint64(native.Uint32(first[8:]))
	t.top, t.freelist = native.Uint64(first[16:]), native.Uint64(first[32:])
	t.pages, t.transaction = native.Uint64(first[40:]), native.Uint64(first[48:])
	return t, t.findBucket()
}

// meta reads the meta page at offset.
func (t *indexTree) meta(offset uint64) ([]byte, error) {
	page := make([]byte, pageHeadSize+metaSize)
	if _, err := t.file.ReadAt(page, int64(offset)); err != nil {
		return nil, fmt.Errorf("reading its head: %w", err)
	}
	m := page[pageHeadSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaSize-8])
	switch size := native.Uint32(m[8:]); {
	case native.Uint32(m) != bboltMagic || sum.Sum64() != native.Uint64(m[metaSize-8:]):
		return nil, fmt.Errorf("its head at %d is not whole", offset)
	case native.Uint32(m[4:]) != bboltVersion || size < 1<<10 || size > 1<<16:
		return nil, fmt.Errorf("its head at %d is of another format", offset)
	}
	return m, nil
}

// findBucket reads where the bucket is.
func (t *indexTree) findBucket() error {
	p, err := t.read(t.top, nil)
	if err != nil {
		return err
	}
	if !p.leaf || p.count != 1 || p.bucket() == nil {
		return fmt.Errorf("page %d has no bucket", t.top)
	}
	b := p.bucket()
	if t.root = native.Uint64(b); t.root == 0 {
		t.inline = bytes.Clone(b[bucketSize:])
	}
	return nil
}

// treePage is a page of the tree with all that overflows it.
type treePage struct {
	id    uint64
	data  []byte
	leaf  bool
	count int
	end   int // of what is in it
}

// read reads a page of the tree into buf, or into a larger one.
func (t *indexTree) read(id uint64, buf []byte) (treePage, error) {
	data, err := t.readRaw(id, buf)
	if err != nil {
		return treePage{}, err
	}
	p, err := parseTreePage(id, data)
	if err == nil && uint64(len(data)-p.end) >= t.pageSize {
		return p, fmt.Errorf("page %d has more pages than it needs", id)
	}
	return p, err
}

// readRaw reads a page, whatever it is, with all that overflows it.
func (t *indexTree) readRaw(id uint64, buf []byte) ([]byte, error) {
	if id < 2 || id >= t.pages {
		return nil, fmt.Errorf("page %d is not in the file", id)
	}
	if uint64(cap(buf)) < t.pageSize {
		buf = make([]byte, t.pageSize)
	}
	buf = buf[:t.pageSize]
	if _, err := t.file.ReadAt(buf, int64(id*t.pageSize)); err != nil {
		return nil, fmt.Errorf("reading page %d: %w", id, err)
	}
	overflow := uint64(native.Uint32(buf[12:]))
	switch {
	case native.Uint64(buf) != id:
		return nil, fmt.Errorf("page %d has another number", id)
	case overflow == 0:
		return buf, nil
	case overflow >= t.pages-id:
		return nil, fmt.Errorf("page %d has more pages than the file", id)
	}
	buf = make([]byte, (overflow+1)*t.pageSize)
	_, err := t.file.ReadAt(buf, int64(id*t.pageSize))
	return buf, err
}

// parseTreePage checks that data is laid out exactly as bbolt does it, with the keys in order. Only an
// empty bucket has an empty page, and the index is never empty: it has its identity.
func parseTreePage(id uint64, data []byte) (treePage, error) {
	if len(data) < pageHeadSize {
		return treePage{}, fmt.Errorf("page %d is too short", id)
	}
	flags := native.Uint16(data[8:])
	p := treePage{id: id, data: data, leaf: flags == leafFlag, count: int(native.Uint16(data[10:]))}
	if flags != leafFlag && flags != branchFlag || p.count == 0 {
		return p, fmt.Errorf("page %d is not of the tree", id)
	}
	end := uint64(pageHeadSize + elementSize*p.count)
	var before []byte
	for i := range p.count {
		at, offset, key, value := p.sizes(i)
		if at+offset != end || key == 0 || end+key+value > uint64(len(data)) {
			return p, fmt.Errorf("element %d of page %d lies elsewhere", i, id)
		}
		if this := data[end : end+key]; i > 0 && bytes.Compare(before, this) >= 0 {
			return p, fmt.Errorf("the keys of page %d are not in order", id)
		} else {
			before = this
		}
		end += key + value
	}
	p.end = int(end)
	return p, nil
}

// sizes returns where the ith element is, and what it says of its key and value.
func (p treePage) sizes(i int) (at, offset, key, value uint64) {
	at = uint64(pageHeadSize + elementSize*i)
	e := p.data[at:]
	if p.leaf {
		return at, uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
	}
	return at, uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), 0
}

// key returns the key of the ith element.
func (p treePage) key(i int) []byte {
	at, offset, key, _ := p.sizes(i)
	return p.data[at+offset:][:key:key]
}

// value returns the value of the ith element of a leaf.
func (p treePage) value(i int) []byte {
	at, offset, key, value := p.sizes(i)
	return p.data[at+offset+key:][:value:value]
}

// flags returns the flags of the ith element of a leaf.
func (p treePage) flags(i int) uint32 { return native.Uint32(p.data[pageHeadSize+elementSize*i:]) }

// child returns the page of the ith element of a branch.
func (p treePage) child(i int) uint64 {
	return native.Uint64(p.data[pageHeadSize+elementSize*i+8:])
}

// bucket returns the bucket that the first element is, nil if it is none of ours.
func (p treePage) bucket() []byte {
	if p.flags(0) != bucketFlag || !bytes.Equal(p.key(0), indexBucket) || len(p.value(0)) < bucketSize {
		return nil
	}
	return p.value(0)
}

// from returns the element of a leaf with the first key that is not before key, or the element of a
// branch whose child may have it.
func (p treePage) from(key []byte) int {
	n := sort.Search(p.count, func(i int) bool { return bytes.Compare(p.key(i), key) >= 0 })
	if !p.leaf && n > 0 && (n == p.count || !bytes.Equal(p.key(n), key)) {
		n--
	}
	return n
}

// between reports whether all keys are at least low, and before high. nil is no limit.
func (p treePage) between(low, high []byte) bool {
	return bytes.Compare(p.key(0), low) >= 0 &&
		(high == nil || bytes.Compare(p.key(p.count-1), high) < 0)
}

// treeWalk is one way through a tree.
type treeWalk struct {
	*indexTree
	from    []byte                              // visit may move it on
	visit   func(key, value []byte) (more bool) // key and value are not to be kept
	claimed func(id uint64, pages int) error    // nil, or called for each page
	buffers [maxTreeDepth][]byte                // what a parent says is needed below it
}

// walk calls visit for the keys at and after from, in their order, until it returns false.
//
// It notices a key that is missing because a branch sends it to another page or says a wrong key: the
// page has keys then that are not between those of its parent, and the page after the last one that
// was searched is read if there was nothing more in that.
func (t *indexTree) walk(from []byte, visit func(key, value []byte) bool) error {
	w := treeWalks.Get().(*treeWalk)
	defer treeWalks.Put(w)
	w.indexTree, w.from, w.visit = t, from, visit
	return w.run()
}

// treeWalks are not in use. They keep their buffers.
var treeWalks = sync.Pool{New: func() any { return new(treeWalk) }}

// readPathsTo reads what is on the way to each of these sorted keys.
func (t *indexTree) readPathsTo(keys []string) error {
	w := &treeWalk{indexTree: t, from: []byte(keys[0])}
	w.visit = func(key, _ []byte) bool {
		for len(keys) > 0 && keys[0] <= string(key) {
			keys = keys[1:]
		}
		if len(keys) > 0 {
			w.from = []byte(keys[0])
		}
		return len(keys) > 0
	}
	return w.run()
}

// get returns the value of a key; nil if there is none.
func (t *indexTree) get(key string) (value []byte, err error) {
	err = t.walk([]byte(key), func(k, v []byte) bool {
		if string(k) == key {
			value = bytes.Clone(v)
		}
		return false
	})
	return value, err
}

// run walks from the root of the bucket.
func (w *treeWalk) run() error {
	if w.root == 0 {
		p, err := parseTreePage(0, w.inline)
		if err != nil {
			return err
		}
		_, err = w.visitPage(p, 0, nil)
		return err
	}
	_, err := w.page(w.root, 0, nil, nil)
	return err
}

// page walks through a page and what is below it. It reports whether the walk goes on.
func (w *treeWalk) page(id uint64, depth int, low, high []byte) (more bool, err error) {
	if depth == maxTreeDepth {
		return false, fmt.Errorf("page %d is too deep in the tree", id)
	}
	p, err := w.read(id, w.buffers[depth])
	if err != nil {
		return false, err
	}
	if !p.between(low, high) {
		return false, fmt.Errorf("page %d has keys of another", id)
	}
	w.buffers[depth] = p.data
	if w.claimed != nil {
		if err := w.claimed(id, len(p.data)/int(w.pageSize)); err != nil {
			return false, err
		}
	}
	return w.visitPage(p, depth, high)
}

// visitPage walks through what has been read and what is below it.
func (w *treeWalk) visitPage(p treePage, depth int, high []byte) (more bool, err error) {
	if p.leaf {
		return w.visitLeaf(p)
	}
	more = true
	for i := p.from(w.from); i < p.count && more && err == nil; i = max(i+1, p.from(w.from)) {
		below := high
		if i+1 < p.count {
			below = p.key(i + 1)
		}
		more, err = w.page(p.child(i), depth+1, p.key(i), below)
	}
	return more, err
}

// visitLeaf checks all values of a leaf, and calls visit for those from w.from on. A key that was
// damaged is noticed then, also by a get of the key that it was.
func (w *treeWalk) visitLeaf(p treePage) (more bool, err error) {
	for i := range p.count {
		if p.flags(i) != 0 {
			return false, fmt.Errorf("page %d has a value of another kind", p.id)
		}
		if _, err := unseal(p.key(i), p.value(i)); err != nil {
			return false, err
		}
	}
	more = true
	for i := p.from(w.from); i < p.count && more; i = max(i+1, p.from(w.from)) {
		more = w.visit(p.key(i), p.value(i)[sealSize:])
	}
	return more, nil
}

// pageClaims says which pages are known to be used or free.
type pageClaims []bool

// claim notes that pages are used, or free. No page may be both, or twice so.
func (c pageClaims) claim(id uint64, pages int) error {
	for n := id; n < id+uint64(pages); n++ {
		if n >= uint64(len(c)) || c[n] {
			return fmt.Errorf("page %d is used twice", n)
		}
		c[n] = true
	}
	return nil
}

// check reads the whole tree. Each page of the file must be used once, or be free.
func (t *indexTree) check() error {
	claims := make(pageClaims, t.pages)
	if err := claims.claim(0, 2); err != nil {
		return err
	}
	if err := t.claimFree(claims); err != nil {
		return err
	}
	if top, err := t.readRaw(t.top, nil); err != nil {
		return err
	} else if err := claims.claim(t.top, len(top)/int(t.pageSize)); err != nil {
		return err
	}
	every := func(key, value []byte) bool { return true }
	w := &treeWalk{indexTree: t, visit: every, claimed: claims.claim}
	if err := w.run(); err != nil {
		return err
	}
	for id, known := range claims {
		if !known {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// claimFree claims the pages of the freelist, and those that it lists.
func (t *indexTree) claimFree(claims pageClaims) error {
	list, err := t.readRaw(t.freelist, nil)
	if err != nil {
		return err
	}
	count, ids := uint64(native.Uint16(list[10:])), list[pageHeadSize:]
	if count == 0xFFFF {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if native.Uint16(list[8:]) != freelistFlag || count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d has no list of free pages", t.freelist)
	}
	err = claims.claim(t.freelist, len(list)/int(t.pageSize))
	for i := uint64(0); i < count && err == nil; i++ {
		err = claims.claim(native.Uint64(ids[8*i:]), 1)
	}
	return err
}
