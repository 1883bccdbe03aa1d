package dirsync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// version is what was taken from a file. Two files have the same version if they differ in the
// space around the JWT only.
type version struct {
	key string // of an account, or the hash of an activation token
	sum [sha256.Size]byte
}

// versionOf describes the content of a file. token may have space around it.
func versionOf(key string, token []byte) *version {
	return &version{key, sha256.Sum256(bytes.TrimSpace(token))}
}

// fromFile is the origin of every JWT and of every removal here.
var fromFile = accounts.Origin{Kind: accounts.KindFile, File: true}

// offer offers the account of a file. An activation token waits until all accounts were offered, as
// the account that has signed it may be among them. Several files may be offered at the same time.
func (s *Syncer) offer(ctx context.Context, f *File) {
	if f.Err == nil && trust.IsActivationHash(f.Key) {
		s.Folder.move(f, token)
		f.retryAt = time.Now().Add(lookInterval)
		return
	}
	key, err := f.Key, f.Err
	if err == nil {
		if key == "" { // nsc names files by the account's name
			key = accounts.SubjectOf(f.JWT)
		}
		_, err = s.Accounts.Put(ctx, key, f.JWT, fromFile)
	}
	if ctx.Err() == nil { // otherwise the next start decides
		s.decide(f, key, err)
	}
}

// outcome is the event for an error of Put. retryAt is when the same content may be taken.
func outcome(err error) (on event, retryAt time.Time) {
	if ahead, is := errors.AsType[*accounts.FutureError](err); is {
		return early, ahead.Until()
	}
	retryAt = time.Now().Add(lookInterval)
	switch {
	case err == nil:
		return accepted, time.Time{}
	case errors.Is(err, accounts.ErrSave): // the JWT was accepted, but the commit has failed
		return full, retryAt
	case errors.Is(err, accounts.ErrUnreadable):
		return early, retryAt
	default:
		return rejected, retryAt
	}
}

// decide notes what became of a file's content. If the content was
// refused, what was taken from the file before goes on being served. If it was accepted for another
// account, the account before has lost its file.
func (s *Syncer) decide(f *File, key string, err error) {
	on, retryAt := outcome(err)
	s.Folder.move(f, on)
	f.retryAt = retryAt
	var now *kept
	if f.state == unsaved {
		now = &kept{key, f.JWT}
	}
	s.Unsaved.replace(f.kept, now)
	f.kept = now
	if err != nil {
		s.refuse(f, key, err)
		return
	}
	before := f.taken
	f.taken = versionOf(key, f.JWT)
	f.JWT, f.refusal, f.refusedKey = nil, "", ""
	if before != nil && before.key != key {
		s.addLost(&File{Path: f.Path, state: gone, taken: before})
	}
}

// refuse logs once why the content of a file is not served. key is "" if it is not known whose it
// is.
func (s *Syncer) refuse(f *File, key string, err error) {
	text := err.Error()
	if ahead, is := errors.AsType[*accounts.FutureError](err); is {
		until := ahead.Until().UTC().Format(time.RFC3339)
		text = "it is from the future: it counts from " + until + " on"
	}
	if s.servedBefore(f, key) {
		text += "; what was there before is served on"
	}
	if f.refusal != text {
		s.Log.Warn(fmt.Sprintf("%s is not served - %s", f.Path, text))
	}
	f.refusal, f.refusedKey = text, key
	if f.state == refused {
		f.JWT = nil // it is not offered again before it is read again
	}
}

// servedBefore reports whether the account of a refused file is served all the same, with what was
// there before.
func (s *Syncer) servedBefore(f *File, key string) bool {
	if f.taken != nil {
		key = f.taken.key
	}
	var err error
	if f.state == unsaved { // the Accounts serve the file itself
		_, _, err = s.Store.Load(key, jwtstore.Stamp{})
	} else {
		_, err = s.Accounts.GetLocal(context.Background(), key)
	}
	return err == nil
}

// offerDue offers again what could not be taken before and whose time has come, although the files
// have not changed.
func (s *Syncer) offerDue(ctx context.Context) {
	group := newGroup()
	now := time.Now()
	for _, f := range s.Folder.files {
		if f.retryAt.IsZero() || now.Before(f.retryAt) {
			continue
		}
		switch f.state {
		case waiting:
			s.tokensDue = true
		case postponed, unsaved:
			s.Folder.move(f, due)
			s.tokensDue = true
			group.Go(func() error { s.offer(ctx, f); return nil })
		}
	}
	_ = group.Wait()
}

// offerTokens offers the waiting activation tokens, after the accounts that came with them. One
// that is not taken is offered again with the next account, and after a while.
func (s *Syncer) offerTokens(ctx context.Context) {
	if !s.tokensDue || ctx.Err() != nil {
		return
	}
	s.tokensDue = false
	for _, f := range s.Folder.files {
		if f.state != waiting {
			continue
		}
		t, changed, err := s.putToken(ctx, f)
		s.decide(f, f.Key, err)
		if err != nil {
			f.retryAt = time.Now().Add(lookInterval)
		}
		if changed && s.filled {
			s.Activations.Announce(t, true)
		}
	}
}

// putToken stores a token if the file has the name of its hash.
func (s *Syncer) putToken(ctx context.Context, f *File) (*activations.Token, bool, error) {
	if err := activations.Check(f.Key, f.JWT); err != nil {
		return nil, false, err
	}
	return s.Activations.Put(ctx, f.JWT, fromFile)
}

// lose notes that a file is gone.
func (s *Syncer) lose(f *File) {
	s.Unsaved.replace(f.kept, nil)
	if f.taken == nil {
		s.Folder.move(f, removal) // there is nothing to remove
		return
	}
	s.addLost(f)
}

// addLost keeps what is to be removed until the next removeLost.
func (s *Syncer) addLost(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, f)
}

// removeLost removes what has lost its file, and what could not be removed before. If another file
// has the same account, that file is offered again; settled is false then.
func (s *Syncer) removeLost(ctx context.Context) (settled bool) {
	lost := s.lost
	s.lost = nil
	if len(lost) == 0 {
		return true
	}
	byKey := s.filesByKey()
	group := newGroup()
	var replaced []*File // those of lost for which another file is offered
	for _, f := range lost {
		others := byKey[f.taken.key]
		// If another file has the same version, or if a later one is served, nothing is to be
		// removed.
		if len(others) > 0 && (isAmong(f.taken, others) || !s.serves(f.taken)) {
			s.Folder.move(f, removal)
			continue
		}
		// The other files were refused because of this one, say as older. They are decided about
		// again once it is removed.
		for _, other := range others {
			s.Folder.reread(other)
			replaced = append(replaced, f)
		}
		group.Go(func() error { s.remove(ctx, f); return nil })
	}
	_ = group.Wait() // the functions return no error
	return !slices.ContainsFunc(replaced, func(f *File) bool { return f.state == removed })
}

// filesByKey are the files of each account or token: those from which it was taken, and those whose
// content was refused because of what counted more.
func (s *Syncer) filesByKey() map[string][]*File {
	all := map[string][]*File{}
	for _, f := range s.Folder.files {
		switch {
		case f.taken != nil:
			all[f.taken.key] = append(all[f.taken.key], f)
		case f.refusedKey != "":
			all[f.refusedKey] = append(all[f.refusedKey], f)
		}
	}
	return all
}

// isAmong reports whether one of the files has the same content.
func isAmong(v *version, files []*File) bool {
	return slices.ContainsFunc(files, func(f *File) bool {
		return f.taken != nil && *f.taken == *v
	})
}

// serves reports whether what is served now was taken from a file. It is true if that can't be
// known.
func (s *Syncer) serves(v *version) bool {
	load := s.Store.Load
	if trust.IsActivationHash(v.key) {
		load = s.Tokens.Load
	}
	stored, _, err := load(v.key, jwtstore.Stamp{})
	return err != nil || *versionOf(v.key, stored) == *v
}

// remove removes what was taken from a file. What can't be removed now is tried again at the next
// look.
func (s *Syncer) remove(ctx context.Context, f *File) {
	if trust.IsActivationHash(f.taken.key) {
		s.Tokens.Remove(f.taken.key)
		s.Folder.move(f, removal)
		return
	}
	err := s.Accounts.Remove(ctx, f.taken.key, fromFile)
	if err == nil {
		s.Folder.move(f, removal)
		return
	}
	if f.state == gone && ctx.Err() == nil {
		s.Log.Warn(fmt.Sprintf("the file of %s is gone, but it can't be taken out - %s",
			f.taken.key, err))
		s.Folder.move(f, failedRemoval)
	}
	s.addLost(f)
}

// sweep removes what the store has from an earlier start and the Folder does not have any more. It
// waits until it is known what the Folder has: a file that can't be decoded may be of any account.
func (s *Syncer) sweep(ctx context.Context) {
	there := map[string]bool{}
	for _, f := range s.Folder.files {
		switch {
		case f.taken != nil:
			there[f.taken.key] = true
		case f.refusal != "" && f.refusedKey == "":
			return
		}
		there[f.refusedKey] = true
	}
	s.swept = true
	group := newGroup()
	for key, err := range s.Store.Keys() {
		if err == nil && !there[key] && ctx.Err() == nil {
			lost := &File{state: gone, taken: &version{key: key}} // without a path
			group.Go(func() error { s.remove(ctx, lost); return nil })
		}
	}
	_ = group.Wait()
}
