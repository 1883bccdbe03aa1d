// Package replica follows a primary account server over HTTP.
//
//	start      GET <primary>/jwt/v1/pack?max=N      every line through the gate, again and again until it works once     pack.go
//	a miss     GET <primary>/jwt/v1/accounts/<key>  within a second, through the gate, and served                        miss.go
//	a hit      served at once; asked for in the background if that was longer ago than cacheFor                          refresh.go
//
// and activation tokens like accounts. ask.go knows how the primary is asked, and what its answers mean.
//
// What the primary says goes through the gate like what any peer says. What is stored is served whatever the primary
// does. That there is no account is only known from a primary that has just said so.
package replica

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
)

// Gate is where accounts are read and let in. Its errors are those of package accounts.
type Gate interface {
	GetLocal(ctx context.Context, key string) (*accounts.Account, error)
	// Find is Lookup, and asks other account servers over NATS.
	Get(ctx context.Context, key string) (*accounts.Account, error)
	// GetRaw returns what is stored, unchecked.
	GetRaw(ctx context.Context, key string) ([]byte, error)
	// Put lets in what the primary has.
	Put(ctx context.Context, key string, token []byte, from accounts.Origin) (accounts.Result, error)
	// Foreign judges what a peer has without storing it: it may have expired.
	Verify(key string, token []byte) (*accounts.Account, error)
}

// Options is what a Replica needs.
type Options struct {
	Primary     string        // URL without what follows the host, or up to a path before /jwt/v1; may hold a user and a password
	Timeout     time.Duration // of the primary's answer, and between parts of a pack
	MaxPack     int           // accounts to ask for at the start; 0 asks for none, below 0 for all
	Gate        Gate
	Activations *activations.Registry
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

// Replica follows one primary. Its methods may be called from any goroutine, also before Run and after it.
type Replica struct {
	Options
	id      string // of this process, to know its own questions by
	client  *http.Client
	misses  singleflight.Group
	missing chan struct{} // a slot for each miss on its way
	mood    mood

	life       context.Context // of what happens in the background
	end        context.CancelFunc
	background sync.WaitGroup

	mu     sync.Mutex
	fresh  map[string]time.Time // until when an account or a token is not asked for again
	asking map[string]bool
}

var source = accounts.Origin{Kind: accounts.KindPrimary, Peer: true}

// New returns a Replica that has not asked for anything yet.
func New(o Options) *Replica {
	o.Primary = strings.TrimRight(o.Primary, "/")
	if o.Now == nil {
		o.Now = time.Now
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = o.Timeout
	transport.MaxIdleConnsPerHost = mostMisses
	r := &Replica{Options: o, id: newID(), client: &http.Client{Transport: transport}, missing: make(chan struct{}, mostMisses),
		fresh: map[string]time.Time{}, asking: map[string]bool{}}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Run asks for the initial pack until that works. It returns when ctx ends and nothing happens in the background any more.
func (r *Replica) Run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	defer r.stop()
	if r.MaxPack == 0 {
		r.Log.Info("skipping initial JWT pack from primary, config has MaxReplicationPack of 0")
	}
	said := ""
	for wait := againAfter; r.MaxPack != 0 && ctx.Err() == nil; wait = min(2*wait, againMost) {
		err := r.pull(ctx)
		if err == nil {
			break
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			r.Log.Warn(fmt.Sprintf("unable to initialize from primary, %s, will use what is on disk", text))
		}
		pause(ctx, wait)
	}
	<-ctx.Done()
}

// stop ends what happens in the background, and lets those have their answer who wait for one. Nothing begins any more then.
func (r *Replica) stop() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.background.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
