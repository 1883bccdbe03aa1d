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
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// mergeOften lets files be merged after a few puts.
func mergeOften(t testing.TB) {
	before := jwtstore.SetMinMerge(20_000)
	t.Cleanup(func() { jwtstore.SetMinMerge(before) })
}

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
	f, err := jwtstore.OpenIndexFile(path)
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
	putIndex(t, f, map[string][]byte{"c": []byte("5"), "d": []byte("4")}, "second")
	want["c"], want["d"] = []byte("5"), []byte("4")
	for range 2 {
		for key, value := range want {
			if got, err := f.Get(key); got == nil || !bytes.Equal(got, value) || err != nil {
				t.Errorf("%q has %q, %v", key, got, err)
			}
		}
		if got, err := f.Get("bb"); got != nil || err != nil {
			t.Errorf("what was never put is %q, %v", got, err)
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

// TestIndexFileAtRandom compares the file with a map, through many small puts and some large ones,
// so that pages are split, merged and used again. It is opened again now and then, which checks all
// of it.
func TestIndexFileAtRandom(t *testing.T) {
	mergeOften(t)
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
			if random.IntN(4) < 1+put/15%2*2 { // most have nothing any more, or few
				values[indexKey(n)] = []byte{}
			}
		}
		putIndex(t, f, values, fmt.Sprint(put))
		maps.Copy(want, values)
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

// TestIndexFileScanDuringPuts scans and gets while values are put. Each value is from some put,
// none is from before the scan, and none is missing.
func TestIndexFileScanDuringPuts(t *testing.T) {
	mergeOften(t)
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
			if err != nil || key != n || put < oldest ||
				got[indexKey(n)] != string(indexValue(n, put)) {
				t.Fatalf("key %d has %q after put %d", n, got[indexKey(n)], oldest)
			}
		}
	}
}

// putUntilKilled puts the same number into 50 keys and the note again and again, empties 50 other
// keys, and prints the number.
func putUntilKilled(dir string) error {
	jwtstore.SetMinMerge(20_000)
	f, err := jwtstore.OpenIndexFile(filepath.Join(dir, "index"))
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
			values[indexKey(n*40+(put+20)%40)] = []byte{}
		}
		if err = f.Put(values, fmt.Append(nil, put)); err == nil {
			fmt.Println(put)
		}
	}
	return err
}

// TestIndexFileAfterKills kills a process in the middle of its puts. Each put is there whole or not
// at all, and those are there that it has said.
func TestIndexFileAfterKills(t *testing.T) {
	mergeOften(t)
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
			want[indexKey(n*40+(p+20)%40)] = ""
		}
	}
	if got := scanIndex(t, f, 100); !maps.Equal(got, want) {
		t.Fatalf("after put %d there are %d values, want %d", put, len(got), len(want))
	}
}

func TestIndexFileOfAnotherFormat(t *testing.T) {
	for _, format := range []uint32{0, 3} {
		path := filepath.Join(t.TempDir(), "index")
		_ = openIndexFile(t, path).Close()
		if err := jwtstore.StoreFormat(path, format); err != nil {
			t.Fatal(err)
		}
		_, err := jwtstore.OpenIndexFile(path)
		want := fmt.Sprintf("its format is %d, and this program knows up to 2", format)
		if !errors.Is(err, jwtstore.ErrIndexDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v", err)
		}
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
		if _, err := jwtstore.OpenIndexFile(path); !errors.Is(err, jwtstore.ErrIndexDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); string(now) != content || err != nil {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	if _, err := jwtstore.OpenIndexFile(dir); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("a directory: %v", err)
	}
	_, err := jwtstore.OpenIndexFile(filepath.Join(dir, "none", "index"))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("without a directory: %v", err)
	}
}

// TestIndexFileInUse is the second line of defence: the store's directory is locked.
func TestIndexFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	if _, err := jwtstore.OpenIndexFile(path); err == nil ||
		errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("opened twice: %v", err)
	}
	putIndex(t, f, map[string][]byte{"a": []byte("1")}, "")
}

// indexStates are what was in a file after each put, by note.
type indexStates map[string]map[string]string

// indexOf2000 returns a file of 2,000 values with a log of several puts, the last of which are
// small. It returns where its log begins, and all its states.
func indexOf2000(t *testing.T) (content []byte, logStart int, states indexStates) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 2000, 1)
	f.Break() // the next put begins with a merge
	states = indexStates{"note 1": scanIndex(t, f, 2000)}
	for put := 2; put < 12; put++ {
		values := map[string][]byte{}
		for n := put; n < 2000; n += 20 * put {
			values[indexKey(n)] = indexValue(n, put)
			values[indexKey(n+1)] = []byte{}
		}
		putIndex(t, f, values, fmt.Sprint("note ", put))
		states[fmt.Sprint("note ", put)] = scanIndex(t, f, 2000)
	}
	logStart = int(f.LogStart())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || logStart < 300_000 || logStart > len(content)-20_000 {
		t.Fatal(logStart, len(content), err)
	}
	return content, logStart, states
}

// damagedOr fails if err is neither nil nor errIndexDamaged, and reports whether it is damage.
func damagedOr(t *testing.T, what string, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("%s: %v", what, err)
	}
	return err != nil
}

// useDamaged uses a file that may be damaged. What it returns is one of the states, or
// errIndexDamaged. It returns the note; "" is damage.
func useDamaged(t *testing.T, what string, f *jwtstore.IndexFile, states indexStates) string {
	t.Helper()
	defer f.Close()
	note, err := f.Note()
	if damagedOr(t, what, err) {
		return ""
	}
	want := states[string(note)]
	if want == nil {
		t.Errorf("%s: the note is %q", what, note)
	}
	for n := 0; n < 2000; n += 37 {
		v, err := f.Get(indexKey(n))
		if damagedOr(t, what, err) {
			break
		}
		if string(v) != want[indexKey(n)] {
			t.Errorf("%s: key %d has %.20q", what, n, v)
		}
	}
	keys, values, err := f.Scan("", 3000)
	if damagedOr(t, what, err) {
		for range 2 { // from now on, everything says so
			_, getErr := f.Get("any")
			_, noteErr := f.Note()
			for _, err := range []error{getErr, noteErr, f.Put(nil, nil)} {
				if !errors.Is(err, jwtstore.ErrIndexDamaged) {
					t.Errorf("%s: later: %v", what, err)
				}
			}
		}
		return ""
	}
	got := map[string]string{}
	for i, key := range keys {
		got[key] = string(values[i])
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: the scan has %d values, want %d", what, len(got), len(want))
	}
	return string(note)
}

// damages returns ways to damage a file: name and what they do.
func damages(size, flips int) map[string]func([]byte) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	all := map[string]func([]byte) []byte{}
	flip := func(at int, with byte) {
		all[fmt.Sprintf("byte %d ^ %#x", at, with)] = func(b []byte) []byte {
			b[at] ^= with
			return b
		}
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
		all[fmt.Sprint("zeros at ", page)] = func(b []byte) []byte {
			clear(b[page:min(page+4096, len(b))])
			return b
		}
		other := random.IntN(size) &^ 4095
		all[fmt.Sprintf("page at %d is that at %d", page, other)] = func(b []byte) []byte {
			copy(b[page:], b[other:min(other+4096, len(b))])
			return b
		}
	}
	return all
}

// TestIndexFileDamaged damages a file before it is opened, in ways that a disk may. What hits the
// table is noticed. What hits the log is noticed, or what is from there on is forgotten, as after a
// crash.
func TestIndexFileDamaged(t *testing.T) {
	content, logStart, states := indexOf2000(t)
	path := filepath.Join(t.TempDir(), "index")
	noticed, older := 0, 0
	for what, damage := range damages(len(content), 60) {
		damaged := damage(bytes.Clone(content))
		if bytes.Equal(damaged, content) {
			continue
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := jwtstore.OpenIndexFile(path)
		if damagedOr(t, what, err) {
			noticed++
			continue
		}
		switch note := useDamaged(t, what, f, states); {
		case note == "":
			noticed++
		case note == "note 11" || !bytes.HasPrefix(damaged, content[:logStart]):
			t.Errorf("%s: not noticed", what)
		default:
			older++
		}
	}
	t.Logf("%d noticed, %d have an earlier state", noticed, older)
	if noticed == 0 || older == 0 {
		t.Errorf("%d noticed, %d have an earlier state", noticed, older)
	}
}

// TestIndexFileLogDamaged has a damaged record in the log, and a whole one after it.
func TestIndexFileLogDamaged(t *testing.T) {
	content, logStart, _ := indexOf2000(t)
	path := filepath.Join(t.TempDir(), "index")
	last := bytes.LastIndex(content, []byte("\xf5put"))
	for at := logStart; at < last; at += 397 {
		damaged := bytes.Clone(content)
		damaged[at] ^= 4
		write(t, path, string(damaged))
		_, err := jwtstore.OpenIndexFile(path)
		if !errors.Is(err, jwtstore.ErrIndexDamaged) || !strings.Contains(err.Error(), "log") {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

// TestIndexFileMerges puts many values several times. They are in the log first, and in the table
// when the log is large.
func TestIndexFileMerges(t *testing.T) {
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	start, merged := f.LogStart(), false
	for put := range 8 {
		fillIndex(t, f, 1500, put)
		for n := range 1500 {
			if v, err := f.Get(indexKey(n)); !bytes.Equal(v, indexValue(n, put)) || err != nil {
				t.Fatalf("put %d: key %d has %.20q, %v", put, n, v, err)
			}
		}
		if got := scanIndex(t, f, 1000); got[indexKey(7)] != string(indexValue(7, put)) {
			t.Fatalf("put %d: the scan has %.20q", put, got[indexKey(7)])
		}
		if put == 0 && f.LogStart() != start {
			t.Error("merged at once")
		}
		merged = f.LogStart() != start
	}
	if !merged {
		t.Error("not merged")
	}
}

// TestIndexFileTidies has a log that is long, and not yet long enough for its large table.
func TestIndexFileTidies(t *testing.T) {
	mergeOften(t)
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 3000, 1)
	f.Tidy()
	for n := 0; f.LogSize() < 25_000; n += 10 {
		values := map[string][]byte{}
		for i := n; i < n+10; i++ {
			values[indexKey(i)] = indexValue(i, 2)
		}
		putIndex(t, f, values, "note")
	}
	want := scanIndex(t, f, 1000)
	if f.Tidy(); f.LogSize() > 1000 {
		t.Errorf("the log has %d bytes", f.LogSize())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openIndexFile(t, path)
	if got := scanIndex(t, f, 1000); !maps.Equal(got, want) {
		t.Error("it has other values")
	}
	start := f.LogStart()
	if f.Tidy(); f.LogStart() != start {
		t.Error("merged without a log")
	}
}

// TestIndexFileDamagedWhileOpen damages the table of a file that is in use.
func TestIndexFileDamagedWhileOpen(t *testing.T) {
	content, logStart, states := indexOf2000(t)
	path := filepath.Join(t.TempDir(), "index")
	noticed := 0
	for what, damage := range damages(logStart, 15) {
		write(t, path, string(content))
		f := openIndexFile(t, path)
		damaged := append(damage(bytes.Clone(content[:logStart])), content[logStart:]...)
		if err := os.WriteFile(path, damaged, 0o600); err != nil { // in place
			t.Fatal(err)
		}
		if useDamaged(t, what, f, states) == "" {
			noticed++
		}
	}
	t.Logf("%d noticed", noticed) // the head and the list are in memory
	if noticed == 0 {
		t.Error("nothing was noticed")
	}
}

// TestIndexFileMergesNoDamage has a damaged block that a merge reads. The old file stays.
func TestIndexFileMergesNoDamage(t *testing.T) {
	content, _, _ := indexOf2000(t)
	path := filepath.Join(t.TempDir(), "index")
	content[100_000]++
	write(t, path, string(content))
	f := openIndexFile(t, path)
	f.Break()
	if err := f.Put(nil, nil); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("Put: %v", err)
	}
	if _, err := f.Note(); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("Note: %v", err)
	}
	if now, err := os.ReadFile(path); !bytes.Equal(now, content) || err != nil {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestIndexFileTornPut has a last put of which a part is in the file. The puts before it are there,
// and the next one is whole.
func TestIndexFileTornPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	putIndex(t, f, map[string][]byte{"a": []byte("1")}, "one")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	putIndex(t, f, map[string][]byte{"a": []byte("2"), "b": []byte("2")}, "two")
	_ = f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := [][]byte{append(bytes.Clone(before), make([]byte, 5000)...)}
	for end := len(before); end < len(whole); end++ {
		zeroed := bytes.Clone(whole)
		clear(zeroed[end:])
		torn = append(torn, whole[:end], zeroed)
	}
	for _, content := range torn {
		write(t, path, string(content))
		for _, want := range []string{"one", "three"} {
			f := openIndexFile(t, path)
			note, _ := f.Note()
			if string(note) != want || len(scanIndex(t, f, 10)) != 1 {
				t.Fatalf("cut after %d bytes: the note is %q, want %q", len(content), note, want)
			}
			putIndex(t, f, map[string][]byte{"a": []byte("3")}, "three")
			_ = f.Close()
		}
	}
}

// TestIndexFileOtherRecords has the log of another file, and then a record that was at another
// place.
func TestIndexFileOtherRecords(t *testing.T) {
	var contents [2][]byte
	starts := [2]int64{}
	path := filepath.Join(t.TempDir(), "index")
	for i := range contents {
		_ = os.Remove(path)
		f := openIndexFile(t, path)
		starts[i] = f.LogStart()
		putIndex(t, f, map[string][]byte{"a": []byte("1")}, "")
		putIndex(t, f, map[string][]byte{"a": []byte("2")}, "")
		_ = f.Close()
		contents[i], _ = os.ReadFile(path)
	}
	mixed := append(bytes.Clone(contents[0][:starts[0]]), contents[1][starts[1]:]...)
	write(t, path, string(mixed))
	if _, err := jwtstore.OpenIndexFile(path); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("the log of another file: %v", err)
	}
	last := bytes.LastIndex(contents[0], []byte("\xf5put"))
	older := contents[0][bytes.LastIndex(contents[0][:last], []byte("\xf5put")):last]
	write(t, path, string(contents[0])+string(older))
	f := openIndexFile(t, path)
	if v, err := f.Get("a"); string(v) != "2" || err != nil {
		t.Errorf("after a record at another place it has %q, %v", v, err)
	}
}

// TestIndexFileBeginsAnew has a file of which it is not known what is on the disk.
func TestIndexFileBeginsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	putIndex(t, f, map[string][]byte{"a": []byte("1"), "b": []byte("2")}, "one")
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	f.Break()
	putIndex(t, f, map[string][]byte{"a": []byte("3")}, "two")
	before, _ := old.Stat()
	now, err := os.Stat(path)
	if err != nil || os.SameFile(before, now) {
		t.Errorf("the file is the old one, %v", err)
	}
	want := map[string]string{"a": "3", "b": "2"}
	if got := scanIndex(t, f, 10); !maps.Equal(got, want) {
		t.Errorf("it has %q", got)
	}
	_ = f.Close()
	f = openIndexFile(t, path)
	if got := scanIndex(t, f, 10); !maps.Equal(got, want) {
		t.Errorf("then it has %q", got)
	}
}

// TestIndexFileRemovesLitter has what a merge left that a crash ended.
func TestIndexFileRemovesLitter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	write(t, path+".next", "litter")
	f := openIndexFile(t, path)
	putIndex(t, f, map[string][]byte{"a": []byte("1")}, "one")
	_ = f.Close()
	write(t, path+".next", "litter")
	f = openIndexFile(t, path)
	if got := scanIndex(t, f, 10); len(got) != 1 {
		t.Errorf("it has %q", got)
	}
	if _, err := os.Lstat(path + ".next"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the litter is there: %v", err)
	}
}

// TestIndexFileReadsDuringMerge gets and scans while a merge is on its way. They see the old file
// and do not wait.
func TestIndexFileReadsDuringMerge(t *testing.T) {
	const keys = 30_000
	path := filepath.Join(t.TempDir(), "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, keys, 1)
	f.Break()
	put := make(chan error, 1)
	go func() { put <- f.Put(map[string][]byte{"a": []byte("1")}, nil) }()
	reads := 0 // that began and ended during the merge
	for n := 0; ; n++ {
		_, before := os.Lstat(path + ".next")
		v, err := f.Get(indexKey(n % keys))
		_, _, scanErr := f.Scan(indexKey(n%keys), 3)
		if err := errors.Join(err, scanErr); len(v) == 0 || err != nil {
			t.Fatal(v, err)
		}
		_, after := os.Lstat(path + ".next")
		if before == nil && after == nil {
			reads++
		}
		select {
		case err := <-put:
			if err != nil || reads < 3 {
				t.Errorf("%d reads, %v", reads, err)
			}
			return
		default:
		}
	}
}

// TestIndexFileSlowReader puts and gets while another read is on its way. They do not wait for it.
func TestIndexFileSlowReader(t *testing.T) {
	f := openIndexFile(t, filepath.Join(t.TempDir(), "index"))
	err := f.Hold(func() {
		putIndex(t, f, map[string][]byte{"a": []byte("1")}, "")
		if v, err := f.Get("a"); string(v) != "1" || err != nil {
			t.Errorf("it has %q, %v", v, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestIndexFileRenamedClosed is for systems that rename no open files.
func TestIndexFileRenamedClosed(t *testing.T) {
	jwtstore.SetRenamesOpenFiles(false)
	defer jwtstore.SetRenamesOpenFiles(true)
	t.Run("KeepsValues", TestIndexFileKeepsValues)
	t.Run("AtRandom", TestIndexFileAtRandom)
	t.Run("ScanDuringPuts", TestIndexFileScanDuringPuts)
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
				if err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
				after, n = got[len(got)-1], n+len(got)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			_ = f.Close()
			f = openIndexFile(b, path)
		}
	})
	_ = f.Close()
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			_ = os.Remove(path)
			f := openIndexFile(b, path)
			fillIndex(b, f, keys, 0)
			_ = f.Close()
		}
	})
}
