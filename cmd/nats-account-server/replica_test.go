package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// followerOf configures a server that follows another one.
func followerOf(t *testing.T, s *testEnv, primary, nats, extra string) *testEnv {
	f := *s
	f.dir = t.TempDir()
	if nats != "" {
		extra += fmt.Sprintf("\nnats { servers: [%q], usercredentials: %q, reconnectwait: 100 }",
			nats, s.dir+"/sys.creds")
	}
	f.conf = conf(t, f.dir, `
		operatorjwtpath: %q, systemaccountjwtpath: %q
		primary: %q, replicationtimeout: 2s
		http { host: 127.0.0.1, port: 0 }
		store { dir: store, shard: true }
		%s`, s.dir+"/op.jwt", s.dir+"/sys.jwt", primary, extra)
	return &f
}

// TestAReplicaFollowsItsPrimary over restarts and while the primary is away.
func TestAReplicaFollowsItsPrimary(t *testing.T) {
	t.Parallel()
	natsURL := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	s := newEnv(t, natsURL, "")
	s.conf = conf(t, s.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: %d }
		store { dir: store }
		nats { servers: [%q], usercredentials: sys.creds, reconnectwait: 100 }`,
		freePort(t), natsURL)
	primary, primaryURL := s.start(t)
	push := func(url string, a *jwttest.Account, ago time.Duration) []byte {
		t.Helper()
		token := jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-ago))
		mustPush(t, url, a.ID, token)
		return token
	}
	serves := func(url string, a *jwttest.Account, token []byte) {
		t.Helper()
		natstest.Eventually(t, "it serves the JWT", func() bool {
			_, body := get(t, url+"/jwt/v1/accounts/"+a.ID)
			return body == string(token)
		})
	}
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first := push(primaryURL, a, time.Hour)
	f := followerOf(t, s, primaryURL+"/", natsURL, "")
	p, url := f.start(t)
	p.wait("initialized from primary, 1 account is newer than before")
	serves(url, a, first)
	second := push(primaryURL, b, time.Hour) // a miss
	serves(url, b, second)
	unknown := func(want int) {
		t.Helper()
		wantInTime(t, url, jwttest.NewAccount(t), want)
	}
	unknown(http.StatusNotFound)
	status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, first)
	if status != http.StatusMethodNotAllowed || !strings.Contains(body, primaryURL) {
		t.Errorf("a POST: %d %s", status, body)
	}
	n := natstest.Start(t, natstest.MemoryConf(t, s.op,
		"listen: "+strings.TrimPrefix(natsURL, "nats://")+"\nserver_name: n1\n"))
	p.wait("connected to NATS for JWT syncing")
	primary.wait("connected to NATS for JWT syncing")
	unknown(http.StatusNotFound)
	newer := push(primaryURL, a, time.Minute) // by NATS
	serves(url, a, newer)
	primary.term()
	serves(url, a, newer) // from disk
	serves(url, b, second)
	p.term()
	p, url = f.start(t) // the primary is away
	serves(url, a, newer)
	if status, _ := get(t, url+"/jwt/v1/accounts/"+c.ID); status != http.StatusServiceUnavailable {
		t.Errorf("an account that no server can know of: %d", status)
	}
	p.wait("unable to initialize from primary")
	natstest.Stop(n)
	primary, primaryURL = s.start(t)
	newest := push(primaryURL, c, 0)
	p.wait("initialized from primary")
	serves(url, c, newest)
	p.term()
	primary.term()
}

// wantInTime waits until an account that is not stored is answered with a status. On a busy machine the other
// servers may answer too late, but not each time: then it is a 503.
func wantInTime(t *testing.T, url string, a *jwttest.Account, want int) {
	t.Helper()
	natstest.Eventually(t, fmt.Sprintf("the answer is %d", want), func() bool {
		status, body := get(t, url+"/jwt/v1/accounts/"+a.ID)
		if status != want && status != http.StatusServiceUnavailable {
			t.Fatalf("an account that is not stored: %d %s, want %d", status, body, want)
		}
		return status == want
	})
}

// It brings nothing in that the operator did not sign, and nothing out of the store's directory.
func TestAHostilePrimaryDoesNoHarm(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	good := s.op.Account(t, a)
	token, hash := jwttest.Activation(t, a, b, time.Now())
	activation := string(token)
	var asked atomic.Int64
	var queries atomic.Int64
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwt/v1/pack" {
			fmt.Fprint(w, strings.Join([]string{
				"454QAMTYJTOI5FN7CHXOXMIDMBK3OMNYC47VHGCERG73C2JNVPUA====|no activation",
				hash + "|" + activation,
				"../../pwned|owned",
				b.ID + "|" + string(jwttest.NewOperator(t).Account(t, b)), "no line",
				"", a.ID + "|" + string(good),
			}, "\n"))
			return
		}
		asked.Add(1)
		if r.URL.RawQuery != "" {
			queries.Add(1)
		}
		// as 0.8.4 says of unknown accounts
		http.Error(w, "error loading JWT", http.StatusInternalServerError)
	}))
	t.Cleanup(fake.Close)
	f := followerOf(t, s, fake.URL, "", "")
	p, url := f.start(t)
	p.wait("4 entries of the primary's pack are refused")
	if status, body := get(t, url+"/jwt/v1/activations/"+hash); status != http.StatusOK ||
		body != activation {
		t.Errorf("the activation of 0.8.4's pack: %d %s", status, body)
	}
	wantJWT(t, url, a.ID, good)
	before := p.descriptors()
	for range 30 {
		wantInTime(t, url, jwttest.NewAccount(t), http.StatusNotFound)
	}
	if after := p.descriptors(); after > before+5 {
		t.Errorf("%d descriptors, then %d", before, after)
	}
	before30 := asked.Load()
	for _, query := range []string{"%3Fnotify=true", "%3Fx=1", "%23", "%2F..%2Fpack"} {
		if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID+query); status != http.StatusNotFound {
			t.Errorf("%s: %d", query, status)
		}
	}
	if asked.Load() != before30 || queries.Load() != 0 {
		t.Errorf("the primary was asked %d times more, %d with a query", asked.Load()-before30,
			queries.Load())
	}
	// The primary lacks what is stored here: it is served all the same.
	if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK {
		t.Errorf("what is stored: %d", status)
	}
	store := filepath.Join(f.dir, "store")
	want := []string{filepath.Join(store, "==", hash+".jwt"),
		filepath.Join(store, a.ID[54:], a.ID+".jwt")}
	slices.Sort(want)
	natstest.Eventually(t, "only the good ones are written", func() bool {
		files, _ := filepath.Glob(filepath.Join(store, "*", "*.jwt"))
		slices.Sort(files)
		return slices.Equal(files, want)
	})
	if _, err := os.Stat(filepath.Join(f.dir, "pwned")); err == nil {
		t.Error("it wrote outside of its store")
	}
	p.term()
}

// TestASilentPrimaryHoldsUpNoRequest: the program would wait for its answer for longer than this test waits
// for the program.
func TestASilentPrimaryHoldsUpNoRequest(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	hang := make(chan struct{})
	fake := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
			panic(http.ErrAbortHandler)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(fake.Close)
	f := followerOf(t, s, fake.URL, "", "maxreplicationpack: 10")
	text := strings.Replace(mustReadFile(t, f.conf), "replicationtimeout: 2s", "replicationtimeout: 1h", 1)
	f.conf = conf(t, f.dir, "%s", text)
	p, url := f.start(t)
	if status, _ := get(t, url+"/jwt/v1/accounts/"+s.op.System.ID); status != http.StatusOK {
		t.Errorf("the system account: %d", status)
	}
	status, _ := get(t, url+"/jwt/v1/accounts/"+jwttest.NewAccount(t).ID)
	if status != http.StatusServiceUnavailable {
		t.Errorf("an account that no server can know of: %d", status)
	}
	close(hang)
	p.wait("unable to initialize from primary")
	p.term()
}

// A nats-server waits for an answer for 1.9 s.
func TestASilentPrimaryAndNATSTakeNoLongerThanOneOfThem(t *testing.T) {
	t.Parallel()
	natsURL := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	s := newEnv(t, natsURL, "")
	n := natstest.Start(t, natstest.MemoryConf(t, s.op,
		"listen: "+strings.TrimPrefix(natsURL, "nats://")+"\nserver_name: n1\n"))
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	// as silent as the primary, but for one
	if _, err := nc.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", func(m *nats.Msg) {
		if strings.Contains(m.Subject, a.ID) {
			_ = m.Respond(token)
		}
	}); err != nil {
		t.Fatal(err)
	}
	fake := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	t.Cleanup(fake.Close)
	f := followerOf(t, s, fake.URL, natsURL, "")
	p, url := f.start(t)
	p.wait("connected to NATS for JWT syncing")
	// On a busy machine the answer may be late, but not each time.
	natstest.Eventually(t, "the answer takes no longer than one of them", func() bool {
		began := time.Now()
		status, _ := get(t, url+"/jwt/v1/accounts/"+jwttest.NewAccount(t).ID)
		if status != http.StatusServiceUnavailable {
			t.Errorf("an account that no server has: %d", status)
		}
		return time.Since(began) < 1800*time.Millisecond
	})
	wantInTime(t, url, a, http.StatusOK)
	wantJWT(t, url, a.ID, token)
	p.kill()
}

// A client that pushes is told the URL without the password.
func TestThePrimarysPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	primary := fmt.Sprintf("http://u:hush@127.0.0.1:%d", freePort(t))
	f := followerOf(t, s, primary, "", "")
	p, url := f.start(t, "-dump", "-DV")
	p.wait("unable to initialize from primary")
	a := jwttest.NewAccount(t)
	status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	if want := strings.Replace(primary, "hush", "xxxxx", 1); status != http.StatusMethodNotAllowed ||
		!strings.Contains(body, "127.0.0.1") || strings.Contains(body, "hush") {
		t.Errorf("%d %q, want %s", status, body, want)
	}
	get(t, url+"/jwt/v1/accounts/"+a.ID)
	p.term()
	if said := p.log.String(); strings.Contains(said, "hush") {
		t.Errorf("it says\n%s", said)
	}
}

// TestAReloadFollowsAnotherPrimary, or none: then pushes are taken.
func TestAReloadFollowsAnotherPrimary(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	other := *s
	other.conf = jwttest.File(t, s.dir, "other.conf", []byte(`
		operatorjwtpath: op.jwt
		http { host: 127.0.0.1, port: 0 }
		store { dir: other }`))
	first, firstURL := s.start(t)
	second, secondURL := other.start(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	for url, acc := range map[string]*jwttest.Account{firstURL: a, secondURL: b} {
		mustPush(t, url, acc.ID, s.op.Account(t, acc))
	}
	f := followerOf(t, s, firstURL, "", "")
	p, url := f.start(t)
	has := func(acc *jwttest.Account, want int) {
		t.Helper()
		wantInTime(t, url, acc, want)
	}
	p.wait("grabbing initial JWT pack from primary " + firstURL)
	p.wait("initialized from primary, 1 account")
	has(a, http.StatusOK)
	has(b, http.StatusNotFound)
	reload := func(old, new string, lines ...string) {
		t.Helper()
		text, err := os.ReadFile(f.conf)
		if err != nil {
			t.Fatal(err)
		}
		conf(t, f.dir, "%s", strings.Replace(string(text), old, new, 1))
		p.signal(syscall.SIGHUP)
		p.wait(append(lines, "configuration reloaded")...)
	}
	reload(firstURL, secondURL, "initialized from primary, 1 account")
	has(b, http.StatusOK)
	push := func(want int, text string) {
		t.Helper()
		c := jwttest.NewAccount(t)
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+c.ID, s.op.Account(t, c))
		if status != want || !strings.Contains(body, text) {
			t.Errorf("%d %s", status, body)
		}
	}
	push(http.StatusMethodNotAllowed, secondURL)
	reload(fmt.Sprintf("primary: %q,", secondURL), "")
	push(http.StatusOK, "stored")
	has(a, http.StatusOK)
	for _, p := range []*process{p, first, second} {
		p.term()
	}
}

// TestAReloadDoesNotDisturbRequestsToThePrimary: it answers when the program follows it no more.
func TestAReloadDoesNotDisturbRequestsToThePrimary(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	asked, reloaded := make(chan struct{}), make(chan []byte)
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/jwt/v1/accounts/A") {
			asked <- struct{}{}
			_, _ = w.Write(<-reloaded)
		}
	}))
	t.Cleanup(fake.Close)
	f := followerOf(t, s, fake.URL, "", "")
	p, url := f.start(t)
	follows := mustReadFile(t, f.conf)
	reload := func(text string) {
		t.Helper()
		conf(t, f.dir, "%s", text)
		p.signal(syscall.SIGHUP)
		p.wait("configuration reloaded")
	}
	// A request waits for a second at most. A busy machine may need that for the reload, but not each time.
	natstest.Eventually(t, "the answer is that of the primary", func() bool {
		a, answer := jwttest.NewAccount(t), make(chan string)
		token := s.op.Account(t, a)
		go func() {
			_, body := ask(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID)
			answer <- body
		}()
		<-asked
		reload(strings.Replace(follows, fmt.Sprintf("primary: %q,", fake.URL), "", 1))
		reloaded <- token
		body := <-answer
		reload(follows)
		return body == string(token)
	})
	p.term()
}
