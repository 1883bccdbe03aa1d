package bucket_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/trust"
)

// alone lets a server that is stopped work on its directory without a bucket, as the daemon does.
func (m *member) alone(work func(*accounts.Registry)) {
	m.t.Helper()
	dir, err := jwtstore.OpenDir(m.t.Context(), jwtstore.Options{Dir: m.dir, Shard: true,
		Newer: accounts.Newer, IssuedAt: trust.IssuedAt})
	must(m.t, err)
	_, err = bucket.Leave(m.dir)
	must(m.t, err)
	operator, err := trust.Parse([]byte(m.op.Token(m.t)))
	must(m.t, err)
	work(accounts.New(accounts.Options{Store: dir, Committer: dir, AllowOlder: m.registry.AllowOlder,
		AllowDelete: true,
		Announcer:   notifier.New(notifier.Options{Outbox: dir.Outbox(), Log: slog.New(slog.DiscardHandler)}),
		Trust:       accounts.Trust{Operators: trust.Operators{operator}}}))
	must(m.t, dir.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put stores JWTs in the directory of a server that is stopped and has no bucket.
func (m *member) put(tokens ...[]byte) {
	m.t.Helper()
	m.alone(func(r *accounts.Registry) {
		for _, token := range tokens {
			head, _ := trust.Peek(token)
			_, err := r.Put(m.t.Context(), head.Subject, token, accounts.Origin{Kind: accounts.KindHTTP})
			must(m.t, err)
		}
	})
}

// start is two servers, of which none runs yet, and an account.
type start struct {
	t    *testing.T
	op   *jwttest.Operator
	k    *keeper
	a, b *member
	x    *jwttest.Account
	want []byte // what both serve in the end
}

// version is a JWT of the account.
func (s *start) version(seconds int) []byte { return issue(s.t, s.op, s.x, seconds) }

// push stores a version by a server that runs.
func (s *start) push(m *member, seconds int) {
	s.t.Helper()
	must(s.t, m.push(s.version(seconds)))
}

// remove deletes the account by an order that is issued when a version would be.
func (s *start) remove(r *accounts.Registry, seconds int) {
	s.t.Helper()
	head, err := trust.Peek(s.version(seconds))
	must(s.t, err)
	done, err := r.Delete(s.t.Context(), order(s.t, s.op, time.Unix(head.IssuedAt, 0), s.x),
		accounts.Origin{Kind: accounts.KindHTTP})
	if err != nil || done.Deleted != 1 {
		s.t.Fatal(done, err)
	}
}

// both starts both servers and waits until they have read the bucket.
func (s *start) both() {
	s.t.Helper()
	s.a.start(s.k).await()
	s.b.start(s.k).await()
}

// lose takes the bucket away, with all that it has.
func (s *start) lose() {
	s.t.Helper()
	js, err := jetstream.New(s.k.connect(s.t, "admin"))
	must(s.t, err)
	must(s.t, js.DeleteStream(s.t.Context(), "KV_B"))
}

// empty takes all out of the bucket, which is still the same one, as a power cut does.
func (s *start) empty() {
	s.t.Helper()
	js, err := jetstream.New(s.k.connect(s.t, "admin"))
	must(s.t, err)
	stream, err := js.Stream(s.t.Context(), "KV_B")
	must(s.t, err)
	s.lose()
	natstest.Eventually(s.t, "the directory of the stream is gone, and it is made", func() bool {
		_, err := js.CreateStream(s.t.Context(), stream.CachedInfo().Config)
		return err == nil
	})
}

// sameSecond makes two JWTs of one second, which are in the order of their hashes.
func sameSecond(t *testing.T, op *jwttest.Operator, a *jwttest.Account) (lesser, greater []byte) {
	t.Helper()
	at := time.Now().Add(-time.Hour)
	for _, name := range []string{"one", "two"} {
		lesser, greater = jwttest.Sign(t, op.Key, a, at, func(c *jwt.AccountClaims) { c.Name = name }), lesser
	}
	l, g := sha256.Sum256(lesser), sha256.Sum256(greater)
	if bytes.Compare(l[:], g[:]) > 0 {
		return greater, lesser
	}
	return lesser, greater
}

const none = 0

// Each row is what happens to the directories of two servers and to their bucket, and what both serve
// in the end.
func TestTwoServersWithOneBucketComeTogether(t *testing.T) {
	for _, row := range []struct {
		name  string
		steps func(s *start)
		want  int    // the version that both serve; none, unless the steps say another one
		logs  string // what the log of the first server says
	}{
		{"both directories have it, the first one the newer", func(s *start) {
			s.a.put(s.version(2))
			s.b.put(s.version(1))
			s.both()
		}, 2, "offered 1"},
		{"both directories have it, the first one the older", func(s *start) {
			s.a.put(s.version(1))
			s.b.put(s.version(2))
			s.both()
		}, 2, "offered 1"},
		{"a server has left the bucket, and comes back with a newer one", func(s *start) {
			s.both()
			s.push(s.a, 1)
			s.a.stop()
			s.a.put(s.version(3))
			s.push(s.b, 2)
			s.a.start(s.k).await()
		}, 3, "took 0, offered 1"},
		{"a server has left the bucket, and comes back with the older one", func(s *start) {
			s.both()
			s.push(s.a, 1)
			s.a.stop()
			s.a.put(s.version(2))
			s.push(s.b, 3)
			s.a.start(s.k).await()
		}, 3, "took 1, offered 0"},
		{"the bucket is made anew while a server is away that has the newest", func(s *start) {
			s.both()
			s.push(s.a, 1)
			s.a.stop()
			s.a.put(s.version(2))
			s.lose()
			s.a.start(s.k).await()
		}, 2, ""},
		{"the bucket loses what it has while a server is away", func(s *start) {
			s.both()
			s.push(s.a, 1)
			s.push(s.a, 2)
			s.a.stop()
			s.empty()
			s.a.start(s.k).await()
		}, 2, "has lost what it acknowledged"},
		{"one directory has a tombstone, and the other one an older JWT", func(s *start) {
			s.a.put(s.version(1))
			s.a.alone(func(r *accounts.Registry) { s.remove(r, 3) })
			s.b.put(s.version(2))
			s.both()
		}, none, ""},
		{"one directory has a tombstone, and the other one a newer JWT", func(s *start) {
			s.a.put(s.version(1))
			s.a.alone(func(r *accounts.Registry) { s.remove(r, 2) })
			s.b.put(s.version(3))
			s.both()
		}, 3, ""},
		{"a server joins that has a newer one than what was let in on purpose", func(s *start) {
			s.b.registry.AllowOlder = true
			s.b.start(s.k).await()
			s.push(s.b, 2)
			s.push(s.b, 1)
			s.a.put(s.version(2))
			s.a.start(s.k).await()
		}, 1, ""},
		{"one of the same second came later while a server was away, with the lesser hash", func(s *start) {
			lesser, greater := sameSecond(s.t, s.op, s.x)
			s.both()
			must(s.t, s.a.push(greater))
			s.b.serves(s.x.ID, greater)
			s.a.stop()
			must(s.t, s.b.push(lesser))
			s.want = lesser
			s.a.start(s.k).await()
		}, none, "took 1, offered 0"},
		{"what was replaced of its second while a server was away does not come back there", func(s *start) {
			lesser, greater := sameSecond(s.t, s.op, s.x)
			s.both()
			s.a.stop()
			must(s.t, s.b.push(greater))
			must(s.t, s.b.push(lesser))
			s.want = lesser
			s.a.start(s.k).await()
			if err := s.a.push(greater); !errors.Is(err, accounts.ErrReplaced) {
				s.t.Errorf("what was replaced is pushed again: %v", err)
			}
		}, none, ""},
		{"both directories have one of the same second, the first one with the lesser hash", func(s *start) {
			lesser, greater := sameSecond(s.t, s.op, s.x)
			s.a.put(lesser)
			s.b.put(greater)
			s.want = greater
			s.both()
		}, none, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			op := jwttest.NewOperator(t)
			s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
				x: jwttest.NewAccount(t)}
			row.steps(s)
			if row.want != none {
				s.want = s.version(row.want)
			}
			s.a.serves(s.x.ID, s.want)
			s.b.serves(s.x.ID, s.want)
			s.wantInBucket(s.want)
			if !strings.Contains(s.a.log.String(), row.logs) {
				t.Errorf("the log does not say %q:\n%s", row.logs, s.a.log)
			}
		})
	}
}

// wantInBucket waits until the last revision of the account is this JWT; nil: until it is none.
func (s *start) wantInBucket(want []byte) {
	s.t.Helper()
	js, err := jetstream.New(s.k.connect(s.t, "admin"))
	must(s.t, err)
	natstest.Within(s.t, 10*time.Second, "the bucket has the same", func() bool {
		stream, err := js.Stream(s.t.Context(), "KV_B")
		if err != nil {
			return false
		}
		last, err := stream.GetLastMsgForSubject(s.t.Context(), "$KV.B.a."+s.x.ID)
		if want == nil {
			return err == nil && last.Header.Get("Nas-Kind") == "tombstone"
		}
		return err == nil && bytes.Equal(last.Data, want)
	})
}
