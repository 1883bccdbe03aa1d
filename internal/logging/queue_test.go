package logging_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/logging"
)

// slowReader is a writer that takes a line only when the reader reads one.
type slowReader struct {
	read  chan struct{} // each value lets one line through; closed: all
	lines []string
}

func (r *slowReader) Write(line []byte) (int, error) {
	<-r.read
	r.lines = append(r.lines, strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

var leftOut = regexp.MustCompile(
	`^\[WRN\] (\d+) lines were left out of the log since \S+: its reader was too slow$`)

// checkCounted checks that all lines from 0 to last are in order, or counted as left out in their
// place. It returns how many are.
func checkCounted(t *testing.T, lines []string, last int) (omitted int) {
	t.Helper()
	next := 0
	for _, line := range lines {
		if found := leftOut.FindStringSubmatch(line); found != nil {
			n, _ := strconv.Atoi(found[1])
			next, omitted = next+n, omitted+n
			continue
		}
		if got := strings.TrimRight(line, "."); got != fmt.Sprintf("[INF] line %d", next) {
			t.Fatalf("%.80q follows %d lines", line, next)
		}
		next++
	}
	if next != last+1 {
		t.Errorf("%d of %d lines are written or counted", next, last+1)
	}
	return omitted
}

func TestLinesThatDoNotFitAreCountedInTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		line  string // what is in each beside its number
		count int
		most  int // that may fit
	}{
		{"many short lines", "", 20_000, 16_384},
		{"a few long lines", strings.Repeat(".", 100_000), 45, 42},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &slowReader{read: make(chan struct{})}
				h := logging.New(r, logging.Format{})
				log := slog.New(h)
				n := 0
				put := func(count int) {
					for range count {
						log.Info(fmt.Sprint("line ", n, c.line))
						n++
					}
					synctest.Wait()
				}
				put(c.count)
				for range c.most * 3 / 5 { // the reader reads on, and more lines come
					r.read <- struct{}{}
				}
				synctest.Wait()
				put(c.count)
				close(r.read)
				h.Flush(time.Second)
				put(5)
				omitted := checkCounted(t, r.lines, n-1)
				if fit := n - omitted; fit < c.most || fit > 2*c.most {
					t.Errorf("%d of %d lines fit", fit, n)
				}
			})
		})
	}
}

func TestAFlushDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{read: make(chan struct{})}
		h := logging.New(r, logging.Format{})
		slog.New(h).Info("line 0")
		began := time.Now()
		h.Flush(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %s", took)
		}
		close(r.read)
		h.Flush(time.Second)
		checkCounted(t, r.lines, 0)
	})
}

func TestQueuedLinesOfManyGoroutinesAreWhole(t *testing.T) {
	r := &slowReader{read: make(chan struct{})}
	close(r.read)
	h := logging.New(r, logging.Format{})
	log := slog.New(h)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 500 {
				log.Info("line", "of", n, "number", i)
			}
		})
	}
	all.Wait()
	h.Flush(10 * time.Second)
	var next [8]int
	for _, line := range r.lines {
		var of, number int
		_, err := fmt.Sscanf(line, "[INF] line of=%d number=%d", &of, &number)
		if err != nil || next[of] != number {
			t.Fatalf("%q is not line %d of its goroutine: %v", line, next[of], err)
		}
		next[of]++
	}
	if len(r.lines) != 8*500 {
		t.Errorf("%d lines", len(r.lines))
	}
}

// failingOnce is a writer that refuses its first line.
type failingOnce struct{ lines []string }

func (f *failingOnce) Write(line []byte) (int, error) {
	f.lines = append(f.lines, string(line))
	if len(f.lines) == 1 {
		return 0, errors.New("the disk is full")
	}
	return len(line), nil
}

func TestALineThatIsNotTakenDoesNotStopTheNext(t *testing.T) {
	f := &failingOnce{}
	h := logging.New(f, logging.Format{})
	log := slog.New(h)
	log.Info("one")
	log.Info("two")
	h.Flush(10 * time.Second)
	if len(f.lines) != 2 {
		t.Errorf("written: %q", f.lines)
	}
}

func BenchmarkLine(b *testing.B) {
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer write.Close()
	go func() { defer read.Close(); _, _ = io.Copy(io.Discard, read) }()
	h := logging.New(write, logging.Format{Time: true})
	log := slog.New(h)
	for b.Loop() {
		log.Info("updated JWT for account - AAAAAAAAAAAA - BBBBBBBBBBBB")
	}
	h.Flush(10 * time.Second)
}
