package bucket_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// kv is the bucket as an administrator uses it.
func (k *keeper) kv(t *testing.T) jetstream.KeyValue {
	t.Helper()
	kv, err := k.js(t).KeyValue(t.Context(), "B")
	must(t, err)
	return kv
}

// What was put into the bucket by hand is taken only if it wins against what is stored. Otherwise what is
// stored is put back: a server with an empty directory would never have the account.
func TestWhatIsPutByHandTakesNoAccountBack(t *testing.T) {
	op := jwttest.NewOperator(t)
	other := jwttest.NewAccount(t)
	for name, value := range map[string]func(t *testing.T, a *jwttest.Account) []byte{
		"an older JWT": func(t *testing.T, a *jwttest.Account) []byte { return issue(t, op, a, 1) },
		"junk":         func(*testing.T, *jwttest.Account) []byte { return []byte("junk") },
		"nothing":      func(*testing.T, *jwttest.Account) []byte { return nil },
		"the JWT of another account": func(t *testing.T, _ *jwttest.Account) []byte {
			return issue(t, op, other, 5)
		},
		"a JWT that no operator has signed": func(t *testing.T, a *jwttest.Account) []byte {
			return issue(t, jwttest.NewOperator(t), a, 5)
		},
		"something huge": func(*testing.T, *jwttest.Account) []byte {
			return []byte(strings.Repeat("x", 900_000))
		},
		"a huge JWT": func(t *testing.T, a *jwttest.Account) []byte {
			return jwttest.Sign(t, jwttest.NewOperator(t).Key, a, began, func(c *jwt.AccountClaims) {
				c.Tags = jwt.TagList{strings.Repeat("x", 600_000)}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
				x: jwttest.NewAccount(t)}
			s.a.start(s.k).await()
			s.push(s.a, 2)
			_, err := s.k.kv(t).Put(t.Context(), "a."+s.x.ID, value(t, s.x))
			must(t, err)
			natstest.Eventually(t, "it is read", func() bool { return s.a.Progress().Revision >= 2 })
			s.a.serves(s.x.ID, s.version(2))
			s.wantInBucket(s.version(2))
			s.b.start(s.k).await()
			s.b.serves(s.x.ID, s.version(2))
			s.a.refuses(0)
			s.b.refuses(0)
			s.push(s.b, 3)
			s.a.serves(s.x.ID, s.version(3))
		})
	}
}

// A newer JWT that was put by hand is taken.
func TestANewerJWTThatIsPutByHandIsTaken(t *testing.T) {
	op := jwttest.NewOperator(t)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
		x: jwttest.NewAccount(t)}
	s.both()
	s.push(s.a, 2)
	_, err := s.k.kv(t).Put(t.Context(), "a."+s.x.ID, s.version(3))
	must(t, err)
	s.a.serves(s.x.ID, s.version(3))
	s.b.serves(s.x.ID, s.version(3))
}

// A token that was put there by hand for another key is absent for both.
func TestATokenOfAnotherKeyCountsAsAbsent(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op).start(k).await()
	exporter, importer, second := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	m.mustPush(issue(t, op, exporter, 1))
	token, hash := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Minute))
	_, another := jwttest.Activation(t, exporter, second, time.Now().Add(-time.Minute))
	_, _, err := m.tokens.Put(t.Context(), token, accounts.Origin{Kind: accounts.KindHTTP})
	must(t, err)
	_, err = k.kv(t).Put(t.Context(), "t."+another, token)
	must(t, err)
	natstest.Eventually(t, "it is read", func() bool { return m.Progress().Revision >= 3 })
	newer, _ := jwttest.Activation(t, exporter, importer, time.Now())
	if _, _, err := m.tokens.Put(t.Context(), newer, accounts.Origin{Kind: accounts.KindHTTP}); err != nil {
		t.Errorf("a newer token: %v", err)
	}
	got, err := m.tokens.Get(t.Context(), hash)
	if err != nil || string(got.JWT) != string(newer) {
		t.Errorf("%v, %v", got, err)
	}
}

// A limit that was set by hand for a moment has taken accounts out of the bucket. They come back from the
// directories.
func TestWhatALimitHasTakenOutOfTheBucketComesBack(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
		x: jwttest.NewAccount(t)}
	s.a.start(s.k).await()
	s.push(s.a, 2)
	natstest.Eventually(t, "it is known how much the bucket has", func() bool { return s.a.Keys() == 1 })
	js := s.k.js(t)
	stream, err := js.Stream(t.Context(), "KV_B")
	must(t, err)
	c := stream.CachedInfo().Config
	good := c
	c.MaxAge, c.Duplicates = 100*time.Millisecond, 100*time.Millisecond
	_, err = js.UpdateStream(t.Context(), c)
	must(t, err)
	natstest.Eventually(t, "the bucket is empty", func() bool {
		i, err := stream.Info(t.Context())
		return err == nil && i.State.Msgs == 0
	})
	_, err = js.UpdateStream(t.Context(), good)
	must(t, err)
	s.wantInBucket(s.version(2))
	s.b.start(s.k).await()
	s.b.serves(s.x.ID, s.version(2))
	s.push(s.b, 3)
	s.a.serves(s.x.ID, s.version(3))
}

// Each value is in the bucket with its hash, whichever way it came and whatever it is. A start takes the
// headers' word for it.
func TestEachRevisionHasTheHashOfItsValue(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op, func(m *member) { m.registry.AllowOlder = true })
	a, offered := jwttest.NewAccount(t), jwttest.NewAccount(t)
	m.plant(offered.ID, issue(t, op, offered, 1))
	m.start(k).await()
	for _, seconds := range []int{1, 3, 2} { // the last one is an override
		m.mustPush(issue(t, op, a, seconds))
	}
	peer := accounts.Origin{Kind: "nats", Peer: true}
	_, err := m.accounts.Put(t.Context(), a.ID, append(issue(t, op, a, 4), '\n'), peer)
	must(t, err)
	token, _ := jwttest.Activation(t, a, offered, time.Now())
	_, _, err = m.tokens.Put(t.Context(), token, accounts.Origin{Kind: accounts.KindHTTP})
	must(t, err)
	m.remove(a)
	stream, err := k.js(t).Stream(t.Context(), "KV_B")
	must(t, err)
	info, err := stream.Info(t.Context())
	must(t, err)
	if info.State.LastSeq != 7 {
		t.Errorf("there are %d revisions", info.State.LastSeq)
	}
	for seq := range info.State.LastSeq {
		r, err := stream.GetMsg(t.Context(), seq+1)
		must(t, err)
		want := fmt.Sprintf("%x", sha256.Sum256(bytes.TrimSpace(r.Data)))
		if got := r.Header.Get("Nas-Sha256"); got != want {
			t.Errorf("%s %s has the hash %s, and is %s", r.Header.Get("Nas-Kind"), r.Subject, got, want)
		}
	}
}
