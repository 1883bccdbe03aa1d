package accounts

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// maxVerdictBytes bounds the JWTs that are kept in memory with their verdicts.
	maxVerdictBytes = 64 << 20
	// maxErrorBytes bounds what a log line shows of an error about a JWT.
	maxErrorBytes = 512
)

// verdict is what was found out about one version of a stored JWT. It is never changed.
type verdict struct {
	mark  uint64         // of the trust under which it was found out
	stamp jwtstore.Stamp // under which the store returned the JWT
	token []byte         // as it is stored
	hash  Digest         // of token without the space around it

	head    trust.Head
	account *Account // nil if err is set
	err     error    // why the JWT is not served; wraps ErrDamaged
}

// isAbout reports whether the verdict is about these bytes under this trust. v may be nil.
func (v *verdict) isAbout(t *Trust, token []byte) bool {
	return v != nil && v.mark == t.mark && bytes.Equal(v.token, token)
}

// verdicts keeps the verdicts on stored JWTs, so that each version is verified once. What it
// forgets is read and verified again. The store decides what is served; verdicts only saves the
// work.
type verdicts struct {
	log *slog.Logger

	mu    sync.RWMutex
	byKey map[string]*verdict
	bytes int // of the JWTs
}

// get returns the last verdict on an account, nil if there is none.
func (vs *verdicts) get(key string) *verdict {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	return vs.byKey[key]
}

// find returns the verdict on these bytes: the one that is remembered, or a new one. It remembers
// nothing.
func (vs *verdicts) find(t *Trust, key string, token []byte) (v *verdict, known bool) {
	if v := vs.get(key); v.isAbout(t, token) {
		return v, true
	}
	bare := bytes.TrimSpace(token)
	v = &verdict{mark: t.mark, token: token, hash: sha256.Sum256(bare)}
	var err error
	if v.head, err = t.Operator.Check(key, bare); err != nil {
		v.err = fmt.Errorf("%w: %w", ErrDamaged, err)
		return v, false
	}
	v.account = newAccount(token, v.head, v.hash)
	return v, false
}

// judge returns the verdict on what the store has returned under a stamp, and remembers it. A
// damaged version is logged once, however often it is asked for.
func (vs *verdicts) judge(t *Trust, key string, token []byte, stamp jwtstore.Stamp) *verdict {
	v, known := vs.find(t, key, token)
	switch {
	case known && v.stamp == stamp:
		return v
	case !known && v.err != nil:
		vs.log.Warn(fmt.Sprintf("%s - the stored JWT is not served - %s", logging.ShortKey(key),
			logging.Quote(v.err.Error(), maxErrorBytes)))
	}
	stamped := *v
	stamped.stamp = stamp
	vs.put(key, &stamped)
	return &stamped
}

// put remembers a verdict.
func (vs *verdicts) put(key string, v *verdict) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.byKey == nil {
		vs.byKey = make(map[string]*verdict)
	}
	vs.forgetLocked(key)
	for other := range vs.byKey { // any will do: the order of a map is random
		if vs.bytes+len(v.token) <= maxVerdictBytes {
			break
		}
		vs.forgetLocked(other)
	}
	vs.byKey[key] = v
	vs.bytes += len(v.token)
}

// forget drops the verdict on an account if it is still this one. A nil verdict stands for any.
func (vs *verdicts) forget(key string, v *verdict) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v == nil || vs.byKey[key] == v {
		vs.forgetLocked(key)
	}
}

// forgetLocked drops the verdict on an account. vs.mu must be held.
func (vs *verdicts) forgetLocked(key string) {
	if old, found := vs.byKey[key]; found {
		vs.bytes -= len(old.token)
		delete(vs.byKey, key)
	}
}
