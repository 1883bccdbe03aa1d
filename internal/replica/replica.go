// Package replica follows a primary account server over HTTP.
//
//	at the start  GET …/jwt/v1/pack?max=N      each line is put; until it works once       pack.go
//	a miss        GET …/jwt/v1/accounts/<key>  within a second                             source.go
//	a hit         the same in the background   if the last answer is older than an hour    source.go
//
// Activation tokens are asked for like accounts. How the primary is asked, and what its answers
// mean, is in ask.go; whether it answers as it should, in state.go. Package accounts, whose Primary
// a Replica is, decides what is stored of its answers.
//
// A Replica may be used from any goroutine, also before Run and after it. Once Run has returned
// nothing happens in the background any more.
package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// maxIdleConns bounds the connections to the primary that are kept for the next requests. It is as
// many as there are misses at a time.
const maxIdleConns = 64

// pollInterval is how often the primary is asked for no account, so that it is known whether it
// answers.
const pollInterval = 30 * time.Second

// Options is what a Replica needs.
type Options struct {
	// URL up to the host, or up to a path before /jwt/v1; may hold a user and a password
	Primary     string
	Timeout     time.Duration // of the primary's answer, and between parts of a pack
	MaxPack     int           // accounts to ask for at the start; 0 asks for none, below 0 for all
	Accounts    *accounts.Registry
	Activations *activations.Registry
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

// Replica follows one primary.
type Replica struct {
	Options
	id     string       // of this process in a Via header
	client *http.Client // follows redirects; the context of a request bounds its time
	health health
	packed atomic.Bool // the initial pack is in, or none is asked for

	life      context.Context    // of what happens in the background; ends with Run
	end       context.CancelFunc // ends life; mu must be held
	refreshes errgroup.Group     // in the background; none begins after the end of life

	mu    sync.Mutex
	fresh map[string]time.Time // until when an account or a token is not asked for again
}

// New returns a Replica that has not asked for anything yet.
func New(o Options) *Replica {
	o.Primary = strings.TrimRight(o.Primary, "/")
	if o.Now == nil {
		o.Now = time.Now
	}
	// The clone keeps the proxy of the environment.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// An answer may be long: only its beginning must come in time.
	transport.ResponseHeaderTimeout = o.Timeout
	transport.MaxIdleConnsPerHost = maxIdleConns
	r := &Replica{
		Options: o,
		id:      accounts.IDPrefix + rand.Text()[:16],
		client:  &http.Client{Transport: transport},
		fresh:   map[string]time.Time{},
	}
	r.refreshes.SetLimit(maxRefreshes)
	// It has no parent: a Replica may be asked before Run is called.
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Run asks for the initial pack until that works, and then whether the primary is there. It returns
// when ctx has ended and nothing happens in the background any more.
func (r *Replica) Run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	defer func() {
		r.mu.Lock()
		r.end()
		r.mu.Unlock()
		_ = r.refreshes.Wait() // refresh logs its errors
	}()
	// Accounts then come one by one, as they are asked for.
	if r.MaxPack == 0 {
		r.Log.Info("skipping initial JWT pack from primary, config has MaxReplicationPack of 0")
	}
	var failing logging.Condition
	// The wait doubles, so that a primary that is down is not asked all the time.
	for wait := firstRetry; r.MaxPack != 0 && ctx.Err() == nil; wait = min(2*wait, maxRetry) {
		err := r.pull(ctx)
		if err == nil {
			r.note(ctx, nil)
			break
		}
		if ctx.Err() == nil {
			failing.Log(r.Log,
				fmt.Errorf("unable to initialize from primary, %w, will use what is on disk", err))
		}
		pause.For(ctx, wait)
	}
	r.packed.Store(ctx.Err() == nil)
	for pause.For(ctx, pollInterval) {
		r.askForNothing(ctx)
	}
}
