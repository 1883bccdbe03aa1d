// Package replica follows a primary account server over HTTP.
//
//	start      GET <primary>/jwt/v1/pack?max=N      every line through the gate, again and again until it works once
//	a miss     GET <primary>/jwt/v1/accounts/<key>  within a second, through the gate, and served
//	a hit      served at once; asked for in the background if that was longer ago than cacheFor
//
// What the primary says goes through the gate like what any peer says. What is stored is served whatever the primary
// does. Who has never reached the primary can't know what it has: then a miss is not a 404.
package replica

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	// cacheFor is how long a JWT from the primary is not asked for again; updates come over NATS.
	cacheFor = time.Hour
	// retryAfter is how long it is not asked for again when that has failed.
	retryAfter = 10 * time.Second
	// missWithin is how long the primary gets for an account that somebody waits for.
	missWithin = time.Second
	// againAfter is the wait after the first pack that failed; it doubles up to againMost.
	againAfter = time.Second
	againMost  = time.Minute
	// mostLine bounds a line of a pack and a JWT, in bytes.
	mostLine = 4 << 20
	// mergedAtOnce is how many lines are on their way through the gate: their commits share a sync.
	mergedAtOnce = 32
	// mostFresh bounds the accounts that are known to be fresh.
	mostFresh = 1 << 17
)

// Gate is where accounts are read and let in.
type Gate interface {
	Lookup(ctx context.Context, key string) (*accounts.Account, error)
	// Find is Lookup, and asks others.
	Find(ctx context.Context, key string) (*accounts.Account, error)
	// Merge lets in what a peer has.
	Merge(ctx context.Context, key string, token []byte, src accounts.Source) (changed bool, err error)
	// Activate lets an activation token in.
	Activate(ctx context.Context, token []byte, src accounts.Source) (a *accounts.Activation, changed bool, err error)
	LookupActivation(ctx context.Context, hash string) (*accounts.Activation, error)
}

// Options is what a Replica needs.
type Options struct {
	Primary string        // URL without what follows the host, or up to a path before /jwt/v1
	Timeout time.Duration // of the primary's answer, and between parts of a pack
	MaxPack int           // accounts to ask for at the start; 0 asks for none, below 0 for all
	Gate    Gate
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Replica follows one primary. Its methods may be called from any goroutine.
type Replica struct {
	Options
	client *http.Client
	synced atomic.Bool // everything that the primary had once is here: what it did not have then it did not have

	mu     sync.Mutex
	fresh  map[string]time.Time // until when an account is not asked for again
	asking map[string]bool
}

var source = accounts.Source{Door: "primary", Peer: true}

// New returns a Replica that has not asked for anything yet.
func New(o Options) *Replica {
	o.Primary = strings.TrimSuffix(o.Primary, "/")
	if o.Now == nil {
		o.Now = time.Now
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = o.Timeout
	transport.MaxIdleConnsPerHost = 8
	return &Replica{Options: o, client: &http.Client{Transport: transport}, fresh: map[string]time.Time{}, asking: map[string]bool{}}
}

// Run asks for the initial pack until that works, and returns when ctx ends.
func (r *Replica) Run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
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

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// usualMost is the limit of a pack that every version has if nothing else is configured.
const usualMost = 10000

// errTooMany says that the primary gives less than it was asked for.
var errTooMany = errors.New("server returned status 400 Bad Request")

// pull takes the initial pack: MaxPack accounts, or as many as the primary gives at all.
func (r *Replica) pull(ctx context.Context) error {
	most := r.MaxPack
	n, err := r.pack(ctx, fmt.Sprintf("?max=%d", most))
	if errors.Is(err, errTooMany) {
		most = 0 // nobody knows
		n, err = r.pack(ctx, "")
	}
	if err != nil {
		return err
	}
	if most < 0 {
		most = usualMost
	}
	r.synced.Store(n < most)
	if n >= most {
		r.Log.Warn(fmt.Sprintf("the primary may have more than the %d accounts of its pack: others are only known after they have been asked for", n))
	}
	return nil
}

// pack lets in what the primary gives, and returns how much that is.
func (r *Replica) pack(ctx context.Context, query string) (lines int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(r.Timeout, func() { cancel(fmt.Errorf("it says nothing for %s", r.Timeout)) })
	defer silent.Stop()
	body, status, err := r.get(ctx, r.Primary+"/jwt/v1/pack"+query)
	switch {
	case err != nil:
		return 0, cmp.Or(context.Cause(ctx), err)
	case strings.HasPrefix(status, "400") && query != "":
		return 0, errTooMany
	case status != "":
		return 0, fmt.Errorf("server returned status %q", status)
	}
	defer body.Close()
	text := bufio.NewScanner(body)
	text.Buffer(make([]byte, 64<<10), mostLine)
	m := merge{r: r, ctx: ctx, turn: make(chan struct{}, mergedAtOnce)}
	for text.Scan() {
		silent.Stop() // the gate may take its time
		m.line(text.Text())
		silent.Reset(r.Timeout)
	}
	silent.Stop()
	m.all.Wait()
	m.activations()
	if err := text.Err(); err != nil {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	m.report()
	return m.lines, nil
}

// get returns the body of a 200, or the status of any other answer and an empty body.
func (r *Replica) get(ctx context.Context, url string) (body io.ReadCloser, status string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, "", nil
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 4096) // so that the connection can be used again
	_ = answer.Body.Close()
	return http.NoBody, answer.Status, nil
}

// merge is a pack on its way through the gate.
type merge struct {
	r    *Replica
	ctx  context.Context
	turn chan struct{}
	all  sync.WaitGroup

	lines int // that were not empty

	mu      sync.Mutex
	changed int
	refused int
	later   [][]byte // activation tokens: 0.8.4 has them among the accounts, and before those who have signed them
	first   string   // why the first one was
}

func (m *merge) line(text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	m.lines++
	key, token, found := strings.Cut(text, "|")
	if accounts.IsActivationHash(key) && len(m.later) < mostFresh {
		m.later = append(m.later, []byte(token))
		return
	}
	m.turn <- struct{}{}
	m.all.Go(func() {
		defer func() { <-m.turn }()
		changed, err := false, errors.New("the line is not one key and one JWT")
		if found {
			changed, err = m.r.Gate.Merge(m.ctx, key, []byte(token), source)
		}
		m.note(key, changed, err)
	})
}

// activations lets those in that came with the pack, now that it is known who may sign them.
func (m *merge) activations() {
	for _, token := range m.later {
		_, _, err := m.r.Gate.Activate(m.ctx, token, source)
		m.note("activation", false, err)
	}
}

func (m *merge) note(key string, changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, older := errors.AsType[*accounts.OlderError](err)
	switch {
	case changed:
		m.changed++
	case err == nil, older, errors.Is(err, accounts.ErrLesser):
	default:
		if m.refused++; m.refused == 1 {
			m.first = fmt.Sprintf("%.12q: %s", key, err)
		}
	}
}

func (m *merge) report() {
	m.r.Log.Info(fmt.Sprintf("initialized from primary, %d accounts are newer than before", m.changed))
	if m.refused > 0 {
		m.r.Log.Warn(fmt.Sprintf("%d entries of the primary's pack are refused, the first is %.500q", m.refused, m.first))
	}
}

// Find returns a stored account at once, and any other one from the primary. The error wraps those of package accounts;
// it is ErrUnreadable while nobody can know whether the primary has the account.
func (r *Replica) Find(ctx context.Context, key string) (*accounts.Account, error) {
	a, err := r.Gate.Lookup(ctx, key)
	switch {
	case err == nil:
		r.refresh(key)
		return a, nil
	case !errors.Is(err, accounts.ErrNotFound):
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, missWithin)
	defer cancel()
	known, err := r.fetch(within, key)
	if err == nil {
		return r.Gate.Lookup(ctx, key)
	}
	if a, lost := r.Gate.Find(ctx, key); lost == nil {
		return a, nil // another account server has it
	}
	if known || r.synced.Load() {
		return nil, accounts.ErrNotFound
	}
	return nil, fmt.Errorf("%w: the primary does not answer: %w", accounts.ErrUnreadable, err)
}

// errLacking says that the primary does not have the account.
var errLacking = errors.New("the primary does not have it")

// fetch asks the primary for an account and lets in what it has. known says that the primary has answered.
func (r *Replica) fetch(ctx context.Context, key string) (known bool, err error) {
	body, status, err := r.get(ctx, r.Primary+"/jwt/v1/accounts/"+key)
	if err != nil {
		return false, err
	}
	defer body.Close()
	if status != "" {
		lacking := strings.HasPrefix(status, "404") || strings.HasPrefix(status, "500") // 0.8.4 says 500 of unknown accounts
		return lacking, fmt.Errorf("%w: status %q", errLacking, status)
	}
	token, err := io.ReadAll(io.LimitReader(body, mostLine))
	if err != nil {
		return false, err
	}
	r.isFresh(key)
	if _, err := r.Gate.Merge(ctx, key, token, source); err != nil {
		return true, err
	}
	return true, nil
}

// LookupActivation returns a stored activation token, or the primary's.
func (r *Replica) LookupActivation(ctx context.Context, hash string) (*accounts.Activation, error) {
	a, err := r.Gate.LookupActivation(ctx, hash)
	if !errors.Is(err, accounts.ErrNoActivation) || !accounts.IsActivationHash(hash) {
		return a, err
	}
	within, cancel := context.WithTimeout(ctx, missWithin)
	defer cancel()
	body, status, failed := r.get(within, r.Primary+"/jwt/v1/activations/"+hash)
	if failed != nil || status != "" {
		return nil, err
	}
	defer body.Close()
	token, failed := io.ReadAll(io.LimitReader(body, mostLine))
	if failed != nil {
		return nil, err
	}
	exporter := accounts.ExporterOf(token)
	if exporter == "" {
		return nil, err
	}
	if _, failed := r.Find(within, exporter); failed != nil {
		return nil, err
	}
	if _, _, failed := r.Gate.Activate(within, token, source); failed != nil {
		return nil, err
	}
	return r.Gate.LookupActivation(ctx, hash)
}

func (r *Replica) isFresh(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fresh) >= mostFresh {
		clear(r.fresh)
	}
	r.fresh[key] = r.Now().Add(cacheFor)
}

// refresh asks for a stored account in the background, if that was long ago.
func (r *Replica) refresh(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking[key] || len(r.asking) >= mergedAtOnce || r.Now().Before(r.fresh[key]) {
		return
	}
	r.asking[key] = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
		defer cancel()
		_, err := r.fetch(ctx, key)
		if err != nil {
			r.Log.Debug(fmt.Sprintf("%.12s - primary did not return with status OK - %s", key, err))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.asking, key)
		if err != nil {
			r.fresh[key] = r.Now().Add(retryAfter)
		}
	}()
}
