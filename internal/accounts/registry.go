package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// Trust is whom the gate believes. It is replaced as a whole by a reload and never changed.
type Trust struct {
	Operator *trust.Operator // nil: nothing is let in, and reads only need a JWT that is consistent in itself
	System   *Account        // served when the store lacks the system account's JWT; nil if none is configured
}

// Options is what a Registry needs.
type Options struct {
	Store      Store
	Committer  Committer
	Announcer  Announcer
	Observer   Observer // nil: nobody wants to know
	Finder     Finder   // nil: nobody else is asked
	Signer     Signer   // nil: there is no signing service
	Trust      Trust
	AllowOlder bool             // let an older JWT replace a newer one
	ReadOnly   bool             // take nothing but files
	Log        *slog.Logger     // nil: discard
	Now        func() time.Time // nil: time.Now
}

// Registry is the gate and the registry. Its methods may be called at any time from any goroutine.
type Registry struct {
	store      Store
	committer  Committer
	announcer  Announcer
	observer   Observer
	finder     Finder
	signer     Signer
	allowOlder bool
	readOnly   bool
	log        *slog.Logger
	now        func() time.Time

	trust     atomic.Pointer[Trust]
	cache     cache[*entry]
	roll      roll
	surveying sync.Mutex  // one Rescan at a time
	surveyed  atomic.Bool // the roll is complete
	repeat    limiter
	changed   limiter
	reminders reminders
}

// New returns a Registry that works at once.
func New(o Options) *Registry {
	r := &Registry{
		store:      o.Store,
		committer:  o.Committer,
		announcer:  o.Announcer,
		observer:   o.Observer,
		signer:     o.Signer,
		finder:     o.Finder,
		allowOlder: o.AllowOlder,
		readOnly:   o.ReadOnly,
		log:        o.Log,
		now:        o.Now,
		repeat:     limiter{every: repeatEvery, last: map[string]time.Time{}},
		changed:    limiter{every: restEvery, last: map[string]time.Time{}},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.SetTrust(o.Trust)
	return r
}

// SetTrust replaces whom the gate believes. Every stored JWT is checked again when it is next asked for.
func (r *Registry) SetTrust(t Trust) {
	r.trust.Store(&t)
	r.surveyed.Store(false)
}

// Lookup returns the stored JWT of an account, checked: it decodes, it is the account's, and the operator signed
// it. It may be expired. The error is ErrNotFound, or wraps ErrUnreadable or ErrDamaged.
func (r *Registry) GetLocal(_ context.Context, key string) (*Account, error) {
	trust := r.trust.Load()
	had := r.cache.get(key)
	known := Stamp{}
	if had != nil && had.trust == trust {
		known = had.stamp
	}
	token, stamp, err := r.store.Load(key, known)
	switch {
	case err != nil:
		return r.absent(trust, key, err)
	case token == nil:
		return had.account, had.err
	}
	return r.examine(trust, key, token, stamp, had)
}

// Raw returns what lies in the store for an account, unchecked, for people to look at. What other servers have is
// checked.
func (r *Registry) GetRaw(ctx context.Context, key string) ([]byte, error) {
	token, _, err := r.store.Load(key, Stamp{})
	if err == nil {
		return token, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	a, err := r.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return a.JWT, nil
}

// absent answers for an account that the store can't give.
func (r *Registry) absent(trust *Trust, key string, err error) (*Account, error) {
	switch {
	case !errors.Is(err, fs.ErrNotExist): // it may hold a newer one than the configuration
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case trust.System != nil && trust.System.Key == key:
		r.log.Log(context.Background(), logging.LevelTrace, "returning system JWT from configuration")
		return trust.System, nil
	default:
		return nil, ErrNotFound
	}
}

// examine judges bytes that the store has not shown us under this stamp, and remembers the verdict. Bytes that have
// been judged before are not verified again, and a damaged file is logged once, however often it is asked for.
func (r *Registry) examine(trust *Trust, key string, token []byte, stamp Stamp, had *entry) (*Account, error) {
	e := &entry{trust: trust, stamp: stamp, token: token}
	if had.judged(trust, token) {
		e.account, e.err = had.account, had.err
	} else if head, err := trust.Operator.Check(key, bytes.TrimSpace(token)); err == nil {
		e.account = NewAccount(token, head)
	} else {
		e.err = fmt.Errorf("%w: %w", ErrDamaged, err)
		r.log.Warn(fmt.Sprintf("%s - the stored JWT is not served - %s", short(key), harmless(err.Error())))
	}
	r.cache.put(key, e)
	return e.account, e.err
}

// NewAccount describes a JWT whose head has been checked. Two edits in one second share iat and jti, so the ETag
// needs the bytes as well.
func NewAccount(token []byte, head trust.Head) *Account {
	sum := sha256.Sum256(token)
	return &Account{
		Key:      head.Subject,
		JWT:      token,
		ID:       head.ID,
		IssuedAt: head.IssuedAt,
		Expires:  head.Expires,
		ETag:     fmt.Sprintf("\"%s-%x\"", etagSafe(head.ID), sum[:4]),
	}
}

// etagSafe drops what may not stand in a quoted ETag. A real jti is base32.
func etagSafe(id string) string {
	safe := make([]byte, 0, len(id))
	for _, c := range []byte(id) {
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			safe = append(safe, c)
		}
	}
	return string(safe)
}

// entry is the verdict on one version of one stored JWT.
type entry struct {
	trust   *Trust // under whom it was judged
	stamp   Stamp  // zero: just committed, the store has not shown it yet
	token   []byte
	account *Account // nil if err is set
	err     error
}

func (e *entry) size() int { return len(e.token) }

// judged says whether e is the verdict on these bytes under this trust. e may be nil.
func (e *entry) judged(trust *Trust, token []byte) bool {
	return e != nil && e.trust == trust && bytes.Equal(e.token, token)
}

// cacheSize bounds the JWTs that a cache keeps in memory, in bytes.
const cacheSize = 64 << 20

// cache keeps verdicts on stored JWTs. What it forgets is read and checked again.
type cache[V interface{ size() int }] struct {
	mu      sync.RWMutex
	entries map[string]V
	size    int
}

// get returns nil for what is not there.
func (c *cache[V]) get(key string) V {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[key]
}

func (c *cache[V]) put(key string, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]V)
	}
	c.drop(key)
	for k := range c.entries { // any one will do: the order of a map walk is random
		if c.size+v.size() <= cacheSize {
			break
		}
		c.drop(k)
	}
	c.entries[key] = v
	c.size += v.size()
}

func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
}

func (c *cache[V]) drop(key string) {
	if old, had := c.entries[key]; had {
		c.size -= old.size()
		delete(c.entries, key)
	}
}

// limiter lets something happen once per key and period.
type limiter struct {
	every time.Duration

	mu   sync.Mutex
	last map[string]time.Time
}

// allow says whether it may happen now, and if so remembers that it did.
func (l *limiter) allow(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recent(key, now) {
		return false
	}
	l.set(key, now)
	return true
}

// happened remembers that it did, whether it was allowed or not.
func (l *limiter) happened(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(key, now)
}

// lately says whether it happened in the last period.
func (l *limiter) lately(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recent(key, now)
}

func (l *limiter) recent(key string, now time.Time) bool {
	t, ok := l.last[key]
	return ok && now.Sub(t) < l.every
}

func (l *limiter) set(key string, now time.Time) {
	if len(l.last) >= 4096 {
		l.forget(now)
	}
	l.last[key] = now
}

// undo takes an allowance back that was not used.
func (l *limiter) undo(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, key)
}

func (l *limiter) forget(now time.Time) {
	for k, t := range l.last {
		if now.Sub(t) >= l.every {
			delete(l.last, k)
		}
	}
}
