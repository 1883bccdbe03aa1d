package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestA404MeansThatNoServerHasTheAccount: a nats-server has one that the program lacks. Other
// clients ask for accounts that do not exist, and then NATS is cut.
func TestA404MeansThatNoServerHasTheAccount(t *testing.T) {
	t.Parallel()
	v := newFullResolverEnv(t)
	n := v.boot()
	p, url := v.start(t)
	p.wait("connected to NATS for JWT syncing")
	token := jwttest.Sign(t, v.op.Signing, v.a, time.Now())
	if err := os.WriteFile(filepath.Join(v.kept, v.a.ID+".jwt"), token, 0o600); err != nil {
		t.Fatal(err)
	}
	at := url + "/jwt/v1/accounts/" + v.a.ID
	natstest.Eventually(t, "the nats-server's account is served", func() bool {
		_, body := get(t, at)
		return body == string(token)
	})
	wantInTime(t, url, jwttest.NewAccount(t), http.StatusNotFound)
	// One that was unknown a moment ago is asked for again.
	late := jwttest.NewAccount(t)
	for _, want := range []int{http.StatusNotFound, http.StatusOK} {
		wantInTime(t, url, late, want)
		jwttest.File(t, v.kept, late.ID+".jwt", v.op.Account(t, late))
	}
	var all sync.WaitGroup
	for range 300 { // more than the program asks for in a second
		other := url + "/jwt/v1/accounts/" + jwttest.NewAccount(t).ID
		all.Go(func() { get(t, other) })
	}
	for range 40 {
		if status, body := get(t, at); status != http.StatusOK &&
			status != http.StatusServiceUnavailable {
			t.Errorf("while others ask: %d %s", status, body)
		}
	}
	all.Wait()
	natstest.Stop(n)
	natstest.Eventually(t, "the program knows that NATS is away", func() bool {
		response, err := http.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusNotFound {
			t.Fatal("NATS is away, and the account is a 404")
		}
		return response.StatusCode == http.StatusServiceUnavailable &&
			response.Header.Get("Retry-After") != ""
	})
	p.term()
}
