package dirsync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/trust"
)

// version is what was taken from a file. Two files have the same version if they differ in the
// space around the JWT only.
type version struct {
	key string // of an account, or the hash of an activation token; "": there is none
	sum [sha256.Size]byte
}

// versionOf describes the content of a file. token may have space around it.
func versionOf(key string, token []byte) version {
	return version{key, sha256.Sum256(bytes.TrimSpace(token))}
}

// fromFile is the origin of every JWT and of every removal here.
var fromFile = accounts.Origin{Kind: accounts.KindFile, File: true}

// offer offers the account of a file, and notes what becomes of a file that can't be read. Several
// files may be offered at the same time.
func (s *Syncer) offer(ctx context.Context, f *File) {
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

// offerTokens offers the activation tokens that have changed, after the accounts that came with
// them. One that was not taken is offered again with the next account, and after a while.
func (s *Syncer) offerTokens(ctx context.Context, accountsOffered bool) {
	for _, f := range s.Folder.files {
		isDue := f.state == offered || f.state == postponed && accountsOffered
		if !isDue || !trust.IsActivationHash(f.Key) || ctx.Err() != nil {
			continue
		}
		t, changed, err := s.putToken(ctx, f)
		s.decide(f, f.Key, err)
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

// decide notes what became of a file's content. key is "" if it is not known whose it is. If the
// content was refused, what was taken from the file before goes on being served. If it was accepted
// for another account, the account before has lost its file.
func (s *Syncer) decide(f *File, key string, err error) {
	on, retryAt := outcome(err)
	if on == rejected && trust.IsActivationHash(key) {
		on = early // its account may come
	}
	s.Folder.move(f, on)
	f.subject, f.retryAt = key, retryAt
	var now *unsaved
	if f.state == postponed && errors.Is(err, accounts.ErrSave) {
		now = &unsaved{key, f.JWT}
	}
	s.Folder.keep(f, now)
	if err == nil {
		before := f.taken
		f.taken = versionOf(key, f.JWT)
		if before.key != key {
			s.lose(before)
		}
	}
	if f.state != postponed {
		f.JWT = nil // it is not offered again before it is read again
	}
	f.refusal.log(s.Log, s.explain(f, err))
}

// outcome is the event for an error of Put. retryAt is when the same content may be taken.
func outcome(err error) (on event, retryAt time.Time) {
	retryAt = time.Now().Add(lookInterval)
	ahead, isAhead := errors.AsType[*accounts.FutureError](err)
	switch {
	case err == nil:
		return accepted, retryAt
	case isAhead:
		return early, ahead.Until()
	case errors.Is(err, accounts.ErrSave), errors.Is(err, accounts.ErrUnreadable):
		return early, retryAt
	default:
		return rejected, retryAt
	}
}

// explain is what is logged of a file whose content is not taken because of an error of Put.
func (s *Syncer) explain(f *File, err error) error {
	if err == nil {
		return nil
	}
	if ahead, is := errors.AsType[*accounts.FutureError](err); is {
		until := ahead.Until().UTC().Format(time.RFC3339)
		err = errors.New("it is from the future: it counts from " + until + " on")
	}
	if f.unsaved != nil {
		return fmt.Errorf("%s is served from memory, but not stored - %w", f.Path, err)
	}
	key := f.subject
	if f.taken.key != "" {
		key = f.taken.key
	}
	after := ""
	if _, missing := s.Accounts.GetLocal(context.Background(), key); missing == nil {
		after = "; what was there before is served on"
	}
	return fmt.Errorf("%s is not served - %w%s", f.Path, err, after)
}
