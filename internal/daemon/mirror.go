package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
)

const (
	// settleAfter is when files that are being written, or that come many at a time, are looked at again.
	settleAfter = 150 * time.Millisecond
	// lookEvery is how often the files are looked at although nobody said that they changed: not every file system says.
	lookEvery = 30 * time.Second
	// offeredAtOnce is how many files are on their way through the gate: their commits share a sync.
	offeredAtOnce = 32
	// retryAfter is how long a directory is left alone that can't be watched.
	retryAfter = time.Second
)

// mirror keeps the store as a folder is that somebody else writes: every file goes through the gate like what comes by any
// other door. So the store is what of the folder can be served, and knows which nats-server has heard of what.
type mirror struct {
	folder *jwtstore.Folder
	store  accounts.Store
	tokens *shelf
	gate   *accounts.Registry
	warn   func(string, ...any)
	kick   chan struct{} // of capacity 1: everything is to be looked at again

	mu     sync.Mutex
	keys   map[string]string // by path: whose JWT it is, if it was taken
	later  map[string]*late  // by path: activation tokens, which may come before the accounts that have signed them
	news   bool              // an account was offered since they were
	filled bool              // first is done: what changes from now on is news
	broken string            // what was last said to keep the folder from being read
}

// late is an activation token that was not taken yet.
type late struct {
	jwtstore.File
	said bool // why that is
}

// openFolder opens the folder that a read-only configuration names; nil if there is none.
func openFolder(c config.Store) (*jwtstore.Folder, error) {
	switch {
	case c.NSC != "":
		return jwtstore.OpenNSC(c.NSC)
	case c.ReadOnly && c.Dir != "":
		return jwtstore.OpenFolder(c.Dir)
	default:
		return nil, nil
	}
}

func newMirror(folder *jwtstore.Folder, store accounts.Store, tokens *shelf, gate *accounts.Registry, warn func(string, ...any)) *mirror {
	return &mirror{folder: folder, store: store, tokens: tokens, gate: gate, warn: warn, kick: make(chan struct{}, 1),
		keys: map[string]string{}, later: map[string]*late{}}
}

// again has every file judged anew: whom we trust has changed.
func (m *mirror) again() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// first fills the store before anybody asks. What it remembers and the folder does not have any more is taken out.
func (m *mirror) first(ctx context.Context) {
	m.look(ctx)
	m.filled = true
	if m.broken != "" {
		return // nobody knows what is gone
	}
	there := map[string]bool{}
	for _, key := range m.keys {
		there[key] = true
	}
	for key, err := range m.store.Keys() {
		if err == nil && !there[key] {
			m.takeOut(ctx, key)
		}
	}
}

// run follows the folder until ctx ends. The first wait begins to watch, and ends at once.
func (m *mirror) run(ctx context.Context) error {
	defer m.folder.Close()
	for settled := true; ctx.Err() == nil; settled = m.look(ctx) {
		m.wait(ctx, settled)
	}
	return nil
}

// wait returns when the files are to be looked at again: a moment after the last change, so that a change of hundreds of
// files is looked at in a few goes.
func (m *mirror) wait(ctx context.Context, settled bool) {
	within := lookEvery
	if !settled {
		within = settleAfter
	}
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	go func() {
		select {
		case <-m.kick:
			m.folder.Forget()
			cancel()
		case <-waiting.Done():
		}
	}()
	if err := m.folder.Watch(waiting); err != nil && waiting.Err() == nil {
		m.complain(fmt.Errorf("changes are noticed every %s only: %w", lookEvery, err))
		pause(ctx, retryAfter)
		return
	}
	if waiting.Err() == nil {
		pause(ctx, settleAfter)
	}
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// look offers what has changed, and takes out what is gone. It returns when all of that is done.
func (m *mirror) look(ctx context.Context) (settled bool) {
	var offers sync.WaitGroup
	turn := make(chan struct{}, offeredAtOnce)
	gone, settled, err := m.folder.Scan(func(f jwtstore.File) {
		turn <- struct{}{}
		offers.Go(func() {
			m.offer(ctx, f)
			<-turn
		})
	})
	offers.Wait()
	m.activate(ctx)
	m.complain(err)
	for _, path := range gone {
		m.withdraw(ctx, path)
	}
	return settled
}

var fileSource = accounts.Source{Door: "file", File: true}

func (m *mirror) offer(ctx context.Context, f jwtstore.File) {
	if accounts.IsActivationHash(f.Key) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.keys[f.Path] = f.Key
		m.later[f.Path] = &late{File: f}
		return
	}
	key := f.Key
	if key == "" {
		key = accounts.SubjectOf(f.JWT)
	}
	_, err := m.gate.Offer(ctx, key, f.JWT, fileSource)
	if err != nil && len(f.JWT) > 0 { // writing a file begins with an empty one
		m.warn("%s is not served - %s", f.Path, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news = true
	if err == nil || f.Key != "" { // what was there before goes on being served
		m.keys[f.Path] = key
	}
}

// withdraw takes out an account whose file is gone, unless it lies somewhere else too.
func (m *mirror) withdraw(ctx context.Context, path string) {
	m.mu.Lock()
	key := m.keys[path]
	delete(m.keys, path)
	delete(m.later, path)
	for _, other := range m.keys {
		if other == key {
			key = ""
		}
	}
	m.mu.Unlock()
	switch {
	case accounts.IsActivationHash(key):
		m.tokens.remove(key)
	case key != "":
		m.takeOut(ctx, key)
	}
}

// activate offers the activation tokens, once the accounts have been offered that came with them. One that is not taken is
// offered again with the next account.
func (m *mirror) activate(ctx context.Context) {
	for path, f := range m.later {
		if f.said && !m.news {
			continue
		}
		a, changed, err := m.permit(ctx, f.File)
		switch {
		case err == nil:
			delete(m.later, path)
		case !f.said && len(f.JWT) > 0:
			m.warn("%s is not served - %s", path, err)
			fallthrough
		default:
			f.said = true
		}
		if changed && m.filled {
			m.gate.AnnounceActivation(a, true)
		}
	}
	m.news = false
}

func (m *mirror) permit(ctx context.Context, f jwtstore.File) (a *accounts.Activation, changed bool, err error) {
	if err := accounts.CheckActivation(f.Key, f.JWT); err != nil {
		return nil, false, err
	}
	return m.gate.Activate(ctx, f.JWT, fileSource)
}

func (m *mirror) takeOut(ctx context.Context, key string) {
	if err := m.gate.Withdraw(ctx, key, fileSource); err != nil {
		m.warn("the file of %s is gone, but it can't be taken out - %s", key, err)
	}
}

// complain says once what is wrong with the folder. What was read before goes on being served.
func (m *mirror) complain(err error) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	if text != m.broken && text != "" {
		m.warn("%s", text)
	}
	m.broken = text
}
