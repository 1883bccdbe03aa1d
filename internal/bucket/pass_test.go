package bucket_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
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
	"nats-account-server/internal/natstest"
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
	for range n {
		all = append(all, jwttest.NewAccount(t))
	}
	k.put(t, op, all, 1)
	return all
}

// put puts JWTs into the bucket that were issued at this second.
func (k *keeper) put(t *testing.T, op *jwttest.Operator, all []*jwttest.Account, second int) {
	t.Helper()
	js, err := jetstream.New(k.connect(t, "admin"))
	must(t, err)
	for _, a := range all {
		m := &nats.Msg{Subject: "$KV.B.a." + a.ID, Data: issue(t, op, a, second), Header: nats.Header{}}
		m.Header.Set("Nas-Sha256", fmt.Sprintf("%x", sha256.Sum256(m.Data)))
		_, err := js.PublishMsgAsync(m)
		must(t, err)
	}
	<-js.PublishAsyncComplete()
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

// refusing is a policy that can store nothing, and knows of which accounts it was asked.
type refusing struct {
	bucket.Accounts
	mu    sync.Mutex
	asked map[string]bool
}

func (r *refusing) Put(
	_ context.Context, key string, _ []byte, _ accounts.Origin,
) (accounts.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[key] = true
	return accounts.Result{}, accounts.ErrSave
}

// What can't be settled now is tried for some time. The others of a comparison are left to the next one.
func TestAFailedComparisonBeginsNoOtherKey(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op).start(k).await() // makes the bucket
	all := k.fill(t, op, 400)
	for _, a := range all {
		m.serves(a.ID, issue(t, op, a, 1))
	}
	m.stop()
	k.put(t, op, all[:40], 2) // so few that their values are asked for one by one
	policy := &refusing{asked: map[string]bool{}}
	m.policy = func(a bucket.Accounts) bucket.Accounts {
		policy.Accounts = a
		return policy
	}
	m.start(k)
	natstest.Eventually(t, "the comparison has failed", func() bool { return m.Progress().Failing != "" })
	policy.mu.Lock()
	defer policy.mu.Unlock()
	if n := len(policy.asked); n > bucket.MaxAsked {
		t.Errorf("%d keys were tried", n)
	}
}

// A server that was away while very much has changed reads the values in batches.
func TestVeryManyChangesAreReadInBatches(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op).start(k).await()
	const keys = 400
	all := k.fill(t, op, keys)
	m.serves(all[keys-1].ID, issue(t, op, all[keys-1], 1))
	m.stop()
	k.put(t, op, all, 2)
	requests := k.countRequests(t)
	m.start(k).await()
	if n := requests.Load(); n > 60 {
		t.Errorf("there are %d requests for %d keys", n, keys)
	}
	for _, a := range all {
		m.serves(a.ID, issue(t, op, a, 2))
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
	var r bucket.Revisions
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
	// tenth, each time. A pause of the machine makes one of them slow.
	isQuick := func() bool {
		r = bucket.NewRevisions(t.TempDir())
		first := record(0, keys/10)
		took := first + record(keys/10, keys)
		t.Logf("it takes %s, and the first tenth of it %s", took, first)
		return took <= 2*time.Second || took <= 30*first
	}
	wasQuick := false
	for range 3 {
		wasQuick = wasQuick || isQuick()
	}
	if !wasQuick {
		t.Error("it takes too long, each time")
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
