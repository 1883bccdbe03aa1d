// Package httpapi answers HTTP: it reads a request, asks the gate, and writes what the gate said.
//
//	request ──> cors ──> match ──> Guard ──> handler ──> Gate     route.go, cors.go, guard.go, account.go, post.go
//	                       │          └─ error ──> answer   errors.go: the one table of status and text
//	                       └─ no route ──> redirect, or 404 with a hint
//
// It has no rule of its own about JWTs. A path segment that is not a public account key goes nowhere: not to the
// gate, not into a log line, not into an answer.
package httpapi

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"nats-account-server/internal/accounts"
)

// Gate is where accounts are read and let in. Keys given to it are valid public account keys.
type Gate interface {
	// Find returns an account that passed the gate's check, if need be from another server; that takes up to a second.
	// The error wraps ErrNotFound, ErrUnreadable or ErrDamaged of package accounts.
	Get(ctx context.Context, key string) (*accounts.Account, error)
	// Raw returns the stored bytes as they lie there, for people to look at. The error wraps ErrNotFound or
	// ErrUnreadable.
	GetRaw(ctx context.Context, key string) ([]byte, error)
	// Put lets a JWT in. The errors are those of package accounts.
	Put(ctx context.Context, key string, token []byte, from accounts.Origin) (accounts.Result, error)
	// Refuse tells whoever keeps account of it that a JWT was refused before it came to Put.
	Refuse(path string, token []byte, src accounts.Origin, reason string, err error)
	// Announce announces the stored JWT once more. The error wraps ErrAnnounce.
	Announce(ctx context.Context, key string) error
	// Rescan looks through the store for what was changed by hand; Pack yields the accounts and JWTs that are servable and
	// have not expired, by key. The error of Rescan wraps ErrUnreadable.
	Rescan(ctx context.Context) error
	Pack(ctx context.Context) iter.Seq2[string, []byte]
	// Activate lets an activation token in, GetActivation gives a stored one by its hash, GetRawActivation what lies there
	// unchecked. AnnounceActivation publishes one, not on every occasion unless it has changed.
	Activate(ctx context.Context, token []byte, src accounts.Origin) (a *accounts.Activation, changed bool, err error)
	GetActivation(ctx context.Context, hash string) (*accounts.Activation, error)
	GetRawActivation(ctx context.Context, hash string) ([]byte, error)
	AnnounceActivation(a *accounts.Activation, changed bool)
	// Report says what is known of every nats-server about the stored JWT; asking them takes up to a second.
	Report(ctx context.Context, key string, ask bool) accounts.Report
}

// Options is what an API needs.
type Options struct {
	Gate     Gate
	Guard    Guard            // nil: everybody may read and write
	Operator []byte           // JWT served at /jwt/v1/operator, byte for byte; nil: that route is a 404
	ReadOnly bool             // there is no POST
	Primary  string           // URL of the server that takes the pushes, if this one is ReadOnly since it follows that one
	MaxPack  int              // accounts in a pack at most; below 0 there is no limit
	Secret   bool             // the operator's JWT is only for those whom the Guard knows
	Log      *slog.Logger     // nil: discard
	Now      func() time.Time // nil: time.Now
}

// API is the handler of every HTTP request. It keeps nothing between requests but counters for the log.
type API struct {
	gate     Gate
	guard    Guard
	operator []byte
	log      *slog.Logger
	now      func() time.Time

	routes   map[string]*route // by path
	account  *route            // /jwt/v1/accounts/<key>
	token    *route            // /jwt/v1/activations/<hash>
	tokens   *route            // /jwt/v1/activations
	maxPack  int
	readOnly bool
	primary  string
	packing  packers
	missed   missed
	turn     chan struct{} // of who makes all nats-servers answer
	failed   failures
}

// New returns the handler.
func New(o Options) *API {
	a := &API{gate: o.Gate, guard: o.Guard, operator: o.Operator, log: o.Log, now: o.Now, maxPack: o.MaxPack, readOnly: o.ReadOnly, primary: o.Primary, turn: make(chan struct{}, 1)}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.missed.since = a.now()
	a.failed.since = a.missed.since
	a.addRoutes()
	if o.Secret && a.operator != nil {
		a.routes[pathOperator] = a.secretOperator()
	}
	return a
}

// maxHeader is how much a request line and its headers may be together, in bytes.
const maxHeader = 32 << 10

// headerSlop is what net/http takes beyond the limit that it is given.
const headerSlop = 4 << 10

// NewServer returns a server for the handler. read is what a whole request may take, also how long an idle
// connection is kept; write is what the answer may take from then on. 0 means no limit.
func (a *API) NewServer(read, write time.Duration) *http.Server {
	s := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: read,
		ReadTimeout:       read,
		IdleTimeout:       read,
		MaxHeaderBytes:    maxHeader - headerSlop,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	// net/http starts this clock when the headers are read. A body that takes all of its time must still get its
	// answer; and a body that may take for ever leaves no moment to start from.
	if read > 0 && write > 0 {
		s.WriteTimeout = read + write
	}
	return s
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer a.rescue(w)
	if r.TransferEncoding != nil {
		// A Content-Length beside it was ignored. Who stands before us may have gone by that, and take what follows for
		// something else: nothing follows.
		w.Header().Set("Connection", "close")
	}
	if isPreflight(r) {
		answerPreflight(w, r)
		return
	}
	shareWithOrigin(w.Header(), r)
	rt, key := a.match(r.URL.Path)
	if a.tracing(r) {
		a.trace(r, r.RemoteAddr+": "+requested(r, rt, key))
	}
	if err := a.dispatch(w, r, rt, key); err != nil {
		a.fail(w, r, key, err)
	}
}

// rescue turns a panic into a 500 and an ERR line with its stack. Handlers write last, so nothing was sent yet.
func (a *API) rescue(w http.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	a.log.Error("panic: " + harmless(fmt.Sprintf("%v - %s", p, debug.Stack()), maxStack))
	answer{status: http.StatusInternalServerError, text: textInternal, page: true}.write(w)
}
