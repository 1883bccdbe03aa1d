// Package activations keeps activation tokens: one account's permission for another to import
// something.
//
//	Put ──> decode, check, compare ──> Store     put.go, token.go
//	Get <── accounts.Verdicts <─────── Store     get.go: each stored version is verified once
//	  └──> Primary, for a token that is not stored
//
// A token is stored under its hash, which stands for the exporter, the importer and the subject. It
// is served as long as the account that exports is stored and has signed it, itself or with a
// signing key. Nothing is owed to nats-servers, which do not listen for tokens: a token is
// announced once, and only other account servers hear it.
//
// A Registry may be used from any goroutine. Put returns when the token is as durable as the Store
// makes it.
package activations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// What a Registry reports of a token that it does not take or does not have. The texts are the
// original's.
var (
	ErrBadJWT  = accounts.NewRefusal("bad-jwt", "bad activation JWT in request")
	ErrIssuer  = accounts.NewRefusal("bad-issuer", "bad activation JWT Issuer in request")
	ErrSubject = accounts.NewRefusal("bad-subject", "bad activation JWT Subject in request")
	ErrHash    = accounts.NewRefusal("bad-jwt", "bad activation hash in request")
	// ErrSave is wrapped with its cause.
	ErrSave     = accounts.NewRefusal("save-failed", "error saving activation JWT")
	ErrTooLarge = accounts.NewRefusal("too-large", "the activation JWT is larger than 16384 bytes")
	ErrNotFound = errors.New("no matching activation JWT")
)

const (
	// maxTokenBytes bounds a token, unless it comes from a file. An account may push any number of
	// tokens, and a real one has some 600 bytes.
	maxTokenBytes = 16 << 10
	// maxVerdictBytes bounds the memory for verified tokens. verdictBytes is what each takes beside
	// its text; most of that are its claims.
	maxVerdictBytes = 4 << 20
	verdictBytes    = 1 << 10
	// repeatInterval is how often an unchanged token is announced again.
	repeatInterval = 5 * time.Second
)

// Store keeps tokens by hash, with some of the methods of accounts.Store and accounts.Committer.
type Store interface {
	accounts.Loader
	// Put commits a token if allow agrees. There are no tombstones of tokens, and no index.
	Put(ctx context.Context, key, kind string, jwt []byte,
		allow func(jwtstore.Stored) (jwtstore.Version, error)) (seq uint64, err error)
}

// Publisher publishes a token once.
type Publisher interface {
	// PublishActivation returns at once. It reports false if NATS is not connected.
	PublishActivation(t *Token) (published bool)
}

// Connection describes the connection to NATS. *notifier.Notifier meets it.
type Connection interface {
	// MaxPayload is the largest message in bytes; 0 means unknown.
	MaxPayload() int
	// IsConfigured reports whether there is a NATS at all.
	IsConfigured() bool
}

// Options is what a Registry needs.
type Options struct {
	Accounts   *accounts.Registry // has the accounts that export
	Store      Store
	Connection Connection
	Publisher  Publisher         // nil: tokens are not announced
	Observer   accounts.Observer // nil: decisions are not reported
	AllowOlder bool              // an older token may replace a newer one
	ReadOnly   bool              // only files are taken
	Log        *slog.Logger      // nil: discard
	Now        func() time.Time  // nil: time.Now
}

// Registry is the policy for tokens, and what is served for each hash. It has no map of all tokens:
// what is stored is in the Store.
type Registry struct {
	Options
	// A reload may replace it while requests ask.
	primary   atomic.Pointer[accounts.Primary] // nil in it: this server follows no other one
	verdicts  *accounts.Verdicts[*Token]       // by hash; without the issuer, which may change
	misses    *accounts.Misses[*Token]         // Gets of what is not stored, by hash
	announced accounts.Recently                // unchanged tokens that were announced
}

// New returns a Registry that works at once. It starts nothing.
func New(o Options) *Registry {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Registry{
		Options: o,
		verdicts: accounts.NewVerdicts(o.Store, maxVerdictBytes,
			func(*Token) int { return verdictBytes }, o.Log),
		misses:    accounts.NewMisses[*Token](),
		announced: accounts.Recently{Period: repeatInterval},
	}
	r.SetPrimary(nil)
	return r
}

// SetPrimary replaces the account server that this one follows. nil means none.
func (r *Registry) SetPrimary(p accounts.Primary) { r.primary.Store(&p) }

// Announce publishes a token: a changed one always, an unchanged one at most once per
// repeatInterval.
func (r *Registry) Announce(t *Token, changed bool) {
	isRepeated := !changed && !r.announced.Allow(t.Key, r.Now())
	// PublishActivation comes last: a token that is only repeated is not published.
	if r.Publisher == nil || isRepeated || r.Publisher.PublishActivation(t) {
		return
	}
	why := "NATS is not connected"
	if !r.Connection.IsConfigured() {
		why = "no NATS configured"
	}
	// The line has the words of the original.
	short := logging.ShortKey(t.Key)
	r.Log.Info(fmt.Sprintf("skipping activation notification for %s, %s", short, why))
}
