// Package mirror keeps a store as a folder is that somebody else writes: a directory of JWTs under version control, or the folder
// of nsc.
//
//	folder ──> what has changed ──> gate ──> store      files.go
//	       ──> what is gone     ──> taken out
//
// Every file goes through the gate like what comes by any other door. So the store is what of the folder can be served, and knows
// which nats-server has heard of what. Activation tokens are kept in memory.
package dirsync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
)

const (
	// settleAfter is when files that are being written, or that come many at a time, are looked at again.
	settleAfter = 150 * time.Millisecond
	// lookEvery is how often the files are looked at although nobody said that they changed: not every file system says. What
	// can't be taken now, since there is no room or it is from the future, is offered again then.
	lookEvery = 30 * time.Second
	// fillTries is how often a folder that somebody is writing to is looked at before what there is will have to do.
	fillTries = 5
	// offeredAtOnce is how many files are on their way through the gate: their commits share a sync.
	offeredAtOnce = 32
)

// Options is what a Mirror needs.
type Options struct {
	Folder      *jwtstore.Folder
	Store       accounts.Store // behind Gate
	Activations *activations.Registry
	Tokens      *activations.Memory // the store of Activations
	Gate        *accounts.Registry
	Warn        func(format string, args ...any)
}

// Mirror is a folder at work. Again and Unsaved may be called from any goroutine; all else is for one.
type Mirror struct {
	Options
	kick chan struct{} // of capacity 1: everything is to be looked at again
	full atomic.Bool   // there may be something unsaved in later: else nobody who asks has to wait for mu

	mu      sync.Mutex
	files   map[string]*shelved // by path: what was taken from it last
	copies  map[string]int      // by key: how many of files have it
	refused map[string]refusal  // by path: what was said of it last
	later   map[string]late     // by path: what is to be offered again, for it may be taken then
	lost    []shelved           // what has lost its file
	stuck   map[string]bool     // keys that could not be taken out
	news    bool                // an account was offered since the activation tokens were
	filled  bool                // Fill is done: what changes from now on is news
	swept   bool                // what the store remembers and the folder does not have was taken out
	broken  string              // what was last said to keep the folder from being read
	blind   string              // what was last said to keep changes from being noticed
}

// shelved is what was taken from a file.
type shelved struct {
	key string // of an account, or the hash of an activation token
	sum [sha256.Size]byte
}

// late is a file that is to be offered again.
type late struct {
	jwtstore.File
	after   time.Time // then
	unsaved bool      // it is good, but there is no room for it
}

// refusal is a file that is not served as it is now.
type refusal struct {
	key  string // "" if it may be anybody's
	text string
}

// New returns a Mirror of a folder that has not been looked at.
func New(o Options) *Mirror {
	return &Mirror{Options: o, kick: make(chan struct{}, 1),
		files: map[string]*shelved{}, copies: map[string]int{}, refused: map[string]refusal{}, later: map[string]late{}, stuck: map[string]bool{}}
}

// Again has every file judged anew: whom we trust has changed.
func (m *Mirror) Again() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// Fill fills the store before anybody asks, also with what has been written just now. Run comes after it.
func (m *Mirror) Fill(ctx context.Context) {
	for range fillTries {
		if m.look(ctx) || ctx.Err() != nil {
			break
		}
		time.Sleep(settleAfter)
	}
	m.filled = true
}

// sweep takes out what the store remembers and the folder does not have any more, once it is known what the folder has: a file
// that can't be read or decoded may be anybody's.
func (m *Mirror) sweep(c *crew) {
	if m.swept || m.broken != "" {
		return
	}
	there := map[string]bool{}
	for _, f := range m.files {
		there[f.key] = true
	}
	for path, f := range m.refused {
		if m.files[path] == nil && f.key == "" {
			return
		}
		there[f.key] = true
	}
	m.swept = true
	for key, err := range m.Store.Keys() {
		if err == nil && !there[key] {
			c.do(func() { m.takeOut(c.ctx, shelved{key: key}) })
		}
	}
	c.all.Wait()
}

// Run follows the folder until ctx ends. The first wait begins to watch, and ends at once.
func (m *Mirror) Run(ctx context.Context) error {
	defer m.Folder.Close()
	for settled := true; ctx.Err() == nil; settled = m.look(ctx) {
		m.wait(ctx, settled)
	}
	return nil
}

// wait returns when the files are to be looked at again.
func (m *Mirror) wait(ctx context.Context, settled bool) {
	within := lookEvery
	if !settled {
		within = settleAfter
	}
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	go func() {
		select {
		case <-m.kick:
			m.Folder.Forget()
			cancel()
		case <-waiting.Done():
		}
	}()
	err := m.Folder.Watch(waiting)
	if err != nil && waiting.Err() != nil {
		err = nil
	}
	m.say(&m.blind, cmp.Or(err, m.Folder.Deaf()), fmt.Sprintf("changes are noticed every %s only: ", lookEvery))
	if err != nil {
		<-waiting.Done()
	}
}

// look offers what has changed, and takes out what is gone. It returns when all of that is done.
func (m *Mirror) look(ctx context.Context) (settled bool) {
	due := m.due()
	c := crew{ctx: ctx, turn: make(chan struct{}, offeredAtOnce)}
	gone, settled, err := m.Folder.Scan(func(f jwtstore.File) {
		delete(due, f.Path)
		c.do(func() { m.offer(ctx, f) })
	})
	for _, f := range due { // they are as they were
		c.do(func() { m.offer(ctx, f) })
	}
	c.all.Wait()
	for _, path := range gone {
		m.forget(path)
	}
	settled = m.dropLost(&c) && settled
	m.activate(ctx)
	m.say(&m.broken, err, "")
	if settled {
		m.sweep(&c)
	}
	return settled
}

// crew does many things at a time, offeredAtOnce of them, until ctx ends.
type crew struct {
	ctx  context.Context
	turn chan struct{}
	all  sync.WaitGroup
}

func (c *crew) do(f func()) {
	if c.ctx.Err() != nil {
		return
	}
	c.turn <- struct{}{}
	c.all.Go(func() {
		defer func() { <-c.turn }()
		f()
	})
}

// say says once what is wrong, until it is something else or nothing.
func (m *Mirror) say(said *string, err error, prefix string) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		text = prefix + err.Error()
	}
	if text != *said && text != "" {
		m.Warn("%s", text)
	}
	*said = text
}
