package bucket_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwttest"
)

// breaking is a policy that calls cut before it takes a JWT, once, after some have been taken.
type breaking struct {
	bucket.Accounts
	taken atomic.Int64
	after int64
	cut   func()
}

func (b *breaking) Put(
	ctx context.Context, key string, token []byte, from accounts.Origin,
) (accounts.Result, error) {
	if b.taken.Add(1) == b.after {
		b.cut()
	}
	return b.Accounts.Put(ctx, key, token, from)
}

// countRequests counts what JetStream is asked for from now on.
func (k *keeper) countRequests(t *testing.T) *atomic.Int64 {
	t.Helper()
	n, nc := &atomic.Int64{}, k.connect(t, "admin")
	_, err := nc.Subscribe("$JS.API.>", func(*nats.Msg) { n.Add(1) })
	must(t, err)
	must(t, nc.Flush())
	return n
}

// fill puts JWTs of new accounts into the bucket.
func (k *keeper) fill(t *testing.T, op *jwttest.Operator, n int) (all []*jwttest.Account) {
	t.Helper()
	js, err := jetstream.New(k.connect(t, "admin"))
	must(t, err)
	for range n {
		a := jwttest.NewAccount(t)
		all = append(all, a)
		m := &nats.Msg{Subject: "$KV.B.a." + a.ID, Data: issue(t, op, a, 1), Header: nats.Header{}}
		m.Header.Set("Nas-Sha256", fmt.Sprintf("%x", sha256.Sum256(m.Data)))
		_, err := js.PublishMsgAsync(m)
		must(t, err)
	}
	<-js.PublishAsyncComplete()
	return all
}

// A server that has begun to read a bucket reads the rest in batches, not one key after the other.
func TestABrokenComparisonGoesOnInBatches(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	newMember(t, op).start(k).await().stop() // makes the bucket
	const keys = 600
	all := k.fill(t, op, keys)
	m := newMember(t, op)
	requests := k.countRequests(t)
	m.policy = func(a bucket.Accounts) bucket.Accounts {
		return &breaking{Accounts: a, after: keys / 3, cut: func() {
			requests.Store(0)
			k.disconnect(t)
		}}
	}
	m.start(k).await()
	if n := requests.Load(); n > 60 {
		t.Errorf("after the connection was lost there are %d requests for %d keys", n, keys)
	}
	for _, a := range all {
		if _, err := m.accounts.GetLocal(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// disconnect closes every client connection of the user of the bucket.
func (k *keeper) disconnect(t *testing.T) {
	t.Helper()
	z, err := k.Connz(&server.ConnzOptions{Username: true})
	must(t, err)
	for _, c := range z.Conns {
		if c.AuthorizedUser == "nas" {
			must(t, k.DisconnectClientByID(c.Cid))
		}
	}
}

// What is remembered of each key is looked through now and then only, also while the cursor does not move.
func TestManyRevisionsBeyondTheCursorAreRecordedQuickly(t *testing.T) {
	const keys = 60_000
	r := bucket.NewRevisions(t.TempDir())
	record := func(from, to uint64) time.Duration {
		began := time.Now()
		for seq := from; seq < to; seq++ {
			if !r.Begin(fmt.Sprint(seq), seq+1) {
				t.Fatal("it is not new")
			}
		}
		return time.Since(began)
	}
	// If all were looked through for each one, the whole would take a hundred times as long as its first
	// tenth.
	first := record(0, keys/10)
	took := first + record(keys/10, keys)
	if took > 2*time.Second && took > 30*first {
		t.Errorf("it takes %s, and the first tenth of it %s", took, first)
	}
	if r.Begin("7", 7) {
		t.Error("an older one is applied")
	}
	// A comparison bounds what is remembered.
	r = bucket.NewRevisions(t.TempDir())
	for seq := range uint64(keys) {
		r.Begin(fmt.Sprint(seq), seq+1)
		r.SetCompared(seq + 1)
	}
	if n := r.Len(); n > keys/2 {
		t.Errorf("%d keys are remembered", n)
	}
}

// watching is a policy that calls look before it takes a JWT.
type watching struct {
	bucket.Accounts
	look func()
}

func (w *watching) Put(
	ctx context.Context, key string, token []byte, from accounts.Origin,
) (accounts.Result, error) {
	w.look()
	return w.Accounts.Put(ctx, key, token, from)
}

// What is read, and what is in no file yet, are bounded in bytes.
func TestAReadingOfLargeJWTsTakesLittleMemory(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	newMember(t, op).start(k).await().stop() // makes the bucket
	const keys, size, limit = 200, 100 << 10, 13 << 20
	js := k.js(t)
	for range keys {
		a := jwttest.NewAccount(t)
		token := jwttest.Sign(t, op.Key, a, began, func(c *jwt.AccountClaims) {
			c.Tags = jwt.TagList{strings.Repeat("x", size*3/4)}
		})
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: "$KV.B.a." + a.ID, Data: token})
		must(t, err)
	}
	<-js.PublishAsyncComplete()
	m := newMember(t, op)
	var taken, mostRead, mostUnflushed atomic.Int64
	m.policy = func(a bucket.Accounts) bucket.Accounts {
		return &watching{Accounts: a, look: func() {
			read := k.sent(t) - size*taken.Add(1)
			mostRead.Store(max(mostRead.Load(), read))
			unflushed := int64(size * m.Dir.State().Behind)
			mostUnflushed.Store(max(mostUnflushed.Load(), unflushed))
		}}
	}
	m.start(k).await()
	if n := taken.Load(); n != keys {
		t.Errorf("%d JWTs are taken", n)
	}
	t.Logf("%d bytes are read ahead, %d are in no file", mostRead.Load(), mostUnflushed.Load())
	if mostRead.Load() > limit || mostUnflushed.Load() > limit {
		t.Errorf("%d bytes are read ahead, %d are in no file", mostRead.Load(), mostUnflushed.Load())
	}
}

// sent is how many bytes the nats-server has sent to the user of the bucket.
func (k *keeper) sent(t *testing.T) (n int64) {
	z, err := k.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Error(err)
		return 0
	}
	for _, c := range z.Conns {
		if c.AuthorizedUser == "nas" {
			n += c.OutBytes
		}
	}
	return n
}
