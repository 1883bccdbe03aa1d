package jwtstore_test

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// pendingKey returns a key that looks like that of an account, another one for each number.
func pendingKey(n int) string {
	random, raw := rand.NewPCG(uint64(n), 0), make([]byte, 40)
	for i := range 5 {
		binary.LittleEndian.PutUint64(raw[8*i:], random.Uint64())
	}
	return base32.StdEncoding.EncodeToString(raw[:35])
}

// heapInUse returns how much of the heap is in use.
func heapInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse)
}

// pendingOutbox returns an outbox with changes that are pending for servers which are away. One more server
// is there, and has acknowledged all but every thousandth.
func pendingOutbox(changes, away int) *jwtstore.Outbox {
	o := jwtstore.NewOutbox()
	o.Register("there", time.Now())
	for i := range away {
		o.Register(fmt.Sprint("away ", i), time.Now())
	}
	for i := range changes {
		o.Commit(uint64(i)+1, pendingKey(i))
		if i%1000 > 0 {
			o.Acknowledge("there", uint64(i)+1)
		}
	}
	return o
}

// TestTheMemoryOfWhatIsPending does not depend on how many nats-servers are away. OUTBOX_CHANGES is how many
// changes are pending, for a measurement.
func TestTheMemoryOfWhatIsPending(t *testing.T) {
	changes, _ := strconv.Atoi(os.Getenv("OUTBOX_CHANGES"))
	changes = max(changes, 20_000)
	for _, away := range []int{1, 1000} {
		before := heapInUse()
		o := pendingOutbox(changes, away)
		each := float64(heapInUse()-before) / float64(changes)
		snapshot := o.Snapshot()
		t.Logf("%d changes, %d servers away: %.0f bytes of memory and %d of the journal for each",
			changes, away, each, len(snapshot)/changes)
		if each > 100 {
			t.Errorf("%d servers away: %.0f bytes for each change", away, each)
		}
		runtime.KeepAlive(o)
	}
}

// TestACheckpointAllocatesWhatItWrites, and a copy of it, but does not grow towards it: a million pending
// changes are some 75 MB. So does the next start.
func TestACheckpointAllocatesWhatItWrites(t *testing.T) {
	const changes = 20_000
	dir := t.TempDir()
	d := open(t, options(t, dir))
	d.Outbox().Register("away", time.Now())
	for i := range changes {
		d.Outbox().Commit(uint64(i)+1, pendingKey(i))
	}
	d.Checkpoint()
	size := len(d.Outbox().Snapshot())
	if n := allocated(d.Checkpoint); n > 4*size { // it was 8 times
		t.Errorf("a checkpoint of %d bytes allocates %d", size, n)
	}
	closeStore(t, d)
	journal, err := os.ReadFile(filepath.Join(dir, ".journal", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of a snapshot in a journal of %d", size, len(journal))
	n := allocated(func() { d = open(t, options(t, dir)) })
	if got := len(d.Outbox().Pending()); got != changes {
		t.Errorf("%d are pending", got)
	}
	if n > 9*size { // it was 12 times
		t.Errorf("opening a journal of %d bytes allocates %d", size, n)
	}
}

// allocated returns how many bytes a function allocates.
func allocated(do func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}
