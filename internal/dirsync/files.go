package dirsync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
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
	return version{key, trust.HashOf(token)}
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
// them. One that was not taken is offered again with the next account, and after a while. Tokens
// are offered one after the other. While ctx has ended, none is.
func (s *Syncer) offerTokens(ctx context.Context, accountsOffered bool) {
	for _, f := range s.Folder.files {
		isDue := f.state == offered || f.state == postponed && accountsOffered
		if !isDue || !trust.IsActivationHash(f.Key) || ctx.Err() != nil {
			continue
		}
		t, changed, err := s.Activations.PutAs(ctx, f.Key, f.JWT, fromFile)
		if changed && s.filled {
			// Tokens that Fill reads are not announced: nothing says that they have changed.
			s.Activations.Announce(t, true)
		}
		s.decide(f, f.Key, err)
	}
}

// decide notes what became of a file's content. key is "" if it is not known whose it is. If the
// content was refused, what was taken from the file before goes on being served. If it was accepted
// for another account, the account before has no file any more. err is nil if the content
// was accepted.
func (s *Syncer) decide(f *File, key string, err error) {
	f.subject, f.retryAt, f.bad = key, time.Now().Add(scanInterval), nil
	// Put saves only what it has verified. So the JWT can be served without the store.
	f.unsaved = errors.Is(err, accounts.ErrSave)
	if err == nil {
		s.Folder.move(f, accepted)
		if f.taken.key != key {
			// The JWT in the file is of another account now.
			s.removeLater(f.taken)
		}
		f.taken, f.JWT = versionOf(key, f.JWT), nil
		f.refusal.Log(s.Log, nil)
		return
	}
	ahead, isAhead := errors.AsType[*accounts.FutureError](err)
	if isAhead { // its text has the time of this attempt, and would be logged with each
		f.retryAt = ahead.Until()
		err = errors.New("it is from the future: it counts from " +
			logging.Time(f.retryAt) + " on")
	}
	// The account of a token may come, and the store may work again.
	if isAhead || f.unsaved || errors.Is(err, accounts.ErrUnreadable) ||
		trust.IsActivationHash(key) {
		s.Folder.move(f, deferred)
	} else {
		s.Folder.move(f, rejected)
		f.JWT = nil // it is not offered again before it is read again
		f.bad = whyBad(f, err)
	}
	f.refusal.Log(s.Log, s.explain(f, err))
}

// whyBad is what a reader of the account is told of a file that can't be read, or is refused.
func whyBad(f *File, err error) error {
	if f.Err != nil {
		return fmt.Errorf("%w: %w", accounts.ErrUnreadable, f.Err)
	}
	return fmt.Errorf("%w: %w", accounts.ErrDamaged, err)
}

// explain is what is logged of a file whose content is not stored.
func (s *Syncer) explain(f *File, err error) error {
	if f.unsaved {
		return fmt.Errorf("%s is served from memory, but not stored - %w", f.Path, err)
	}
	// After a start nothing was taken yet, and the store may have the account from before.
	key := cmp.Or(f.taken.key, f.subject)
	if _, missing := s.Accounts.GetLocal(context.Background(), key); missing != nil {
		return fmt.Errorf("%s is not served - %w", f.Path, err)
	}
	return fmt.Errorf("%s is not served - %w; what was there before is served on", f.Path, err)
}
