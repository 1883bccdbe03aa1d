package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// due returns the accounts that are to be offered again.
func (m *Mirror) due() (all []jwtstore.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.offered) < lookEvery/2 {
		return nil
	}
	m.offered = time.Now()
	for _, f := range m.later {
		if !accounts.IsActivationHash(f.Key) {
			all = append(all, f.File)
		}
	}
	return all
}

var fileSource = accounts.Source{Door: "file", File: true}

// offer offers an account to the gate. Activation tokens come when all accounts have.
func (m *Mirror) offer(ctx context.Context, f jwtstore.File) {
	key, err := f.Key, f.Err
	if accounts.IsActivationHash(key) && err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.later[f.Path] = late{File: f}
		m.news = true
		return
	}
	if key == "" {
		key = accounts.SubjectOf(f.JWT)
	}
	if err == nil {
		_, err = m.Gate.Offer(ctx, key, f.JWT, fileSource)
	}
	m.mu.Lock()
	m.news = true
	delete(m.later, f.Path)
	if err != nil && passing(err) {
		m.later[f.Path] = late{f, errors.Is(err, accounts.ErrSave)}
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
func (m *Mirror) settle(f jwtstore.File, key string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.refuse(f, err)
		return
	}
	delete(m.refused, f.Path)
	was := m.files[f.Path]
	m.put(f.Path, &shelved{key, sha256.Sum256(bytes.TrimSpace(f.JWT))})
	if was != nil && was.key != key {
		m.lost = append(m.lost, was.key)
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

// dropLost takes out what has lost its file, once it is known that no other file has it.
func (m *Mirror) dropLost(ctx context.Context) {
	for _, key := range m.lost {
		if m.copies[key] == 0 {
			m.takeOut(ctx, key)
		}
	}
	m.lost = nil
}

// refuse says once why a file is not served, for who holds mu. One that is being written is looked at again first.
func (m *Mirror) refuse(f jwtstore.File, err error) {
	if f.Hot {
		return
	}
	text := err.Error()
	if m.files[f.Path] != nil {
		text += "; what was there before is served on"
	}
	if m.refused[f.Path].text != text {
		m.refused[f.Path] = refusal{f.Key, text}
		m.Warn("%s is not served - %s", f.Path, text)
	}
}

// elsewhere returns the other files that hold the same account or token.
func (m *Mirror) elsewhere(key string) (paths []string) {
	if m.copies[key] == 0 {
		return nil
	}
	for path, f := range m.files {
		if f.key == key {
			paths = append(paths, path)
		}
	}
	return paths
}

// withdraw takes out what came from a file that is gone. If it lies somewhere else too that counts from now on; settled is false
// until it was looked at.
func (m *Mirror) withdraw(ctx context.Context, path string) (settled bool) {
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
		m.Folder.Again(other)
	}
	m.takeOut(ctx, was.key)
	return len(others) == 0
}

// serves says whether what is served is what was taken from a file.
func (m *Mirror) serves(f *shelved) bool {
	load := m.Store.Load
	if accounts.IsActivationHash(f.key) {
		load = m.Shelf.Load
	}
	stored, _, err := load(f.key, accounts.Stamp{})
	return err != nil || sha256.Sum256(bytes.TrimSpace(stored)) == f.sum
}

func (m *Mirror) forget(path string) (was *shelved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was = m.files[path]
	m.put(path, nil)
	delete(m.later, path)
	delete(m.refused, path)
	return was
}

// activate offers the activation tokens, once the accounts have been offered that came with them. One that is not taken is
// offered again with the next account.
func (m *Mirror) activate(ctx context.Context) {
	if !m.news {
		return
	}
	m.news = false
	for path, f := range maps.Clone(m.later) {
		if !accounts.IsActivationHash(f.Key) {
			continue
		}
		a, changed, err := m.permit(ctx, f.File)
		if err == nil {
			m.taken(path)
		}
		m.settle(f.File, f.Key, err)
		if changed && m.filled {
			m.Gate.AnnounceActivation(a, true)
		}
	}
}

func (m *Mirror) taken(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.later, path)
}

func (m *Mirror) permit(ctx context.Context, f jwtstore.File) (a *accounts.Activation, changed bool, err error) {
	if err := accounts.CheckActivation(f.Key, f.JWT); err != nil {
		return nil, false, err
	}
	return m.Gate.Activate(ctx, f.JWT, fileSource)
}

// takeOut takes an account or an activation token out of what is served.
func (m *Mirror) takeOut(ctx context.Context, key string) {
	if accounts.IsActivationHash(key) {
		m.Shelf.remove(key)
		return
	}
	if err := m.Gate.Withdraw(ctx, key, fileSource); err != nil {
		m.Warn("the file of %s is gone, but it can't be taken out - %s", key, err)
	}
}

// Find returns what there is no room for in the store: it is served from its file. The error is that of the gate.
func (m *Mirror) Find(key string) (*accounts.Account, error) {
	token := m.waiting(key)
	if token == nil {
		return nil, accounts.ErrNotFound
	}
	return m.Gate.Foreign(key, token)
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
