package replica_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/replica"
	"nats-account-server/internal/trust"
)

// silent is an Announcer without NATS.
type silent struct{ accounts.Announcer }

func (silent) Announce(string, uint64) accounts.Receipt { return nil }
func (silent) Contested(string)                         {}
func (silent) Follow(string) accounts.Receipt           { return accounts.Delivery{} }
func (silent) IsConfigured() bool                       { return false }
func (silent) MaxPayload() int                          { return 0 }

// follower is a Registry with a primary.
type follower struct {
	accounts *accounts.Registry
	*replica.Replica
}

// Get is what HTTP serves.
func (f *follower) Get(ctx context.Context, key string) (*accounts.Account, error) {
	return f.accounts.Get(ctx, key)
}

// GetRaw is Get as text.
func (f *follower) GetRaw(ctx context.Context, key string) ([]byte, error) {
	return f.accounts.GetRaw(ctx, key)
}

// following follows a primary that the test plays.
func following(
	t *testing.T, primary http.HandlerFunc, edit func(*replica.Options),
) (o *jwttest.Operator, f *follower, store *jwtstore.Memory) {
	t.Helper()
	store = jwtstore.NewMemory(false)
	o, f = followingWith(t, primary, store, edit)
	return o, f, store
}

// followingWith is following with any store.
func followingWith(
	t *testing.T, primary http.HandlerFunc, store interface {
		accounts.Store
		accounts.Committer
	}, edit func(*replica.Options),
) (*jwttest.Operator, *follower) {
	t.Helper()
	o := jwttest.NewOperator(t)
	trusted, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(primary)
	t.Cleanup(web.Close)
	registry := accounts.New(accounts.Options{Store: store, Committer: store, Announcer: silent{},
		Trust: accounts.Trust{Operators: trust.Operators{trusted}}, CacheBytes: 32 << 20})
	tokens := activations.New(activations.Options{Accounts: registry, Store: store,
		Connection: silent{}})
	options := replica.Options{Primary: web.URL, Timeout: time.Second, MaxPack: 10,
		Log: slog.New(slog.DiscardHandler), Accounts: registry, Activations: tokens}
	if edit != nil {
		edit(&options)
	}
	r := replica.New(options)
	registry.SetPrimary(r)
	tokens.SetPrimary(r)
	return o, &follower{registry, r}
}

// plant stores bytes without the Registry.
func plant(t *testing.T, store accounts.Committer, key string, token []byte) {
	t.Helper()
	allow := func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
	if _, err := store.Put(t.Context(), key, "test", token, allow); err != nil {
		t.Fatal(err)
	}
}

// run lets a replica run; stop returns when it has ended.
func run(t *testing.T, r *follower) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// lacks answers as an account server does that does not have it.
func lacks(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, "no matching account JWT\n")
}

// TestManyAskAtOnce for what is stored and for what is not: the primary is not asked for what it
// has just said.
func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tokens, asked := map[string][]byte{}, map[string]int{}
	o, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		key := strings.TrimPrefix(q.URL.Path, "/jwt/v1/accounts/")
		mu.Lock()
		defer mu.Unlock()
		if asked[key]++; tokens[key] == nil {
			lacks(w, q)
			return
		}
		_, _ = w.Write(tokens[key])
	}, nil)
	var keys []string
	for i := range 20 {
		a := jwttest.NewAccount(t)
		keys = append(keys, a.ID)
		if i%2 == 0 {
			tokens[a.ID] = o.Account(t, a)
		}
	}
	for range 3 {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				key := keys[i%len(keys)]
				a, err := r.Get(context.Background(), key)
				if (i%2 == 0) != (err == nil) || err == nil &&
					string(a.JWT) != string(tokens[key]) {
					t.Errorf("%v, %v", a, err)
				}
			})
		}
		all.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	for i, key := range keys {
		if i%2 == 0 && asked[key] > 1 {
			t.Errorf("asked %d times for what is stored", asked[key])
		}
	}
}

// TestWhatIsStoredIsAskedForInTheBackground, once at a time.
func TestWhatIsStoredIsAskedForInTheBackground(t *testing.T) {
	t.Parallel()
	var newest atomic.Pointer[[]byte]
	var asked atomic.Int64
	release := make(chan struct{})
	o, r, store := following(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-release
		_, _ = w.Write(*newest.Load())
	}, func(o *replica.Options) { o.Timeout = 10 * time.Second })
	a := jwttest.NewAccount(t)
	first, second := jwttest.Sign(t, o.Key, a, time.Now().Add(-time.Hour)), o.Account(t, a)
	newest.Store(&second)
	plant(t, store, a.ID, first)
	for range 10 {
		if got, err := r.Get(t.Context(), a.ID); err != nil || string(got.JWT) != string(first) {
			t.Fatal(got, err)
		}
	}
	close(release)
	natstest.Eventually(t, "the primary's is served", func() bool {
		got, err := r.Get(t.Context(), a.ID)
		return err == nil && string(got.JWT) == string(second)
	})
	for range 10 {
		_, _ = r.Get(t.Context(), a.ID)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestThePrimarysAnswers to a miss. That there is no account is certain only if the primary says so
// as an account server does.
func TestThePrimarysAnswers(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[http.HandlerFunc]
	o, r, store := following(t, func(w http.ResponseWriter, q *http.Request) {
		(*answer.Load())(w,
			q)
	}, nil)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	says := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
	}
	// Version 0.8.4 says the same of every account that it does not know, and of what is no key.
	old := func(pack int) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/jwt/v1/pack" {
				says(pack, "")(w, q)
				return
			}
			says(500, "error loading JWT\n")(w, q)
		}
	}
	good := string(o.Account(t, a))
	expired := string(jwttest.Sign(t, o.Key, a, time.Now().Add(-time.Hour),
		func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() - 60 }))
	const served, stored = true, true
	for _, c := range []struct {
		name           string
		answer         http.HandlerFunc
		served, stored bool
		want           error
	}{
		{"it does not know it", says(404, "no matching account JWT\n"), !served, !stored,
			accounts.ErrNotFound},
		{"it is 0.8.4 and does not know it", old(200), !served, !stored, accounts.ErrNotFound},
		{"it is 0.8.4 with a folder of nsc, and does not know it", old(404), !served, !stored,
			accounts.ErrNotFound},
		{"it is 0.8.4 and can't read its store", old(500), !served, !stored,
			accounts.ErrUnreadable},
		{"it answers everything alike", says(500, "error loading JWT\n"), !served, !stored,
			accounts.ErrUnreadable},
		{"it is a later one, and what it has is damaged",
			func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/jwt/v1/accounts/x" {
					lacks(w, q)
					return
				}
				says(500, "error loading JWT\n")(w, q)
			}, !served, !stored, accounts.ErrUnreadable},
		{"there is no account server", says(404, "404 page not found\n"), !served, !stored,
			accounts.ErrUnreadable},
		{"a gateway is in trouble", says(500, "bad gateway"), !served, !stored,
			accounts.ErrUnreadable},
		{"it can't say now", says(503, "error loading JWT\n"), !served, !stored,
			accounts.ErrUnreadable},
		{"it wants a password", says(401, ""), !served, !stored, accounts.ErrUnreadable},
		{"it breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			!served, !stored, accounts.ErrUnreadable},
		{"it sends half of it", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(good)))
			says(200, good[:len(good)/2])(w, q)
		}, !served, !stored, accounts.ErrUnreadable},
		{"it says something else", says(200, "<html>"), !served, !stored, accounts.ErrUnreadable},
		{"it says nothing", says(200, ""), !served, !stored, accounts.ErrUnreadable},
		{"it has another one's", says(200, string(o.Account(t, other))), !served, !stored,
			accounts.ErrUnreadable},
		{"it has another operator's", says(200, string(jwttest.NewOperator(t).Account(t, a))),
			!served, !stored, accounts.ErrUnreadable},
		{"what it has has expired", says(200, expired), served, !stored, nil},
		{"it has it", says(200, good), served, stored, nil},
	} {
		answer.Store(&c.answer)
		got, err := r.Get(t.Context(), a.ID)
		if !errors.Is(err, c.want) || (got != nil) != c.served {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if raw, err := r.GetRaw(t.Context(), a.ID); (raw != nil) != c.served {
			t.Errorf("%s: as text %q, %v", c.name, raw, err)
		}
		if _, _, err := store.Load(a.ID, jwtstore.Stamp{}); (err == nil) != c.stored {
			t.Errorf("%s: stored: %v", c.name, err)
		}
	}
}

// full is a store with no room for another JWT.
type full struct{ *jwtstore.Memory }

func (full) Put(context.Context, string, string, []byte,
	func(jwtstore.Stored) (jwtstore.Version, error)) (uint64, error) {
	return 0, syscall.ENOSPC
}

// TestWhatThereIsNoRoomForIsServed while the primary has it, and the pack is asked for again.
func TestWhatThereIsNoRoomForIsServed(t *testing.T) {
	t.Parallel()
	var token atomic.Pointer[string]
	var packs atomic.Int64
	o, r := followingWith(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/jwt/v1/pack" {
			packs.Add(1)
			fmt.Fprintf(w, "%s|%s\n", accounts.SubjectOf([]byte(*token.Load())), *token.Load())
			return
		}
		fmt.Fprint(w, *token.Load())
	}, full{jwtstore.NewMemory(false)}, nil)
	a := jwttest.NewAccount(t)
	text := string(o.Account(t, a))
	token.Store(&text)
	if got, err := r.Get(t.Context(), a.ID); err != nil || string(got.JWT) != text {
		t.Errorf("%v, %v", got, err)
	}
	stop := run(t, r)
	natstest.Eventually(t, "the pack is asked for again", func() bool { return packs.Load() >= 2 })
	stop()
}

// TestADamagedFileIsMendedFromThePrimary.
func TestADamagedFileIsMendedFromThePrimary(t *testing.T) {
	t.Parallel()
	var token atomic.Pointer[[]byte]
	o, r, store := following(t, func(w http.ResponseWriter, q *http.Request) {
		if token.Load() == nil {
			lacks(w, q)
			return
		}
		_, _ = w.Write(*token.Load())
	}, nil)
	a := jwttest.NewAccount(t)
	plant(t, store, a.ID, []byte("junk"))
	if _, err := r.Get(t.Context(), a.ID); !errors.Is(err, accounts.ErrDamaged) {
		t.Errorf("the primary lacks it: %v", err)
	}
	good := o.Account(t, a)
	token.Store(&good)
	if got, err := r.Get(t.Context(), a.ID); err != nil || string(got.JWT) != string(good) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestManyUnknownAccountsAreBounded: no more than 64 requests at a time, one for each account.
func TestManyUnknownAccountsAreBounded(t *testing.T) {
	t.Parallel()
	// After a second each is given up, and others come while the primary still has it.
	natstest.Eventually(t, "64 requests are on their way within that second", func() bool {
		most, took := manyUnknown(t)
		if took > 900*time.Millisecond {
			return false
		}
		if most != 64 {
			t.Errorf("%d requests at a time", most)
		}
		return true
	})
}

// manyUnknown asks for 100 accounts at the same time, each four times. It returns how many requests the
// primary had at once, and how long the first of them had waited when it answered them.
func manyUnknown(t *testing.T) (most int, took time.Duration) {
	var mu sync.Mutex
	peak := 0 // not the result: what was given up may arrive after the return
	var now atomic.Int64
	release := make(chan struct{})
	_, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		peak = max(peak, int(now.Add(1)))
		mu.Unlock()
		<-release
		now.Add(-1)
		lacks(w, q)
	}, func(o *replica.Options) { o.Timeout = 10 * time.Second })
	var keys []string
	for range 100 {
		keys = append(keys, jwttest.NewAccount(t).ID)
	}
	began := time.Now()
	var waiting sync.WaitGroup
	for i := range 400 {
		waiting.Go(func() {
			if _, err := r.Get(context.Background(), keys[i%len(keys)]); err == nil {
				t.Error("it is there")
			}
		})
	}
	for now.Load() < 64 && time.Since(began) < time.Second {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // for one more
	close(release)
	took = time.Since(began)
	waiting.Wait()
	mu.Lock()
	defer mu.Unlock()
	return peak, took
}

// TestItDoesNotAskItself: its primary is a server that has come to it.
func TestItDoesNotAskItself(t *testing.T) {
	t.Parallel()
	var own atomic.Pointer[follower]
	var asked atomic.Int64
	_, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		key := strings.TrimPrefix(q.URL.Path, "/jwt/v1/accounts/")
		if _, err := own.Load().Get(accounts.WithVia(q.Context(), q.Header.Get("Via")), key); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, nil)
	own.Store(r)
	ctx := accounts.WithVia(t.Context(), "1.1 nas-another")
	if _, err := r.Get(ctx, jwttest.NewAccount(t).ID); !errors.Is(err, accounts.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestNothingHappensAfterRun, also in the background.
func TestNothingHappensAfterRun(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	o, r, store := following(t, func(_ http.ResponseWriter, q *http.Request) {
		asked <- struct{}{}
		<-q.Context().Done()
	}, func(o *replica.Options) { o.MaxPack, o.Timeout = 0, time.Hour })
	a := jwttest.NewAccount(t)
	plant(t, store, a.ID, o.Account(t, a))
	find := func() {
		t.Helper()
		if _, err := r.Get(t.Context(), a.ID); err != nil {
			t.Error(err)
		}
	}
	find()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx) // returns when the request has been given up
	find()
	select {
	case <-asked:
		t.Error("the primary is asked after Run")
	case <-time.After(50 * time.Millisecond):
	}
}

// TestAPasswordSurvivesARedirect, and is in no line of the log.
func TestAPasswordSurvivesARedirect(t *testing.T) {
	t.Parallel()
	var token atomic.Pointer[[]byte]
	o, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		if user, password, _ := q.BasicAuth(); user != "u" || password != "hush" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !strings.HasPrefix(q.URL.Path, "/moved") {
			http.Redirect(w, q, "http://"+q.Host+"/moved"+q.URL.Path, http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write(*token.Load())
	}, func(o *replica.Options) {
		o.Primary = strings.Replace(o.Primary, "http://",
			"http://u:hush@", 1)
	})
	a := jwttest.NewAccount(t)
	good := o.Account(t, a)
	token.Store(&good)
	if got, err := r.Get(t.Context(), a.ID); err != nil || string(got.JWT) != string(good) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTroubleIsSaidOnce, and that it is over.
func TestTroubleIsSaidOnce(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	var log natstest.Log
	_, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		if bad.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		lacks(w, q)
	}, func(o *replica.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	// the second time is within a minute
	for _, now := range []bool{false, true, true, false, true, false} {
		bad.Store(now)
		_, _ = r.Get(t.Context(), jwttest.NewAccount(t).ID)
	}
	if said := log.String(); strings.Count(said, "502 Bad Gateway") != 1 ||
		strings.Count(said, "answers again") != 1 {
		t.Errorf("it says\n%s", said)
	}
}

// TestAnHourLaterItIsAskedForAgain in the background, and after a failure sooner.
func TestAnHourLaterItIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var token atomic.Pointer[[]byte]
	var clock atomic.Int64 // seconds since the start
	start := time.Now()
	o, r, _ := following(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if jwt := token.Load(); jwt != nil {
			_, _ = w.Write(*jwt)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func(o *replica.Options) {
		o.Now = func() time.Time { return start.Add(time.Duration(clock.Load()) * time.Second) }
	})
	a := jwttest.NewAccount(t)
	sign := func(ago time.Duration) []byte {
		return jwttest.Sign(t, o.Key, a, time.Now().Add(-ago))
	}
	serves := func(want []byte) {
		t.Helper()
		natstest.Eventually(t, "it serves the JWT", func() bool {
			got, err := r.Get(t.Context(), a.ID)
			return err == nil && string(got.JWT) == string(want)
		})
	}
	find := func() {
		t.Helper()
		if _, err := r.Get(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
	}
	first, second := sign(time.Hour), sign(time.Minute)
	token.Store(&first)
	serves(first)
	token.Store(&second)
	for _, at := range []int64{1, 1800, 3599} {
		clock.Store(at)
		find()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times within the hour", n)
	}
	clock.Store(3601)
	serves(second)
	token.Store(nil) // the primary is in trouble
	clock.Store(2 * 3602)
	find()
	natstest.Eventually(t, "the primary is asked", func() bool { return asked.Load() == 3 })
	natstest.Eventually(t, "it is asked again after ten seconds", func() bool {
		clock.Add(1)
		find()
		return asked.Load() == 4
	})
	if passed := clock.Load() - 2*3602; passed < 10 {
		t.Errorf("asked again after %d s", passed)
	}
}

// TestTheInitialPack: what is asked for, what is said of it, and when it is asked for again.
func TestTheInitialPack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		most     int            // that the replica asks for
		limit    int            // of the primary
		requests map[string]int // packs by query
		says     string
	}{
		{"everything", 10, 10, map[string]int{"max=10": 1}, "initialized from primary, 3 accounts"},
		{"as much as was asked for", 3, 10, map[string]int{"max=3": 1},
			"the primary may have more than the 3 accounts"},
		{"more was asked for than the primary gives", 10, 5, map[string]int{"max=10": 1, "": 1},
			"the primary may have more"},
		{"without a limit", -1, 10, map[string]int{"max=-1": 1},
			"initialized from primary, 3 accounts"},
		{"none", 0, 10, map[string]int{}, "skipping initial JWT pack from primary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var pack string
			var mu sync.Mutex
			var log natstest.Log
			requests := map[string]int{}
			o, r, store := following(t, func(w http.ResponseWriter, q *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				requests[q.URL.RawQuery]++
				var most int
				if _, _ = fmt.Sscanf(q.URL.RawQuery, "max=%d", &most); most > c.limit {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				fmt.Fprint(w, pack)
			}, func(o *replica.Options) {
				o.MaxPack, o.Log = c.most, slog.New(slog.NewTextHandler(&log, nil))
			})
			for range 3 {
				a := jwttest.NewAccount(t)
				pack += a.ID + "|" + string(o.Account(t, a)) + "\n"
			}
			stop := run(t, r)
			natstest.Eventually(t, c.says,
				func() bool { return strings.Contains(log.String(), c.says) })
			stop()
			if got := fmt.Sprint(requests); got != fmt.Sprint(c.requests) {
				t.Errorf("asked %s, want %v", got, c.requests)
			}
			n := 0
			for range store.Index().All() {
				n++
			}
			if want := min(3, 4*max(c.most, -c.most)); n != want {
				t.Errorf("%d accounts, want %d", n, want)
			}
		})
	}
}

// TestWhatIsNoPackIsAskedForAgain.
func TestWhatIsNoPackIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var pack atomic.Pointer[string]
	page := "<html>\nLog in first\n</html>\n"
	pack.Store(&page)
	var log natstest.Log
	o, r, _ := following(t, func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprint(w, *pack.Load())
	},
		func(o *replica.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	stop := run(t, r)
	natstest.Eventually(t, "it is said", func() bool {
		return strings.Contains(log.String(),
			"what it sends is no pack")
	})
	a := jwttest.NewAccount(t)
	good := "a line that is none\n" + strings.Repeat("x", 5<<20) + "\n" + a.ID + "|" +
		string(o.Account(t, a))
	pack.Store(&good)
	natstest.Eventually(t, "the pack is here", func() bool {
		return strings.Contains(log.String(),
			"2 entries of the primary's pack are refused")
	})
	stop()
}

// TestActivations: no client has asked for the account that has signed one; an hour later a newer
// one is asked for; and that there is none is only known from the primary.
func TestActivations(t *testing.T) {
	t.Parallel()
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, hash := jwttest.Activation(t, a, b, time.Now().Add(-time.Hour))
	second, _ := jwttest.Activation(t, a, b, time.Now().Add(-time.Minute))
	var mu sync.Mutex
	answers := map[string]string{}
	has := func(path, answer string) {
		mu.Lock()
		defer mu.Unlock()
		answers[path] = answer
	}
	var clock atomic.Int64
	start := time.Now()
	o, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch answer := answers[q.URL.Path]; answer {
		case "":
			lacks(w, q)
		case "away":
			w.WriteHeader(http.StatusBadGateway)
		default:
			fmt.Fprint(w, answer)
		}
	}, func(o *replica.Options) {
		o.Now = func() time.Time { return start.Add(time.Duration(clock.Load()) * time.Second) }
	})
	finds := func(want error) {
		t.Helper()
		if got, err := r.Activations.Get(t.Context(), hash); !errors.Is(err, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		if raw, err := r.Activations.GetRaw(t.Context(), hash); !errors.Is(err, want) {
			t.Errorf("as text %q, %v, want %v", raw, err, want)
		}
	}
	path := "/jwt/v1/activations/" + hash
	has(path, "away")
	finds(accounts.ErrUnreadable)
	has(path, "")
	finds(activations.ErrNotFound)
	has(path, string(first))
	finds(activations.ErrNotFound) // of an account that the primary does not have
	has("/jwt/v1/accounts/"+a.ID, string(o.Account(t, a)))
	finds(nil)
	has(path, string(second))
	clock.Store(3601)
	natstest.Eventually(t, "the newer one is served", func() bool {
		got, err := r.Activations.Get(t.Context(), hash)
		return err == nil && string(got.JWT) == string(second)
	})
	has(path, "away")
	clock.Store(2 * 3602)
	finds(nil)

	// Another one, which can't be kept.
	expired, other := jwttest.Activation(t, a, b, time.Now(), func(c *jwt.ActivationClaims) {
		c.ImportSubject, c.Expires = "bar", time.Now().Unix()-60
	})
	has("/jwt/v1/activations/"+other, string(expired))
	if got, err := r.Activations.Get(t.Context(), other); err != nil ||
		string(got.JWT) != string(expired) {
		t.Errorf("an expired one: %v, %v", got, err)
	}

	// One of an account that the primary can't give now.
	stranger := jwttest.NewAccount(t)
	foreign, hash := jwttest.Activation(t, stranger, b, time.Now())
	has("/jwt/v1/activations/"+hash, string(foreign))
	has("/jwt/v1/accounts/"+stranger.ID, "away")
	if got, err := r.Activations.Get(t.Context(), hash); !errors.Is(err, accounts.ErrUnreadable) {
		t.Errorf("of an account that can not be known: %v, %v", got, err)
	}
}

// TestARefreshThatFailedIsNoAnswer: what can't be taken is asked for again soon.
func TestARefreshThatFailedIsNoAnswer(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[[]byte]
	var clock atomic.Int64
	start := time.Now()
	o, r, store := following(t, func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = w.Write(*answer.Load())
	},
		func(o *replica.Options) {
			o.Now = func() time.Time { return start.Add(time.Duration(clock.Load()) * time.Second) }
		})
	a := jwttest.NewAccount(t)
	first, second, page := jwttest.Sign(t, o.Key, a, start.Add(-time.Hour)), o.Account(t,
		a), []byte("<html>")
	plant(t, store, a.ID, first)
	answer.Store(&page)
	if got, err := r.Get(t.Context(), a.ID); err != nil || string(got.JWT) != string(first) {
		t.Errorf("%v, %v", got, err)
	}
	answer.Store(&second)
	natstest.Eventually(t, "the newer one is served", func() bool {
		clock.Add(1)
		got, err := r.Get(t.Context(), a.ID)
		return err == nil && string(got.JWT) == string(second)
	})
	if clock.Load() > 1800 {
		t.Errorf("after %d s", clock.Load())
	}
}

// TestOneRequestDoesNotSpoilAnother: what a client says of its way goes on with its own request
// only, as far as it is a way.
func TestOneRequestDoesNotSpoilAnother(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []string
	_, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, q.Header.Get("Via"))
		lacks(w, q)
	}, nil)
	a, server := jwttest.NewAccount(t), "nas-ABCDEFGHIJKLMNOP"
	for via, want := range map[string]error{
		"":                         accounts.ErrNotFound,
		strings.Repeat("x", 1<<20): accounts.ErrNotFound,
		"1.1 proxy, 1.1 " + server: accounts.ErrNotFound,
		strings.Repeat(server, 17): accounts.ErrUnreadable,
	} {
		if _, err := r.Get(accounts.WithVia(t.Context(), via), a.ID); !errors.Is(err, want) {
			t.Errorf("via %.40q: %v", via, err)
		}
	}
	through := 0
	for _, via := range heard {
		if strings.HasPrefix(via, "1.1 "+server+", 1.1 nas-") {
			through++
		}
		if len(via) > 64 || strings.Contains(via, "proxy") {
			t.Errorf("passed on is %q", via)
		}
	}
	if len(heard) != 3 || through != 1 {
		t.Errorf("heard were %q", heard)
	}
}
