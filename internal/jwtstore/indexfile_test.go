package jwtstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// indexKey returns the nth of many keys that look like those of accounts.
func indexKey(n int) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return "A" + base32.StdEncoding.EncodeToString(append(sum[:], sum[:2]...))[:55]
}

// indexValue returns what the nth key has in the put with this number: of about 150 bytes.
func indexValue(n, put int) []byte {
	head := fmt.Sprintf("key %d put %d ", n, put)
	return append([]byte(head), bytes.Repeat([]byte{byte(n)}, 130+n%40)...)
}

func openIndexFile(t testing.TB, path string) *jwtstore.IndexFile {
	t.Helper()
	f, err := jwtstore.OpenIndexFile(path, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func putIndex(t testing.TB, f *jwtstore.IndexFile, values map[string][]byte, note string) {
	t.Helper()
	if err := f.Put(values, []byte(note)); err != nil {
		t.Fatal(err)
	}
}

// fillIndex puts n values, up to 1,000 at a time.
func fillIndex(t testing.TB, f *jwtstore.IndexFile, n, put int) {
	t.Helper()
	values := map[string][]byte{}
	for i := range n {
		values[indexKey(i)] = indexValue(i, put)
		if len(values) == 1000 || i == n-1 {
			putIndex(t, f, values, fmt.Sprint("note ", put))
			clear(values)
		}
	}
}

// scanIndex returns everything, taken in steps, and fails if the keys are not in order.
func scanIndex(t testing.TB, f *jwtstore.IndexFile, step int) map[string]string {
	t.Helper()
	all := map[string]string{}
	for after := ""; ; {
		keys, values, err := f.Scan(after, step)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if key <= after {
				t.Fatalf("%q follows %q", key, after)
			}
			after, all[key] = key, string(values[i])
		}
		if len(keys) < step {
			return all
		}
	}
}

// asStrings makes values comparable.
func asStrings(values map[string][]byte) map[string]string {
	s := map[string]string{}
	for key, value := range values {
		s[key] = string(value)
	}
	return s
}

func TestIndexFileKeepsValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	if note, err := f.Note(); note != nil || err != nil {
		t.Errorf("the note of a new file is %q, %v", note, err)
	}
	if keys, _, err := f.Scan("", 10); len(keys) > 0 || err != nil {
		t.Errorf("a new file has %q, %v", keys, err)
	}
	want := map[string][]byte{"a": []byte("1"), "b": {}, "c": []byte("3")}
	putIndex(t, f, want, "first")
	putIndex(t, f, map[string][]byte{"c": nil, "none": nil, "d": []byte("4")}, "second")
	delete(want, "c")
	want["d"] = []byte("4")
	for range 2 {
		for key, value := range want {
			if got, err := f.Get(key); got == nil || !bytes.Equal(got, value) || err != nil {
				t.Errorf("%q has %q, %v", key, got, err)
			}
		}
		if got, err := f.Get("c"); got != nil || err != nil {
			t.Errorf("what was deleted is %q, %v", got, err)
		}
		if got := scanIndex(t, f, 2); !maps.Equal(got, asStrings(want)) {
			t.Errorf("all are %q", got)
		}
		if note, err := f.Note(); string(note) != "second" || err != nil {
			t.Errorf("the note is %q, %v", note, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = openIndexFile(t, path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
}

func TestIndexFileAfterClose(t *testing.T) {
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	_, getErr := f.Get("a")
	_, _, scanErr := f.Scan("", 1)
	for _, err := range []error{getErr, scanErr, f.Put(nil, nil)} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("the error is %v", err)
		}
	}
}

// TestIndexFileAtRandom compares the file with a map, through many small puts and some large ones, so
// that pages are split, merged and used again. It is opened again now and then, which checks all of it.
func TestIndexFileAtRandom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	random := rand.New(rand.NewPCG(1, 2))
	f := openIndexFile(t, path)
	want := map[string][]byte{}
	for put := range 60 {
		values := map[string][]byte{}
		for range 1 + random.IntN(1+random.IntN(300)) {
			n := random.IntN(3000)
			values[indexKey(n)] = indexValue(n, put)
			if random.IntN(50) == 0 { // fills more than a page
				values[indexKey(n)] = bytes.Repeat(indexValue(n, put), 40)
			}
			if random.IntN(4) < 1+put/15%2*2 { // most are deleted, or few
				values[indexKey(n)] = nil
			}
		}
		putIndex(t, f, values, fmt.Sprint(put))
		maps.Copy(want, values)
		maps.DeleteFunc(want, func(_ string, v []byte) bool { return v == nil })
		if got := scanIndex(t, f, 100); !maps.Equal(got, asStrings(want)) {
			t.Fatalf("put %d: %d values, want %d", put, len(got), len(want))
		}
		if put%10 == 0 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = openIndexFile(t, path)
		}
	}
}

// TestIndexFileScanDuringPuts scans and gets while values are put. Each value is from some put, none is
// from before the scan, and none is missing.
func TestIndexFileScanDuringPuts(t *testing.T) {
	const keys = 3000
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	fillIndex(t, f, keys, 0)
	done := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(done)
	all.Go(func() {
		for put := 1; ; put++ {
			select {
			case <-done:
				return
			default:
			}
			values := map[string][]byte{}
			for n := put % 7; n < keys; n += 7 {
				values[indexKey(n)] = indexValue(n, put)
			}
			if err := f.Put(values, []byte(fmt.Sprint("note ", put))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for putOf := func() (n int) {
		note, err := f.Note()
		_, _ = fmt.Sscanf(string(note), "note %d", &n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}; putOf() < 15; {
		oldest := putOf() - 7
		got := scanIndex(t, f, 50)
		if len(got) != keys {
			t.Fatalf("%d keys", len(got))
		}
		for n := range keys {
			var key, put int
			_, err := fmt.Sscanf(got[indexKey(n)], "key %d put %d", &key, &put)
			if err != nil || key != n || put < oldest || got[indexKey(n)] != string(indexValue(n, put)) {
				t.Fatalf("key %d has %q after put %d", n, got[indexKey(n)], oldest)
			}
		}
	}
}

// putUntilKilled puts the same number into 50 keys and the note again and again, and prints it.
func putUntilKilled(dir string) error {
	f, err := jwtstore.OpenIndexFile(filepath.Join(dir, "index"), 7)
	if err != nil {
		return err
	}
	note, err := f.Note()
	var put int
	_, _ = fmt.Sscanf(string(note), "%d", &put)
	for err == nil {
		put++
		values := map[string][]byte{}
		for n := range 50 {
			values[indexKey(n*40+put%40)] = indexValue(n, put)
			values[indexKey(n*40+(put+20)%40)] = nil
		}
		if err = f.Put(values, fmt.Append(nil, put)); err == nil {
			fmt.Println(put)
		}
	}
	return err
}

// TestIndexFileAfterKills kills a process in the middle of its puts. Each put is there whole or not at
// all, and those are there that it has said.
func TestIndexFileAfterKills(t *testing.T) {
	dir := t.TempDir()
	said := 0
	for range 8 {
		p, out := child(t, "index", dir)
		var reading sync.WaitGroup
		reading.Go(func() {
			lines, _ := io.ReadAll(out)
			for line := range strings.Lines(string(lines)) {
				if strings.HasSuffix(line, "\n") {
					_, _ = fmt.Sscan(line, &said)
				}
			}
		})
		time.Sleep(20*time.Millisecond + rand.N(150*time.Millisecond)) // any moment will do
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
		_ = p.Wait()
		f := openIndexFile(t, filepath.Join(dir, "index"))
		checkPutWhole(t, f, said)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if said == 0 {
		t.Error("nothing was put")
	}
}

// checkPutWhole checks that the last put of putUntilKilled is not before said, and whole.
func checkPutWhole(t *testing.T, f *jwtstore.IndexFile, said int) {
	t.Helper()
	note, err := f.Note()
	var put int
	_, _ = fmt.Sscanf(string(note), "%d", &put)
	if err != nil || put < said {
		t.Fatalf("the note is %q, %v; %d was said", note, err, said)
	}
	want := map[string]string{}
	for p := max(1, put-19); p <= put; p++ {
		for n := range 50 {
			want[indexKey(n*40+p%40)] = string(indexValue(n, p))
		}
	}
	if got := scanIndex(t, f, 100); !maps.Equal(got, want) {
		t.Fatalf("after put %d there are %d values, want %d", put, len(got), len(want))
	}
}

func TestIndexFileOfAnotherDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	_ = openIndexFile(t, path).Close()
	_, err := jwtstore.OpenIndexFile(path, 8)
	if !errors.Is(err, jwtstore.ErrIndexDamaged) || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("the error is %v", err)
	}
	f, err := jwtstore.OpenIndexFile(path, 0)
	if err != nil {
		t.Fatalf("of a directory that is not known: %v", err)
	}
	// Format 2, of directory 7, rightly sealed.
	if err := f.StoreIdentity(2, 7); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_, err = jwtstore.OpenIndexFile(path, 7)
	if !errors.Is(err, jwtstore.ErrIndexDamaged) || !strings.Contains(err.Error(), "format") {
		t.Errorf("the error is %v", err)
	}
}

func TestIndexFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "short": "x", "text": strings.Repeat("text", 10_000),
		"zero": string(make([]byte, 1<<16)),
	} {
		path := filepath.Join(dir, name)
		write(t, path, content)
		if _, err := jwtstore.OpenIndexFile(path, 7); !errors.Is(err, jwtstore.ErrIndexDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); string(now) != content || err != nil {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	if _, err := jwtstore.OpenIndexFile(dir, 7); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("a directory: %v", err)
	}
	_, err := jwtstore.OpenIndexFile(filepath.Join(dir, "none", "index"), 7)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("without a directory: %v", err)
	}
}

// TestIndexFileInUse is the second line of defence: the store's directory is locked.
func TestIndexFileInUse(t *testing.T) {
	t.Parallel() // it waits
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	if _, err := jwtstore.OpenIndexFile(path, 7); err == nil || errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("opened twice: %v", err)
	}
	putIndex(t, f, map[string][]byte{"a": []byte("1")}, "")
}

func TestIndexFileNoticesExchangedValues(t *testing.T) {
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	putIndex(t, f, map[string][]byte{"a": []byte("1"), "b": []byte("2")}, "")
	if err := f.CopySealed("b", "a"); err != nil {
		t.Fatal(err)
	}
	_, err := f.Get("a")
	if !errors.Is(err, jwtstore.ErrIndexDamaged) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("the error is %v", err)
	}
	if _, err := f.Get("b"); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("b after that: %v", err)
	}
}

// indexOf2000 returns a file of 2,000 values that has free pages too, and what is in it.
func indexOf2000(t *testing.T) (content []byte, want map[string]string) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 2000, 1)
	fillIndex(t, f, 2000, 2)
	want = scanIndex(t, f, 2000)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || len(want) != 2000 {
		t.Fatal(len(want), err)
	}
	return content, want
}

// damagedOr fails if err is neither nil nor errIndexDamaged, and reports whether it is damage.
func damagedOr(t *testing.T, what string, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("%s: %v", what, err)
	}
	return err != nil
}

// useDamaged uses a file for which something else is damaged than it was opened with. What it returns
// is right or errIndexDamaged. It reports whether damage was noticed.
func useDamaged(t *testing.T, what string, f *jwtstore.IndexFile,
	want map[string]string, put bool) bool {
	t.Helper()
	for n := 0; n < 2000; n += 37 {
		v, err := f.Get(indexKey(n))
		if !damagedOr(t, what, err) && string(v) != want[indexKey(n)] {
			t.Errorf("%s: key %d has %q", what, n, v)
		}
	}
	note, err := f.Note()
	if !damagedOr(t, what, err) && string(note) != "note 2" {
		t.Errorf("%s: the note is %q", what, note)
	}
	keys, values, err := f.Scan("", 3000)
	if !damagedOr(t, what, err) {
		got := map[string]string{}
		for i, key := range keys {
			got[key] = string(values[i])
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the scan has %d values", what, len(got))
		}
	}
	if put {
		putDamaged(t, what, f)
	}
	_, err = f.Get("any")
	damaged := damagedOr(t, what, err)
	if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%s: Close: %v", what, err)
	}
	return damaged
}

// putDamaged puts some of the values. They are there then, and all others are.
func putDamaged(t *testing.T, what string, f *jwtstore.IndexFile) {
	t.Helper()
	changed := map[string][]byte{}
	for n := 0; n < 2000; n += 20 {
		changed[indexKey(n)] = indexValue(n, 3)
	}
	if damagedOr(t, what, f.Put(changed, []byte("note 3"))) {
		return
	}
	v, err := f.Get(indexKey(20))
	if !damagedOr(t, what, err) && !bytes.Equal(v, changed[indexKey(20)]) {
		t.Errorf("%s: a value that was put is %q", what, v)
	}
	if n := len(scanOrNothing(f)); n > 0 && n != 2000 {
		t.Errorf("%s: after a put there are %d", what, n)
	}
}

func scanOrNothing(f *jwtstore.IndexFile) []string {
	keys, _, _ := f.Scan("", 3000)
	return keys
}

// damages returns ways to damage a file: name and what they do.
func damages(size int, flips int) map[string]func([]byte) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	all := map[string]func([]byte) []byte{}
	flip := func(at int, with byte) {
		all[fmt.Sprintf("byte %d ^ %#x", at, with)] = func(b []byte) []byte { b[at] ^= with; return b }
	}
	for range flips {
		flip(random.IntN(size), 1<<random.IntN(8))
		flip(random.IntN(size), byte(1+random.IntN(255)))
		flip(random.IntN(size)&^4095|random.IntN(16), 1<<random.IntN(8)) // the head of a page
	}
	for range flips / 4 {
		n := random.IntN(size)
		all[fmt.Sprint("cut to ", n)] = func(b []byte) []byte { return b[:n] }
		page := n &^ 4095
		all[fmt.Sprint("zeros at ", page)] = func(b []byte) []byte { clear(b[page : page+4096]); return b }
		other := random.IntN(size) &^ 4095
		all[fmt.Sprintf("page at %d is that at %d", page, other)] = func(b []byte) []byte {
			copy(b[page:], b[other:other+4096])
			return b
		}
	}
	return all
}

// TestIndexFileDamaged damages a file before it is opened, in ways that a disk may.
func TestIndexFileDamaged(t *testing.T) {
	content, want := indexOf2000(t)
	path := filepath.Join(t.TempDir(), "index")
	noticed, harmless := 0, 0
	for what, damage := range damages(len(content), 25) {
		damaged := damage(bytes.Clone(content))
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := jwtstore.OpenIndexFile(path, 7)
		if damagedOr(t, what, err) {
			noticed++
			continue
		}
		harmless++
		if useDamaged(t, what, f, want, harmless%10 == 0) {
			t.Errorf("%s: noticed later, not at the start", what)
		}
	}
	t.Logf("%d noticed, %d harmless", noticed, harmless)
	if noticed == 0 || harmless == 0 { // what hits free pages is harmless
		t.Errorf("%d noticed, %d harmless", noticed, harmless)
	}
}

// TestIndexFileDamagedWhileOpen damages a file that is in use.
func TestIndexFileDamagedWhileOpen(t *testing.T) {
	content, want := indexOf2000(t)
	noticed, harmless := 0, 0
	for what, damage := range damages(len(content), 8) {
		path := filepath.Join(t.TempDir(), "index")
		write(t, path, string(content))
		f := openIndexFile(t, path)
		damageOpen(t, path, damage)
		if useDamaged(t, what, f, want, true) {
			noticed++
		} else {
			harmless++
		}
	}
	t.Logf("%d noticed, %d harmless", noticed, harmless)
	if noticed == 0 || harmless == 0 {
		t.Errorf("%d noticed, %d harmless", noticed, harmless)
	}
}

// damageOpen damages a file in place.
func damageOpen(t *testing.T, path string, damage func([]byte) []byte) {
	t.Helper()
	damaged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged = damage(damaged)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt(damaged, 0)
	}
	if err := errors.Join(err, file.Truncate(int64(len(damaged))), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// pageNumber is a number of a page in a file.
func pageNumber(b []byte, at int) *[8]byte { return (*[8]byte)(b[at:]) }

// TestIndexFilePointsElsewhere has pages that are whole, and are not where they should be. It damages a
// file while it is open, and opens it again after that.
func TestIndexFilePointsElsewhere(t *testing.T) {
	for what, damage := range map[string]func(b []byte, p jwtstore.IndexPages){
		// To follow it would overflow the stack, which ends the process.
		"a page is below itself": func(b []byte, p jwtstore.IndexPages) {
			root := *pageNumber(b, p.Bucket)
			for i := range 20 {
				*pageNumber(b, p.Children+16*i) = root
			}
		},
		"pages are exchanged": func(b []byte, p jwtstore.IndexPages) {
			for i := 0; i < 20; i += 2 {
				x, y := pageNumber(b, p.Children+16*i), pageNumber(b, p.Children+16*i+16)
				*x, *y = *y, *x
			}
		},
		"pages are empty": func(b []byte, p jwtstore.IndexPages) {
			for i := range 20 {
				n := binary.NativeEndian.Uint64(b[p.Children+16*i:])
				clear(b[int(n)*p.Size+10:][:2]) // the count
			}
		},
	} {
		path := filepath.Join(t.TempDir(), "index")
		f := openIndexFile(t, path)
		fillIndex(t, f, 400, 1)
		pages := f.Pages()
		damageOpen(t, path, func(b []byte) []byte { damage(b, pages); return b })
		first := slices.Sorted(maps.Keys(allIndexKeys(400)))[5]
		if v, err := f.Get(first); !errors.Is(err, jwtstore.ErrIndexDamaged) {
			t.Errorf("%s: Get: %q, %v", what, v, err)
		}
		_ = f.Close()
		if _, err := jwtstore.OpenIndexFile(path, 7); !errors.Is(err, jwtstore.ErrIndexDamaged) {
			t.Errorf("%s: opened again: %v", what, err)
		}
	}
}

// allIndexKeys are the first n keys.
func allIndexKeys(n int) map[string]bool {
	keys := map[string]bool{}
	for i := range n {
		keys[indexKey(i)] = true
	}
	return keys
}

// TestIndexFilePutReadsFirst has a put meet a page below itself before anything else reads it.
func TestIndexFilePutReadsFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 400, 1)
	pages := f.Pages()
	damageOpen(t, path, func(b []byte) []byte {
		*pageNumber(b, pages.Children+16*9) = *pageNumber(b, pages.Bucket)
		return b
	})
	values := map[string][]byte{}
	for key := range allIndexKeys(400) {
		values[key] = []byte("x")
	}
	if err := f.Put(values, nil); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("Put: %v", err)
	}
}

// TestIndexFileOfAPart has a tree that begins further down. All that is in it is in order.
func TestIndexFileOfAPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 400, 1)
	pages := f.Pages()
	_ = f.Close()
	damageOpen(t, path, func(b []byte) []byte {
		*pageNumber(b, pages.Bucket) = *pageNumber(b, pages.Children)
		return b
	})
	if _, err := jwtstore.OpenIndexFile(path, 7); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("the error is %v", err)
	}
}

// TestIndexFileWhenBboltPanics damages what bbolt alone reads. Its locks are held after a panic.
func TestIndexFileWhenBboltPanics(t *testing.T) {
	for what, damage := range map[string]func([]byte) []byte{
		"no head": func(b []byte) []byte { clear(b[:8192]); return b },
		"cut":     func([]byte) []byte { return nil }, // a memory fault
	} {
		path := filepath.Join(t.TempDir(), "index")
		f := openIndexFile(t, path)
		fillIndex(t, f, 400, 1)
		damageOpen(t, path, damage)
		unchecked := f.PutUnchecked(map[string][]byte{"a": []byte("1")})
		_, getErr := f.Get(indexKey(1))
		for _, err := range []error{unchecked, getErr, f.Put(nil, nil)} {
			if !errors.Is(err, jwtstore.ErrIndexDamaged) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		putIndex(t, openIndexFile(t, path), map[string][]byte{"a": []byte("1")}, "")
	}
}

// TestIndexFilePutWaitsForReaders has a reader that is slow. What it reads is not overwritten, and
// other readers do not wait.
func TestIndexFilePutWaitsForReaders(t *testing.T) {
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	fillIndex(t, f, 500, 0)
	read, release, err := f.HoldTree()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := read()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for put := range 5 {
			values := map[string][]byte{}
			for n := range 500 {
				values[indexKey(n)] = indexValue(n, put+1)
			}
			if err := f.Put(values, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 200 {
		if got, err := read(); err != nil || !maps.Equal(got, want) {
			t.Fatalf("what is read was overwritten: %v", err)
		}
		if _, err := f.Get(indexKey(1)); err != nil {
			t.Fatal(err)
		}
	}
	release()
	<-done
	if v, err := f.Get(indexKey(1)); string(v) != string(indexValue(1, 5)) {
		t.Errorf("at the end it is %q, %v", v, err)
	}
}

// TestIndexFileLastSyncFails has a put in the file of which nothing is known to be on the disk. The next
// one might overwrite what the disk still refers to.
func TestIndexFileLastSyncFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	broken := errors.New("broken disk")
	err := f.FailLastSync(map[string][]byte{"a": []byte("1")}, broken)
	if !errors.Is(err, jwtstore.ErrIndexDamaged) || !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if err := f.Put(nil, nil); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("the next put: %v", err)
	}
}

func BenchmarkIndexFile(b *testing.B) {
	const keys = 200_000
	path := filepath.Join(b.TempDir(), "index")
	f := openIndexFile(b, path)
	fillIndex(b, f, keys, 0)
	random := rand.New(rand.NewPCG(5, 6))
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := f.Get(indexKey(random.IntN(keys))); v == nil || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("put1000", func(b *testing.B) {
		for b.Loop() {
			values := map[string][]byte{}
			for range 1000 {
				n := random.IntN(keys)
				values[indexKey(n)] = indexValue(n, 1)
			}
			putIndex(b, f, values, "note")
		}
	})
	b.Run("scan200000", func(b *testing.B) {
		for b.Loop() {
			for after, n := "", 0; n < keys; {
				got, _, err := f.Scan(after, 1000)
				if err != nil {
					b.Fatal(err)
				}
				n += len(got)
				after = got[len(got)-1]
			}
		}
	})
	b.Run("open200000", func(b *testing.B) {
		for b.Loop() {
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
			f = openIndexFile(b, path)
		}
	})
}
