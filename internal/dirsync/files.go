package dirsync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// due returns the accounts that are to be offered again now, by path. Activation tokens are offered again with them.
func (m *Mirror) due() map[string]jwtstore.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]jwtstore.File{}
	full := false
	for path, f := range m.later {
		full = full || f.unsaved
		switch {
		case time.Now().Before(f.after):
		case trust.IsActivationHash(f.Key):
			m.news = true
		default:
			all[path] = f.File
		}
	}
	m.full.Store(full)
	return all
}

var fileSource = accounts.Origin{Kind: accounts.KindFile, File: true}

// offer offers an account to the gate. Activation tokens come when all accounts have.
func (m *Mirror) offer(ctx context.Context, f jwtstore.File) {
	key, err := f.Key, f.Err
	switch {
	case trust.IsActivationHash(key) && err == nil:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.later[f.Path] = late{File: f, after: time.Now().Add(lookEvery)}
		m.news = true
		return
	case err == nil:
		if key == "" {
			key = accounts.SubjectOf(f.JWT)
		}
		_, err = m.Gate.Put(ctx, key, f.JWT, fileSource)
	}
	if ctx.Err() != nil {
		return // the next start will tell
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news = true
	m.settle(f, key, err)
}

// again says when a file is to be offered again, if what keeps it out may be over then.
func again(err error) (after time.Time, is bool) {
	if ahead, is := errors.AsType[*accounts.FutureError](err); is {
		return ahead.Until(), true
	}
	return time.Now().Add(lookEvery), errors.Is(err, accounts.ErrSave) || errors.Is(err, accounts.ErrUnreadable)
}

// settle notes what became of a file, for who holds mu: what was taken from it before is not in it any more, or it was refused, and
// what was there before goes on being served.
func (m *Mirror) settle(f jwtstore.File, key string, err error) {
	delete(m.later, f.Path)
	if err != nil {
		if after, is := again(err); is {
			unsaved := errors.Is(err, accounts.ErrSave)
			m.later[f.Path] = late{f, after, unsaved}
			m.full.Store(unsaved || m.full.Load())
		}
		m.refuse(f, key, err)
		return
	}
	delete(m.refused, f.Path)
	was := m.files[f.Path]
	m.put(f.Path, &shelved{key, sha256.Sum256(bytes.TrimSpace(f.JWT))})
	if was != nil && was.key != key {
		m.lost = append(m.lost, *was)
	}
}

// put notes what was taken from a file, nil for nothing, for who holds mu.
func (m *Mirror) put(path string, f *shelved) {
	if was := m.files[path]; was != nil {
		if m.copies[was.key]--; m.copies[was.key] == 0 {
			delete(m.copies, was.key)
		}
		delete(m.files, path)
	}
	if f != nil {
		m.copies[f.key]++
		m.files[path] = f
	}
}

// refuse says once why a file is not served, for who holds mu.
func (m *Mirror) refuse(f jwtstore.File, key string, err error) {
	text := err.Error()
	if ahead, is := errors.AsType[*accounts.FutureError](err); is {
		text = "it is from the future: it counts from " + ahead.Until().UTC().Format(time.RFC3339) + " on"
	}
	served := key
	if was := m.files[f.Path]; was != nil {
		served = was.key
	}
	if _, err := m.Gate.GetLocal(context.Background(), served); err == nil {
		text += "; what was there before is served on"
	}
	if m.refused[f.Path].text != text {
		m.Warn("%s is not served - %s", f.Path, text)
	}
	m.refused[f.Path] = refusal{key, text}
}

// forget notes that a file is gone.
func (m *Mirror) forget(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := m.files[path]; was != nil {
		m.lost = append(m.lost, *was)
	}
	m.put(path, nil)
	delete(m.later, path)
	delete(m.refused, path)
}

// dropLost takes out what has lost its file. If another file has the same account or token that is looked at again; settled is false
// until it was.
func (m *Mirror) dropLost(c *crew) (settled bool) {
	lost := m.lost
	m.lost = nil
	var reread []string // keys whose other files are to be looked at, if they could be taken out
	for _, f := range lost {
		others, same := m.elsewhere(f)
		if same || len(others) > 0 && !m.serves(f) {
			continue
		}
		for _, path := range others {
			m.Folder.Again(path)
		}
		if others != nil {
			reread = append(reread, f.key)
		}
		c.do(func() { m.takeOut(c.ctx, f) })
	}
	c.all.Wait()
	return !slices.ContainsFunc(reread, func(key string) bool { return !m.stuck[key] })
}

// elsewhere returns the other files of an account or token, those included that were refused: what was there counted more. same says
// that one of them has the same.
func (m *Mirror) elsewhere(f shelved) (paths []string, same bool) {
	if m.copies[f.key] > 0 {
		for path, other := range m.files {
			if other.key == f.key {
				paths = append(paths, path)
				same = same || other.sum == f.sum
			}
		}
	}
	for path, other := range m.refused {
		if other.key == f.key && m.files[path] == nil {
			paths = append(paths, path)
		}
	}
	return paths, same
}

// serves says whether what is served is what was taken from a file.
func (m *Mirror) serves(f shelved) bool {
	load := m.Store.Load
	if trust.IsActivationHash(f.key) {
		load = m.Tokens.Load
	}
	stored, _, err := load(f.key, accounts.Stamp{})
	return err != nil || sha256.Sum256(bytes.TrimSpace(stored)) == f.sum
}

// activate offers the activation tokens, once the accounts have been offered that came with them. One that is not taken is
// offered again with the next account, and after a while.
func (m *Mirror) activate(ctx context.Context) {
	if !m.news || ctx.Err() != nil {
		return
	}
	m.news = false
	for path, f := range maps.Clone(m.later) {
		if !trust.IsActivationHash(f.Key) {
			continue
		}
		a, changed, err := m.permit(ctx, f.File)
		m.mu.Lock()
		m.settle(f.File, f.Key, err)
		if err != nil {
			m.later[path] = late{File: f.File, after: time.Now().Add(lookEvery)}
		}
		m.mu.Unlock()
		if changed && m.filled {
			m.Activations.Announce(a, true)
		}
	}
}

func (m *Mirror) permit(ctx context.Context, f jwtstore.File) (a *activations.Token, changed bool, err error) {
	if err := activations.Check(f.Key, f.JWT); err != nil {
		return nil, false, err
	}
	return m.Activations.Put(ctx, f.JWT, fileSource)
}

// takeOut takes an account or an activation token out of what is served. What can't be taken out now is tried again.
func (m *Mirror) takeOut(ctx context.Context, f shelved) {
	if trust.IsActivationHash(f.key) {
		m.Tokens.Remove(f.key)
		return
	}
	err := m.Gate.Remove(ctx, f.key, fileSource)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.stuck, f.key)
		return
	}
	m.lost = append(m.lost, f)
	if !m.stuck[f.key] && ctx.Err() == nil {
		m.stuck[f.key] = true
		m.Warn("the file of %s is gone, but it can't be taken out - %s", f.key, err)
	}
}

// Unsaved returns what is in the file of an account that there is no room for in the store, nil if there is none.
func (m *Mirror) Unsaved(key string) *accounts.Account {
	if !m.full.Load() {
		return nil
	}
	token := m.waiting(key)
	if token == nil {
		return nil
	}
	a, _ := m.Gate.Verify(key, token)
	return a
}

// waiting returns what is in the file of an account that could not be stored, nil if there is none.
func (m *Mirror) waiting(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.later {
		if f.unsaved && (f.Key == key || f.Key == "" && accounts.SubjectOf(f.JWT) == key) {
			return f.JWT
		}
	}
	return nil
}
