package dirsync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// removal is of a version that has no file any more. It is to be removed from the store.
type removal struct {
	version                   // only its key is known if it is from an earlier start
	failure logging.Condition // why it can't be removed
	isDone  bool
}

// removeLater has a version removed by the next removeQueued. The zero version is none.
func (s *Syncer) removeLater(v version) {
	if v.key != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removals = append(s.removals, &removal{version: v})
	}
}

// compareStore has removed what the store has from an earlier start and the Folder lacks now. It
// waits until it is known what the Folder has: a file that can't be decoded may be of any account,
// and a Folder without a file may be one whose file system is not mounted. It succeeds once, and is
// not called again.
func (s *Syncer) compareStore(ctx context.Context) {
	_ = s.Accounts.RescanChanged(ctx) // logs what can't be read; that stays
	if len(s.Folder.files) == 0 && s.hasStored() {
		s.empty.Log(s.Log, errEmpty)
		return
	}
	byKey := s.filesByKey()
	isOfAny := func(f *File) bool { return f.subject == "" && f.taken.key == "" }
	if slices.ContainsFunc(byKey[""], isOfAny) {
		return
	}
	s.compared = true
	for key := range s.Store.Index().All() {
		if byKey[key] == nil {
			s.removeLater(version{key: key})
		}
	}
}

// errEmpty is why an empty Folder is not believed after a start.
var errEmpty = errors.New("the directory that is served is empty: the accounts that it had at " +
	"an earlier start are served on (is its file system mounted?)")

// hasStored reports whether the store has something.
func (s *Syncer) hasStored() bool {
	for range s.Store.Index().All() {
		return true
	}
	return false
}

// filesByKey are the files of each account or token: those from which it was taken, and those whose
// content was offered for it last. The key "" has those of which one of the two is not known.
func (s *Syncer) filesByKey() map[string][]*File {
	byKey := map[string][]*File{}
	for _, f := range s.Folder.files {
		byKey[f.taken.key] = append(byKey[f.taken.key], f)
		if f.subject != f.taken.key {
			// A file may be of one account in the store, and offer the JWT of another.
			byKey[f.subject] = append(byKey[f.subject], f)
		}
	}
	return byKey
}

// removeQueued removes what has no file any more, and what could not be removed before. settled is
// false if other files of the same account are offered again: they were refused because of this
// one, say as older. No file is being decided about meanwhile, so s.mu need not be held.
func (s *Syncer) removeQueued(ctx context.Context) (settled bool) {
	if len(s.removals) == 0 {
		return true
	}
	byKey := s.filesByKey()
	queued := slices.DeleteFunc(s.removals, func(l *removal) bool {
		// The same JWT may be in another file, or a later one has been taken from there.
		served := s.served(l.version)
		return slices.ContainsFunc(byKey[l.key], func(f *File) bool { return f.taken == served })
	})
	var group errgroup.Group
	group.SetLimit(maxOffers)
	for _, l := range queued {
		group.Go(func() error { l.isDone = s.remove(ctx, l); return nil })
	}
	_ = group.Wait() // the functions return no error
	s.removals, settled = nil, true
	for _, l := range queued {
		if !l.isDone { // the next scan tries again
			s.removals = append(s.removals, l)
			continue
		}
		for _, f := range byKey[l.key] {
			s.Folder.move(f, rejudge)
			settled = false
		}
	}
	return settled
}

// served returns the version of an account or a token that is served now. It is v if that can't be
// known, or if there is none: then nothing speaks against the removal.
func (s *Syncer) served(v version) version {
	load := s.Store.Load
	if trust.IsActivationHash(v.key) {
		load = s.Tokens.Load
	}
	stored, _, err := load(v.key, jwtstore.Stamp{})
	if err != nil {
		return v
	}
	return versionOf(v.key, stored)
}

// remove removes a version from the store, or logs once why it can't. A token is only in memory, so
// its removal can't fail.
func (s *Syncer) remove(ctx context.Context, l *removal) (isDone bool) {
	if trust.IsActivationHash(l.key) {
		s.Tokens.Remove(l.key)
		return true
	}
	err := s.Accounts.Remove(ctx, l.key, fromFile)
	if err != nil && ctx.Err() == nil { // the next start finds it otherwise
		l.failure.Log(s.Log,
			fmt.Errorf("the file of %s is gone, but it can't be taken out - %w", l.key, err))
	}
	return err == nil
}
