package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
)

const (
	// settleAfter is when files that are being written, or that come many at a time, are looked at again.
	settleAfter = 150 * time.Millisecond
	// lookEvery is how often the files are looked at although nobody said that they changed: not every file system says. What
	// can't be taken now, since there is no room or it is from the future, is offered again then.
	lookEvery = 30 * time.Second
	// offeredAtOnce is how many files are on their way through the gate: their commits share a sync.
	offeredAtOnce = 32
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

	mu      sync.Mutex
	files   map[string]*shelved      // by path: what was taken from it last
	refused map[string]refusal       // by path: what was said of it last
	later   map[string]jwtstore.File // by path: what is to be offered again, for it may be taken then
	lost    []string                 // keys whose file has another one now
	news    bool                     // an account was offered since the activation tokens were
	filled  bool                     // first is done: what changes from now on is news
	swept   bool                     // what the store remembers and the folder does not have was taken out
	offered time.Time                // when those in later were
	broken  string                   // what was last said to keep the folder from being read
	blind   string                   // what was last said to keep changes from being noticed
}

// shelved is what was taken from a file.
type shelved struct {
	key string // of an account, or the hash of an activation token
	sum [sha256.Size]byte
}

// refusal is a file that is not served as it is now.
type refusal struct {
	key  string // "" if it may be anybody's
	text string
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
		files: map[string]*shelved{}, refused: map[string]refusal{}, later: map[string]jwtstore.File{}}
}

// again has every file judged anew: whom we trust has changed.
func (m *mirror) again() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// first fills the store before anybody asks.
func (m *mirror) first(ctx context.Context) {
	m.look(ctx)
	m.filled = true
}

// sweep takes out what the store remembers and the folder does not have any more, once it is known what the folder has: a file
// that can't be read or decoded may be anybody's.
func (m *mirror) sweep(ctx context.Context) {
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

// wait returns when the files are to be looked at again.
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
	err := m.folder.Watch(waiting)
	if waiting.Err() != nil {
		return
	}
	if m.say(&m.blind, err, fmt.Sprintf("changes are noticed every %s only: ", lookEvery)); err != nil {
		<-waiting.Done()
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
	offer := func(f jwtstore.File) {
		turn <- struct{}{}
		offers.Go(func() {
			m.offer(ctx, f)
			<-turn
		})
	}
	gone, settled, err := m.folder.Scan(offer)
	for _, f := range m.due() {
		offer(f)
	}
	offers.Wait()
	m.dropLost(ctx)
	m.activate(ctx)
	m.say(&m.broken, err, "")
	for _, path := range gone {
		settled = m.withdraw(ctx, path) && settled
	}
	m.sweep(ctx)
	return settled
}

// due returns the accounts that are to be offered again.
func (m *mirror) due() (all []jwtstore.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.offered) < lookEvery/2 {
		return nil
	}
	m.offered = time.Now()
	for _, f := range m.later {
		if !accounts.IsActivationHash(f.Key) {
			all = append(all, f)
		}
	}
	return all
}

var fileSource = accounts.Source{Door: "file", File: true}

// offer offers an account to the gate. Activation tokens come when all accounts have.
func (m *mirror) offer(ctx context.Context, f jwtstore.File) {
	key, err := f.Key, f.Err
	if accounts.IsActivationHash(key) && err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.later[f.Path] = f
		m.news = true
		return
	}
	if key == "" {
		key = accounts.SubjectOf(f.JWT)
	}
	if err == nil {
		_, err = m.gate.Offer(ctx, key, f.JWT, fileSource)
	}
	m.mu.Lock()
	m.news = true
	delete(m.later, f.Path)
	if err != nil && passing(err) {
		m.later[f.Path] = f
	}
	m.mu.Unlock()
	m.settle(f, key, err)
}

// passing says whether what keeps a JWT out may be over soon.
func passing(err error) bool {
	_, future := errors.AsType[*accounts.FutureError](err)
	return future || errors.Is(err, accounts.ErrSave) || errors.Is(err, accounts.ErrUnreadable)
}

// settle notes what became of a file: what was taken from it before is not in it any more, or it was refused, and what was there
// before goes on being served.
func (m *mirror) settle(f jwtstore.File, key string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.refuse(f, err)
		return
	}
	delete(m.refused, f.Path)
	was := m.files[f.Path]
	m.files[f.Path] = &shelved{key, sha256.Sum256(f.JWT)}
	if was != nil && was.key != key {
		m.lost = append(m.lost, was.key)
	}
}

// dropLost takes out what has lost its file, once it is known that no other file has it.
func (m *mirror) dropLost(ctx context.Context) {
	for _, key := range m.lost {
		if m.elsewhere(key) == nil {
			m.takeOut(ctx, key)
		}
	}
	m.lost = nil
}

// refuse says once why a file is not served, for who holds mu. One that is being written is looked at again first.
func (m *mirror) refuse(f jwtstore.File, err error) {
	if f.Hot {
		return
	}
	text := err.Error()
	if m.files[f.Path] != nil {
		text += "; what was there before is served on"
	}
	if m.refused[f.Path].text != text {
		m.refused[f.Path] = refusal{f.Key, text}
		m.warn("%s is not served - %s", f.Path, text)
	}
}

// elsewhere returns the other files that hold the same account or token. Nobody else changes what it looks at meanwhile.
func (m *mirror) elsewhere(key string) (paths []string) {
	for path, f := range m.files {
		if f.key == key {
			paths = append(paths, path)
		}
	}
	return paths
}

// withdraw takes out what came from a file that is gone. If it lies somewhere else too that counts from now on; settled is false
// until it was looked at.
func (m *mirror) withdraw(ctx context.Context, path string) (settled bool) {
	was := m.forget(path)
	if was == nil {
		return true
	}
	others := m.elsewhere(was.key)
	if len(others) > 0 && !m.serves(was) {
		return true
	}
	for _, other := range others {
		if m.files[other].sum == was.sum {
			return true
		}
		m.folder.Again(other)
	}
	m.takeOut(ctx, was.key)
	return len(others) == 0
}

// serves says whether what is served is what was taken from a file.
func (m *mirror) serves(f *shelved) bool {
	load := m.store.Load
	if accounts.IsActivationHash(f.key) {
		load = m.tokens.Load
	}
	stored, _, err := load(f.key, accounts.Stamp{})
	return err != nil || sha256.Sum256(stored) == f.sum
}

func (m *mirror) forget(path string) (was *shelved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was = m.files[path]
	delete(m.files, path)
	delete(m.later, path)
	delete(m.refused, path)
	return was
}

// activate offers the activation tokens, once the accounts have been offered that came with them. One that is not taken is
// offered again with the next account.
func (m *mirror) activate(ctx context.Context) {
	if !m.news {
		return
	}
	m.news = false
	for path, f := range maps.Clone(m.later) {
		if !accounts.IsActivationHash(f.Key) {
			continue
		}
		a, changed, err := m.permit(ctx, f)
		if err == nil {
			m.taken(path)
		}
		m.settle(f, f.Key, err)
		if changed && m.filled {
			m.gate.AnnounceActivation(a, true)
		}
	}
}

func (m *mirror) taken(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.later, path)
}

func (m *mirror) permit(ctx context.Context, f jwtstore.File) (a *accounts.Activation, changed bool, err error) {
	if err := accounts.CheckActivation(f.Key, f.JWT); err != nil {
		return nil, false, err
	}
	return m.gate.Activate(ctx, f.JWT, fileSource)
}

// takeOut takes an account or an activation token out of what is served.
func (m *mirror) takeOut(ctx context.Context, key string) {
	if accounts.IsActivationHash(key) {
		m.tokens.remove(key)
		return
	}
	if err := m.gate.Withdraw(ctx, key, fileSource); err != nil {
		m.warn("the file of %s is gone, but it can't be taken out - %s", key, err)
	}
}

// waiting returns the file of an account that is not stored yet, nil if there is none.
func (m *mirror) waiting(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.later {
		if f.Key == key || f.Key == "" && accounts.SubjectOf(f.JWT) == key {
			return f.JWT
		}
	}
	return nil
}

// say says once what is wrong, until it is something else or nothing.
func (m *mirror) say(said *string, err error, prefix string) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		text = prefix + err.Error()
	}
	if text != *said && text != "" {
		m.warn("%s", text)
	}
	*said = text
}

// mirrored is the gate as HTTP sees it while somebody else writes the files: what there is no room for is served from its file.
type mirrored struct {
	*accounts.Registry
	mirror *mirror
}

// Find implements httpapi.Gate.
func (g mirrored) Find(ctx context.Context, key string) (*accounts.Account, error) {
	a, err := g.Registry.Find(ctx, key)
	if errors.Is(err, accounts.ErrNotFound) {
		if token := g.mirror.waiting(key); token != nil {
			return g.Foreign(key, token)
		}
	}
	return a, err
}
