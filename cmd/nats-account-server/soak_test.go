package main_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
)

const (
	soakTime = 12 * time.Second // without SOAK_TIME
	// lookWithin is how long a look at a stored account may take, whatever else happens, on a busy
	// machine.
	lookWithin = 2 * time.Second

	modelCount = 40
	residents  = 8 // accounts whose users are connected all the time
)

// soak is one run: a cluster, a model of each account in it, and the actors.
type soak struct {
	t        *testing.T
	seed     uint64
	cluster  *cluster
	stranger nkeys.KeyPair // an operator that is not trusted
	models   []*accountModel
	users    map[*accountModel]*pair
	client   *http.Client
	ctx      context.Context // of the actors
	stop     context.CancelFunc

	pushed, forged, looked, visited atomic.Int64 // how much was done
	worst                           atomic.Int64 // how long the slowest look took

	mu     sync.Mutex
	events []string
	failed int
}

// TestSoak lets everything happen that can, at random, and holds the account server against a model
// that knows what must be true. SOAK_TIME is how long (12s), SOAK_SEED repeats the choices of
// another run, though not its timing.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	idle := s.warm()
	s.run(fromEnv(t, "SOAK_TIME", time.ParseDuration, soakTime))
	if t.Failed() {
		return
	}
	s.converge()
	s.leaks(idle)
	s.shutDown()
	t.Logf("%d pushes, %d forgeries, %d looks, the slowest took %s, %d visits, %d faults",
		s.pushed.Load(), s.forged.Load(), s.looked.Load(),
		time.Duration(s.worst.Load()), s.visited.Load(),
		len(s.events))
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, cluster: newCluster(t), users: map[*accountModel]*pair{},
		client: &http.Client{Timeout: time.Minute}}
	s.seed = fromEnv(t, "SOAK_SEED", func(v string) (uint64, error) {
		return strconv.ParseUint(v, 10, 64)
	}, rand.Uint64())
	t.Logf("SOAK_SEED=%d", s.seed)
	t.Cleanup(s.client.CloseIdleConnections)
	s.ctx, s.stop = context.WithCancel(t.Context())
	key, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	s.stranger = key
	for range modelCount {
		r := newAccountModel(jwttest.NewAccount(t), time.Now().Add(-72*time.Hour))
		s.models = append(s.models, r)
		s.users[r] = newPair(s, r.Account)
	}
	return s
}

// fromEnv reads a variable of the environment.
func fromEnv[T any](t *testing.T, name string, parse func(string) (T, error), otherwise T) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := parse(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// run lets the actors act and things go wrong for a while. In the last third the account server is
// not ended any more, so that what it leaks can add up.
func (s *soak) run(d time.Duration) {
	s.t.Helper()
	began := time.Now()
	for _, r := range s.models[:residents] {
		s.settle(s.users[r])
	}
	var actors sync.WaitGroup
	defer actors.Wait()
	defer s.stop()
	stream := uint64(0)
	act := func(n int, actor func(*rand.Rand)) {
		for range n {
			stream++
			rng := rand.New(rand.NewPCG(s.seed, stream))
			actors.Go(func() { actor(rng) })
		}
	}
	act(6, s.pusher)
	act(6, s.getter)
	act(2, s.visitor)
	rng := rand.New(rand.NewPCG(s.seed, 0))
	s.makeFaults(rng, began.Add(d*2/3), true)
	s.makeFaults(rng, began.Add(d), false)
}

// fail reports what must not be, with what led to it, and ends the run. r is nil if it concerns no
// account.
func (s *soak) fail(r *accountModel, format string, args ...any) {
	s.t.Helper()
	s.mu.Lock()
	s.failed++
	first := s.failed <= 3
	s.mu.Unlock()
	s.stop()
	if !first {
		return
	}
	s.t.Errorf(format, args...)
	if r != nil {
		s.t.Logf("account %s:\n%s", r.ID, r.history())
	}
	s.t.Logf("SOAK_SEED=%d; lately:\n%s\nthe server's log:\n%s", s.seed, s.lately(),
		tail(s.cluster.run.Load().log.String()))
}

// slowest remembers the slowest look.
func (s *soak) slowest(took time.Duration) {
	for had := s.worst.Load(); int64(took) > had &&
		!s.worst.CompareAndSwap(had, int64(took)); had = s.worst.Load() {
	}
}
