package jwtstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// largeEnough is how many accounts are more than an Index keeps in memory of those that expire
// next.
const largeEnough = 2500

// openIndex opens the index in a directory. Its file has blocks, as that of many accounts has.
func openIndex(t *testing.T, dir string) *jwtstore.Index {
	t.Helper()
	mergeOften(t)
	return openIndexIn(t, dir)
}

func save(t *testing.T, x *jwtstore.Index) {
	t.Helper()
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
}

// digestOf adds up what has not expired.
func digestOf(all map[string]jwtstore.Version, now int64) [sha256.Size]byte {
	var left []jwtstore.Version
	for _, v := range all {
		if v.Servable && !v.Expired(time.Unix(now, 0)) {
			left = append(left, v)
		}
	}
	return xor(left...)
}

// TestTheDigestAtRandom compares it with a sum: while accounts expire, one or many at a time, and
// come and go, the clock is set back and the index is saved, opened again and torn in a crash.
func TestTheDigestAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir, all := t.TempDir(), map[string]jwtstore.Version{}
	x := openIndex(t, dir)
	seq, now := uint64(0), int64(1000)
	change := func() {
		key := fmt.Sprint("account ", random.IntN(largeEnough))
		seq++
		expires := []int64{0, now, now + 1 + random.Int64N(3000), 2000}[random.IntN(4)]
		v := indexed(seq, fmt.Sprint("version ", seq), expires)
		v.Servable = random.IntN(9) > 0
		all[key] = v
		swap(t, x, key, v)
	}
	for range largeEnough * 2 {
		change()
	}
	for step := range 120 {
		for range random.IntN(20) {
			change()
		}
		switch random.IntN(20) {
		case 0:
			now -= random.Int64N(1000)
		case 1:
			now += random.Int64N(2000)
		case 2:
			save(t, x)
		case 3:
			save(t, x)
			x.Close()
			x = openIndex(t, dir)
		default:
			now += random.Int64N(20)
		}
		if got, want := x.Digest(time.Unix(now, 0)), digestOf(all, now); got != want {
			t.Fatalf("step %d: at %d the digest is %x, want %x", step, now, got, want)
		}
	}
}

// TestACrashBetweenTwoPutsOfASave leaves accounts counted in the file that have expired. The digest
// at the next start is right.
func TestACrashBetweenTwoPutsOfASave(t *testing.T) {
	dir, all := t.TempDir(), map[string]jwtstore.Version{}
	x, err := jwtstore.OpenIndex(dir, t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(largeEnough) {
		key := indexKey(int(n))
		all[key] = indexed(0, key, 1000)
		swap(t, x, key, all[key])
	}
	swap(t, x, "later", indexed(0, "later", 5000))
	all["later"] = x.Get("later")
	save(t, x)
	if got := x.Digest(time.Unix(1500, 0)); got != digestOf(all, 1500) {
		t.Errorf("the digest is %x", got)
	}
	save(t, x)
	x.Close()
	path := filepath.Join(dir, "index")
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-1) // the last put is torn
	}
	if err != nil {
		t.Fatal(err)
	}
	x = openIndex(t, dir)
	if got := x.Digest(time.Unix(1500, 0)); got != digestOf(all, 1500) {
		t.Errorf("after a crash the digest is %x", got)
	}
}

// damageBlocks damages the blocks of the index file in a directory, but not the one with a key.
func damageBlocks(t *testing.T, dir, key string) {
	t.Helper()
	path := filepath.Join(dir, "index")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const headSize, blockSize, listAt = 52, 4 << 10, 32
	end := int(binary.LittleEndian.Uint64(content[listAt:]))
	spared := bytes.Index(content, []byte(key))
	for at := headSize; at < end; at += blockSize / 8 {
		if key == "" || at < spared-blockSize || at > spared+blockSize {
			content[at]++
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err = file.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyWhatExpiresIsRead, and nothing is read to be saved: everything else in the file is
// damaged, and that is not noticed.
func TestOnlyWhatExpiresIsRead(t *testing.T) {
	dir, all := t.TempDir(), map[string]jwtstore.Version{}
	mergeOften(t)
	x, err := jwtstore.OpenIndex(dir, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for n := range 1000 {
		key := indexKey(n)
		all[key] = indexed(0, key, 1000+int64(n))
		swap(t, x, key, all[key])
	}
	save(t, x)
	damageBlocks(t, dir, indexKey(0))
	if got := x.Digest(time.Unix(1000, 0)); got != digestOf(all, 1000) {
		t.Errorf("the digest is %x", got)
	}
	damageBlocks(t, dir, "")
	if n, err := x.Batch(); n != 1 || err != nil || x.Lost() > 0 {
		t.Errorf("%d entries are saved: %v", n, err)
	}
	if _ = x.Get(indexKey(1)); x.Lost() == 0 {
		t.Error("no block is damaged")
	}
}
