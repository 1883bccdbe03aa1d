package accounts_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	modelTime = flag.Duration("model.time", 10*time.Second,
		"how long TestModel tries one sequence after the other")
	modelFrom = flag.Uint64("model.from", 0,
		"the seed after which TestModel begins to try sequences")
	modelSeed = flag.Uint64("model.seed", 0,
		"the only sequence that TestModel tries; 0: many")
	modelSteps = flag.String("model.steps", "", "the steps that TestModel takes, as it prints them")
)

// TestModel lets everything happen to some account servers that can, at random, and holds them
// against a model that knows one sentence: for each account, the served version never goes back,
// except by allow_older. A sequence of steps that breaks a rule is shrunk and printed. Without
// flags it tries the same sequences in each run, as many as 10 s allow. `make soak` tries more.
//
//	go test -run TestModel ./internal/accounts -model.time 8m -model.from $RANDOM
//	go test -run TestModel ./internal/accounts -model.seed 17
//	go test -run TestModel ./internal/accounts -model.steps 'DD 0.post=A3b/s 1.pull=0'
//
// That it finds faults was tried with faults that were put into the code, one at a time, with two
// processors that were busy with other things:
//
//	after 1 s    an older JWT is accepted from a peer
//	after 1 s    tombstones bar nothing
//	after 1 s    two changes of an account are decided at the same time
//	after 2 s    a directory that is away is not missed
//	after 2 s    the trust is not looked at again at the commit
//	after 3 s    the floor is forgotten when the stored JWT is not trusted any more
//	after 4 s    an order is carried out twice
//	after 7 s    an order is carried out after a later one
//	after 19 s   changes are marked as flushed without an index on disk
//	after 31 s   what the journal has overwrites newer files
func TestModel(t *testing.T) {
	t.Parallel()
	m := &modelRun{t: t, tokens: newModelTokens(t), dir: modelDir(t)}
	switch {
	case *modelSteps != "":
		kinds, steps := parseSequence(t, *modelSteps)
		if f := m.try(kinds, steps); f != nil {
			t.Errorf("step %d: %s: %s", f.at, f.kind, f.text)
		}
	case *modelSeed != 0:
		m.trySeed(*modelSeed)
	default:
		m.tryMany(*modelFrom, *modelTime)
		t.Logf("%d sequences, %d steps", m.sequences.Load(), m.steps.Load())
	}
}

// modelRun tries sequences.
type modelRun struct {
	t      *testing.T
	tokens *modelTokens
	dir    string // for the stores

	sequences, steps atomic.Int64 // how many were tried
}

// modelDir is a directory in memory, if there is one: a sync costs nothing there.
func modelDir(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "model"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// tryMany tries as many sequences as it can, a few at a time, until one fails.
func (m *modelRun) tryMany(seed uint64, d time.Duration) {
	deadline := time.Now().Add(d)
	var next atomic.Uint64
	next.Store(seed)
	var failed atomic.Bool
	var all sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) { // most of the time they wait for files
		all.Go(func() {
			for time.Now().Before(deadline) && !failed.Load() {
				seed := next.Add(1)
				kinds, steps := drawSequence(rand.New(rand.NewPCG(seed, 0)))
				if f := m.try(kinds, steps); f != nil && failed.CompareAndSwap(false, true) {
					m.report(seed, kinds, steps, f)
				}
			}
		})
	}
	all.Wait()
}

// trySeed tries one sequence. When files are written is not drawn, so it tries a few times.
func (m *modelRun) trySeed(seed uint64) {
	kinds, steps := drawSequence(rand.New(rand.NewPCG(seed, 0)))
	for range 20 {
		if f := m.try(kinds, steps); f != nil {
			m.report(seed, kinds, steps, f)
			return
		}
	}
}

// report shrinks a sequence that has failed, and says how to try it again.
func (m *modelRun) report(seed uint64, kinds string, steps []modelStep, f *failure) {
	steps, f = m.shrink(kinds, steps, f)
	m.t.Errorf("sequence %d, step %d: %s: %s\ntry it again with one of these:\n"+
		"go test -run '^TestModel$' ./internal/accounts -model.seed %d\n"+
		"go test -run '^TestModel$' ./internal/accounts -model.steps '%s'",
		seed, f.at, f.kind, f.text, seed, sequenceText(kinds, steps))
}

// try takes some steps, and returns the first rule that was broken; nil if none was.
func (m *modelRun) try(kinds string, steps []modelStep) *failure {
	dir := filepath.Join(m.dir, fmt.Sprint(m.sequences.Add(1)))
	w := newWorld(m.t, m.tokens, dir, kinds)
	defer os.RemoveAll(dir)
	defer w.close()
	for i, step := range steps {
		if w.at = i; w.failed != nil {
			break
		}
		w.take(step)
		m.steps.Add(1)
	}
	if w.at = len(steps); w.failed == nil {
		w.converge()
	}
	return w.failed
}

// take takes one step, and looks at what the servers serve then.
func (w *world) take(step modelStep) {
	s := w.servers[step.server%len(w.servers)]
	a, ok := action(step.do)
	if !ok {
		w.t.Fatalf("there is no step %s", step)
	}
	if !a.down {
		s.start()
	}
	a.do(s, step.what)
	if s.store != nil && w.failed == nil {
		s.check()
	}
}

// shrink drops steps, many at a time at first, as long as the same rule is broken.
func (m *modelRun) shrink(kinds string, steps []modelStep, f *failure) ([]modelStep, *failure) {
	if f.at < len(steps) {
		steps = steps[:f.at+1]
	}
	for size := len(steps) / 2; size > 0; {
		dropped := false
		for from := 0; from+size <= len(steps); {
			fewer := slices.Delete(slices.Clone(steps), from, from+size)
			if now := m.failsAgain(kinds, fewer, f); now != nil {
				steps, f, dropped = fewer, now, true
			} else {
				from += size
			}
		}
		if !dropped {
			size /= 2
		}
	}
	return steps, f
}

// failsAgain tries fewer steps a few times.
func (m *modelRun) failsAgain(kinds string, steps []modelStep, had *failure) *failure {
	for range 2 {
		if f := m.try(kinds, steps); f != nil && f.kind == had.kind {
			return f
		}
	}
	return nil
}

// sequenceText is the kinds of servers and the steps in one line, for -model.steps.
func sequenceText(kinds string, steps []modelStep) string {
	words := []string{kinds}
	for _, step := range steps {
		words = append(words, step.String())
	}
	return strings.Join(words, " ")
}

// parseSequence is the inverse of sequenceText.
func parseSequence(t *testing.T, text string) (kinds string, steps []modelStep) {
	t.Helper()
	words := strings.Fields(text)
	for _, word := range words[1:] {
		number, rest, _ := strings.Cut(word, ".")
		do, what, _ := strings.Cut(rest, "=")
		server, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%q is no step", word)
		}
		steps = append(steps, modelStep{server, do, what})
	}
	return words[0], steps
}
