package replica_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/operator"
	"nats-account-server/internal/replica"
)

// mute announces to nobody.
type mute struct{ accounts.Announcer }

func (mute) Announce(string, uint64, time.Time) accounts.Receipt { return nil }
func (mute) MaxPayload() int                                     { return 0 }

// following is a replica of a primary that the test plays.
func following(t *testing.T, primary http.HandlerFunc, edit func(*replica.Options)) (o *jwttest.Operator, r *replica.Replica, store *jwtstore.Memory) {
	t.Helper()
	o = jwttest.NewOperator(t)
	trusted, err := operator.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(primary)
	t.Cleanup(web.Close)
	store = jwtstore.NewMemory(false)
	options := replica.Options{Primary: web.URL, Timeout: time.Second, MaxPack: 10, Log: slog.New(slog.DiscardHandler),
		Gate: accounts.New(accounts.Options{Store: store, Committer: store, Announcer: mute{}, Trust: accounts.Trust{Operator: trusted}})}
	if edit != nil {
		edit(&options)
	}
	return o, replica.New(options), store
}

// TestB15ManyAskAtOnce for what is stored and for what is not: the primary is not asked for what it has just said.
func TestB15ManyAskAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tokens, asked := map[string][]byte{}, map[string]int{}
	o, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		key := strings.TrimPrefix(q.URL.Path, "/jwt/v1/accounts/")
		mu.Lock()
		defer mu.Unlock()
		if asked[key]++; tokens[key] == nil {
			http.NotFound(w, q)
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
				a, err := r.Find(context.Background(), key)
				if (i%2 == 0) != (err == nil) || err == nil && string(a.JWT) != string(tokens[key]) {
					t.Errorf("%v, %v", a, err)
				}
			})
		}
		all.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	for i, key := range keys {
		if i%2 == 0 && asked[key] > 10 { // those who came before the first answer
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
	if _, err := store.Put(t.Context(), a.ID, "test", first, func(_, _ []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got, err := r.Find(t.Context(), a.ID); err != nil || string(got.JWT) != string(first) {
			t.Fatal(got, err)
		}
	}
	close(release)
	natstest.Eventually(t, "the primary's is served", func() bool {
		got, err := r.Find(t.Context(), a.ID)
		return err == nil && string(got.JWT) == string(second)
	})
	for range 10 {
		_, _ = r.Find(t.Context(), a.ID)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestThePrimarysAnswers to a miss.
func TestThePrimarysAnswers(t *testing.T) {
	t.Parallel()
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	var answer atomic.Pointer[func(w http.ResponseWriter)]
	o, r, store := following(t, func(w http.ResponseWriter, _ *http.Request) { (*answer.Load())(w) }, nil)
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		want   error
	}{
		{"it has another one's", func(w http.ResponseWriter) { _, _ = w.Write(o.Account(t, other)) }, accounts.ErrNotFound},
		{"it has another operator's", func(w http.ResponseWriter) { _, _ = w.Write(jwttest.NewOperator(t).Account(t, a)) }, accounts.ErrNotFound},
		{"it says something else", func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }, accounts.ErrNotFound},
		{"it does not know it", func(w http.ResponseWriter) { w.WriteHeader(404) }, accounts.ErrNotFound},
		{"it is 0.8.4 and does not know it", func(w http.ResponseWriter) { w.WriteHeader(500) }, accounts.ErrNotFound},
		{"it can't say now", func(w http.ResponseWriter) { w.WriteHeader(503) }, accounts.ErrUnreadable},
		{"it wants a password", func(w http.ResponseWriter) { w.WriteHeader(401) }, accounts.ErrUnreadable},
		{"it breaks off", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, accounts.ErrUnreadable},
		{"it has it", func(w http.ResponseWriter) { _, _ = w.Write(o.Account(t, a)) }, nil},
	} {
		answer.Store(&c.answer)
		if _, err := r.Find(t.Context(), a.ID); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, _, err := store.Load(a.ID, accounts.Stamp{}); (err == nil) != (c.want == nil) {
			t.Errorf("%s: stored: %v", c.name, err)
		}
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
	sign := func(ago time.Duration) []byte { return jwttest.Sign(t, o.Key, a, time.Now().Add(-ago)) }
	serves := func(want []byte) {
		t.Helper()
		natstest.Eventually(t, "it serves the JWT", func() bool {
			got, err := r.Find(t.Context(), a.ID)
			return err == nil && string(got.JWT) == string(want)
		})
	}
	find := func() {
		t.Helper()
		if _, err := r.Find(t.Context(), a.ID); err != nil {
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

// TestWhatAPackSaysOfTheRest: only who has everything knows what there is not.
func TestWhatAPackSaysOfTheRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		most      int            // that the replica asks for
		limit     int            // of the primary
		has       int            // accounts of the primary
		want      error          // for another account, once the primary is away
		questions map[string]int // packs by query
	}{
		{"everything", 10, 10, 3, accounts.ErrNotFound, map[string]int{"max=10": 1}},
		{"as much as was asked for", 3, 10, 3, accounts.ErrUnreadable, map[string]int{"max=3": 1}},
		{"more was asked for than the primary gives", 10, 5, 3, accounts.ErrUnreadable, map[string]int{"max=10": 1, "": 1}},
		{"without a limit", -1, 10, 3, accounts.ErrNotFound, map[string]int{"max=-1": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var pack string
			var mu sync.Mutex
			questions := map[string]int{}
			o, r, store := following(t, func(w http.ResponseWriter, q *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if q.URL.Path != "/jwt/v1/pack" {
					panic(http.ErrAbortHandler)
				}
				questions[q.URL.RawQuery]++
				var most int
				if _, _ = fmt.Sscanf(q.URL.RawQuery, "max=%d", &most); most > c.limit {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				fmt.Fprint(w, pack)
			}, func(o *replica.Options) { o.MaxPack = c.most })
			for range c.has {
				a := jwttest.NewAccount(t)
				pack += a.ID + "|" + string(o.Account(t, a)) + "\n"
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); r.Run(ctx) }()
			natstest.Eventually(t, "the pack is here", func() bool {
				n := 0
				for range store.Keys() {
					n++
				}
				return n == c.has
			})
			unknown := jwttest.NewAccount(t)
			natstest.Eventually(t, c.name, func() bool {
				_, err := r.Find(t.Context(), unknown.ID)
				return errors.Is(err, c.want)
			})
			time.Sleep(20 * time.Millisecond) // for what should not happen
			if _, err := r.Find(t.Context(), unknown.ID); !errors.Is(err, c.want) {
				t.Errorf("in the end %v", err)
			}
			cancel()
			<-ended
			if got := fmt.Sprint(questions); got != fmt.Sprint(c.questions) {
				t.Errorf("asked %s, want %v", got, c.questions)
			}
		})
	}
}

// TestAnActivationBringsItsAccount: nobody has asked for the account that has signed it.
func TestAnActivationBringsItsAccount(t *testing.T) {
	t.Parallel()
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	claims := jwt.NewActivationClaims(b.ID)
	claims.ImportSubject, claims.ImportType = "foo", jwt.Stream
	token, err := claims.Encode(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := claims.HashID()
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{"/jwt/v1/activations/" + hash: token}
	o, r, _ := following(t, func(w http.ResponseWriter, q *http.Request) {
		if answers[q.URL.Path] == "" {
			http.NotFound(w, q)
			return
		}
		fmt.Fprint(w, answers[q.URL.Path])
	}, nil)
	if _, err := r.LookupActivation(t.Context(), hash); !errors.Is(err, accounts.ErrNoActivation) {
		t.Errorf("of an account that the primary does not have: %v", err)
	}
	answers["/jwt/v1/accounts/"+a.ID] = string(o.Account(t, a))
	if got, err := r.LookupActivation(t.Context(), hash); err != nil || string(got.JWT) != token {
		t.Errorf("%v, %v", got, err)
	}
}
