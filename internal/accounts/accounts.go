// Package accounts is the policy for account JWTs and the registry of them: the one way in, and the
// one way out.
//
//	Put ──> inspect, compare, verify ──> Committer ──> catalog, Announcer   put.go, policy.go
//	Get <── the store, unsaved files, the primary and NATS peers            get.go
//	Delete, Remove, Expire ──> tombstone ──> Committer                      delete.go, expire.go
//	Digest, Keys, Pack <── catalog: verdicts, index                         catalog.go, pack.go
//	Sweep, Review, RescanChanged <── scanner: store, index                  scan.go, review.go
//
// # Policy
//
// A JWT is taken if an operator, or a signing key of one, signed it for this account, if its claims
// can be used now, and if it was issued at most five minutes ahead of this server's clock. The
// operators are looked at again at the commit. An operator may require a signing key: then its
// identity key signs no account.
//
// It must also be newer than the floor: the newest version that was ever accepted for the account,
// which the index remembers. Trust, clocks, restarts and removed files do not lower the floor.
//
//	what comes                    from a client, or a file      from a peer: pack, primary, server
//	a greater iat                 taken                         taken
//	a lesser iat                  refused, or allow_older       refused
//	the floor itself              nothing to do, or stored again, if it was lost
//	another one of its second     taken, unless the floor has   taken if its SHA-256 is greater
//	                              replaced it, or allow_older
//	after a deletion              iat greater than the          iat greater than the order's
//	                              deleted one's
//
// So all servers come to hold the same JWT, whatever came first where, and nothing comes back over
// HTTP or NATS that was replaced within its second. A commit makes its JWT the floor, also one that
// allow_older has let in.
//
// A stored JWT that the index does not know raises the floor when it is found: it was put there by
// hand, or the index is new. It need not be trusted, if an operator signed it. One that was far
// ahead of the clock when its file was written does not count. What is older than the floor is
// served, with a warning, since the owner of the directory has put it there.
//
// Claims that the jwt library's Validate finds fault with are refused, but in a file. So is what
// package claimcheck finds: claims that some nats-servers use, and others refuse. From a peer that
// is taken, with a warning: nats-servers may run it, and all account servers are to hold the same
// JWT. What is stored stays served in any case.
//
// A deletion leaves a tombstone. An order to delete must be issued after the last one, and not
// before the floor. A file of a directory that another program writes is trusted more: it is the
// only way into a read-only server, it may have expired, it may bring back what was deleted, and
// without an operator it only has to be consistent in itself.
//
// A revision of a bucket was decided about by the server that has written it. Its order is that of
// the bucket: only the signature is checked, and neither times nor claims.
//
// # Files
//
// In the order in which to read them:
//
//	accounts.go     Origin, Account, Options, and Registry
//	trust.go        Trust, which a reload replaces, and the configured system account
//	store.go        what the package needs of others: Store, Committer, Source, Signer
//	put.go          the way in; sign.go, for a JWT that an account has signed itself
//	policy.go       the rules; rules.go has their order, precondition.go that of If-Match
//	get.go          the way out; misses.go asks once for many, via.go finds a circle of servers
//	catalog.go      what is stored, as it is judged now; verdicts.go remembers that
//	delete.go       deletions, by order or by hand; tombstone.go, what is left of an account
//	expire.go       JWTs that have expired
//	announce.go     what is announced, and when; delivery.go, how far it has got
//	reassert.go     the stored JWT is announced again, since another one was
//	update.go       the index gets what the store has of one account
//	scan.go         and of all of them; review.go, what is not good any more
//	pack.go         all accounts, a line each; packline.go has the line
//	merge.go        which of two is the newest: two files, or what two servers have
//	dryrun.go       what Put would do
//	audit.go        the events of the audit log
//	errors.go       why a JWT is not taken: each with the audit's word
//	recently.go     what has happened within some seconds
//
// # Concurrency
//
// A Registry may be used from any goroutine. Compare and commit are one step for each account,
// which the Committer serialises. What Put has returned is on stable storage.
package accounts

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"nats-account-server/internal/trust"
)

// Digest is a SHA-256, or the XOR of those of all JWTs of a store, as nats-server's full resolver
// has it.
type Digest = [sha256.Size]byte

// Origin says where a JWT or an order came from. Except for File, and for the warning that a peer's
// JWT may get instead of a refusal, it can only make the rules stricter.
type Origin struct {
	Kind    string // way in, one of the Kind constants
	Address string // of the client; "" if there is none
	User    string // as a password or a certificate has proven; "" if none was asked for
	// Peer is set for what another account server passes on.
	Peer bool
	// File is set for what the owner of a directory has put there.
	File bool
	// Broadcast is set for what every connected nats-server has heard as well.
	Broadcast bool
	// ByHand is set for a revision of the bucket that no account server has written.
	ByHand bool
}

// The ways in. The journal names them, and the audit log all but KindNotify and KindReassert.
const (
	KindHTTP     = "http"     // POST
	KindNATS     = "nats"     // an update, an activation token or a deletion on a NATS subject
	KindPack     = "pack"     // a line of another server's pack, or what a nats-server runs
	KindPrimary  = "primary"  // the answer of the primary account server
	KindKV       = "kv"       // a revision of the bucket of several servers
	KindFile     = "file"     // a directory that another program writes
	KindExpiry   = "expiry"   // a JWT that has expired
	KindNotify   = "notify"   // GET with notify=true
	KindReassert = "reassert" // the stored JWT is announced again, since another one was
)

// isPosted reports whether a client has posted it. An unchanged JWT is announced again then, and
// one that the operator did not sign goes to the signing service.
func (o Origin) isPosted() bool { return o.Kind == KindHTTP }

// isClient reports whether neither another account server nor a file has it.
func (o Origin) isClient() bool { return !o.Peer && !o.File }

// reasserts reports whether a refused JWT makes this server announce the stored one again.
// Nats-servers have heard what is published on an update subject, and may run it.
func (o Origin) reasserts() bool { return o.Kind == KindNATS }

// indexFirst reports whether a JWT is compared with the index first. A peer offers all that it has,
// again and again: what is the same or older leaves no line in the audit log.
func (o Origin) indexFirst() bool { return o.Peer && !o.Broadcast }

// isLenient reports whether the claims may be any that an operator has signed, at any time.
func (o Origin) isLenient() bool { return o.File || o.ByRevision() }

// ByRevision reports whether the bucket says what comes after what. Another server has decided
// about it.
func (o Origin) ByRevision() bool { return o.Kind == KindKV && !o.ByHand }

// Account is a verified account JWT. It is never changed.
type Account struct {
	trust.Head        // what the JWT says
	Key        string // public key of the account; of an activation token its hash
	JWT        []byte // as stored
	Hash       Digest // of JWT without the space around it
	ETag       string // with its quotes
}

// NewAccount describes a JWT whose head has been verified. token may have space around it, which is
// served with it. The caller must not change the bytes afterwards.
func NewAccount(token []byte, head trust.Head) *Account {
	return newAccount(token, trust.HashOf(token), head)
}

// newAccount is NewAccount for a JWT whose hash is known.
func newAccount(token []byte, hash Digest, head trust.Head) *Account {
	return Account{Head: head, Key: head.Subject, JWT: token, Hash: hash}.tagged()
}

// tagged returns a copy with its ETag. Two edits in one second share iat and jti, so the ETag needs
// the hash as well. Of the jti it has what may stand between quotes; a real jti is base32.
func (a Account) tagged() *Account {
	id := strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, a.ID)
	a.ETag = fmt.Sprintf("\"%s-%x\"", id, a.Hash[:4])
	// Very many accounts are kept in memory, and their issuers are few.
	a.Issuer = unique.Make(a.Issuer).Value()
	if id == a.ID {
		a.ID = a.ETag[1 : 1+len(id)]
	}
	return &a
}

// Options is what a Registry needs.
type Options struct {
	Store     Store
	Committer Committer
	Announcer Announcer
	Observer  Observer // nil: decisions are not reported
	// Unsaved has what the store has no room for, and knows what is not stored because it is
	// damaged or can't be read; nil: nothing is unsaved.
	Unsaved    Source
	Edited     func(key string) // told of what has come into the store by hand; nil: it is not told
	Peers      Source           // asked for what is not stored; nil: there are none
	Signer     Signer           // nil: there is no signing service
	Trust      Trust            // see SetTrust
	CacheBytes int              // of memory for verified JWTs; 0: none are kept
	AllowOlder bool             // an older JWT may replace a newer one
	// AllowDelete means that orders of the operator to delete accounts are carried out.
	AllowDelete bool
	ReadOnly    bool             // only files are taken
	Log         *slog.Logger     // nil: discard
	Now         func() time.Time // nil: time.Now
}

// Registry is the policy and the registry. It works from New on and needs no end.
type Registry struct {
	*catalog // Digest, Keys, Pack; and the Options
	*scanner // Sweep, Review, RescanChanged, Rescanned
	*remover // Delete, Remove, Expire
	policy   policy
	changed  Recently // JWTs that have changed

	primary atomic.Pointer[Primary] // nil in it: this server follows no other one
	misses  *Misses[*Account]       // Gets of what is not stored, by account
}

// New returns a Registry.
func New(o Options) *Registry {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	c := newCatalog(o)
	s := &scanner{catalog: c}
	r := &Registry{
		catalog: c,
		scanner: s,
		remover: &remover{s},
		policy:  policy{o.AllowOlder, o.ReadOnly, o.Now, o.Announcer},
		changed: Recently{Period: restInterval},
		misses:  NewMisses[*Account](),
	}
	r.SetTrust(o.Trust)
	r.SetPrimary(nil)
	return r
}

// SetPrimary replaces the account server that this one follows; nil means none.
func (r *Registry) SetPrimary(p Primary) { r.primary.Store(&p) }
