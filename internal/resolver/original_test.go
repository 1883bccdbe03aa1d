package resolver_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// original behaves on NATS as the original account server was observed to. It takes every update
// that decodes, in any order. It announces every change twice, and merges packs unverified, so that
// the last one of a second wins.
type original struct {
	nc    *nats.Conn
	delay time.Duration // of what it announces

	mu     sync.Mutex
	tokens map[string][]byte
}

const originalAnswer = `{
	"data": {"code": 200, "message": "Updated jwt"},
	"server": {"name": "nats-account-server", "id": "NORIGINAL", "ver": "1.0.0"}
}`

func startOriginal(t *testing.T, env *environment) *original {
	t.Helper()
	nc := natstest.Connect(t, env.nats.ClientURL(), env.creds, nats.NoEcho())
	o := &original{nc: nc, tokens: map[string][]byte{}}
	inbox := o.nc.NewInbox()
	for subject, handle := range map[string]nats.MsgHandler{
		"$SYS.ACCOUNT.*.CLAIMS.UPDATE": func(m *nats.Msg) {
			o.take(m.Data, true)
			if m.Reply != "" {
				_ = m.Respond([]byte(originalAnswer))
			}
		},
		inbox: func(m *nats.Msg) {
			for line := range bytes.Lines(m.Data) {
				if _, token, ok := accounts.CutPackLine(line); ok {
					o.take(token, false)
				}
			}
		},
		lookups: func(m *nats.Msg) {
			o.mu.Lock()
			defer o.mu.Unlock()
			key := strings.Split(m.Subject, ".")[3]
			if token := o.tokens[key]; token != nil {
				_ = m.Respond(token)
			}
		},
	} {
		if _, err := o.nc.Subscribe(subject, handle); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.nc.QueueSubscribe("$SYS.REQ.CLAIMS.PACK", "responder", func(m *nats.Msg) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if digest := o.digest(); !bytes.Equal(m.Data, digest[:]) {
			for key, token := range o.tokens {
				_ = m.Respond(accounts.AppendPackLine(nil, key, token))
			}
		}
		_ = m.Respond(nil)
	}); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				o.mu.Lock()
				digest := o.digest()
				o.mu.Unlock()
				_ = o.nc.PublishRequest("$SYS.REQ.CLAIMS.PACK", inbox, digest[:])
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return o
}

func (o *original) digest() (sum [32]byte) {
	for _, token := range o.tokens {
		for i, b := range sha256.Sum256(token) {
			sum[i] ^= b
		}
	}
	return sum
}

// take stores a JWT, but one out of a pack only if the stored one is not newer.
func (o *original) take(token []byte, update bool) {
	claims, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	had := o.tokens[claims.Subject]
	if had != nil && !update {
		if old, err := jwt.DecodeAccountClaims(string(had)); err == nil &&
			old.IssuedAt > claims.IssuedAt {
			return
		}
	}
	if bytes.Equal(had, token) {
		return
	}
	o.tokens[claims.Subject] = bytes.Clone(token)
	time.AfterFunc(o.delay, func() {
		for range 2 {
			_ = o.nc.Publish("$SYS.ACCOUNT."+claims.Subject+".CLAIMS.UPDATE", token)
		}
	})
}

func (o *original) has(key string, token []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Equal(o.tokens[key], token)
}

// Each gets other JWTs, in every order. In the end nothing is announced any more.
func TestThisServerAndTheOriginalAgree(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	theirs, srv := startOriginal(t, env), startServer(t, env)
	newest := map[string][]byte{}
	same := func() {
		t.Helper()
		for key, token := range newest {
			srv.eventuallyHas(t, key, token)
			natstest.Eventually(t, "the original has it",
				func() bool { return theirs.has(key, token) })
		}
	}
	for i := range 12 {
		a := jwttest.NewAccount(t)
		older, newer := env.signed(t, a, 100), env.signed(t, a, 50)
		newest[a.ID] = newer
		switch i % 4 {
		case 0:
			theirs.take(older, true)
			srv.push(t, a.ID, newer)
		case 1:
			srv.push(t, a.ID, newer)
			theirs.take(older, true) // it may not have got the newer one yet
		case 2:
			srv.push(t, a.ID, older)
			theirs.take(newer, true)
			// an announcement in flight could overwrite a newer one there, since it takes any order
			same()
		default:
			srv.disconnect()
			theirs.take(newer, true)
			srv.connect(t)
		}
	}
	same()
	srv.wantUpdatesEnd(t)
	for _, name := range srv.store.Outbox().Servers() {
		if name != "n1" {
			t.Errorf("%s counts as a nats-server", name)
		}
	}
}
