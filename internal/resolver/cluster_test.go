package resolver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// newest is what must be stored everywhere in the end, and run wherever the account is loaded.
type newest struct {
	mu     sync.Mutex
	tokens map[string][]byte
	iat    map[string]int64
}

func (n *newest) offered(key string, token []byte, iat int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if iat > n.iat[key] {
		n.tokens[key], n.iat[key] = token, iat
	}
}

// There is a cluster with every kind of nats-server, and two account servers, of which one loses
// its connection again and again. JWTs are pushed in every way at once. In the end both stores have
// the newest of each account, every nats-server runs it, and nothing is announced any more.
func TestNoServerIsLeftOnAnOlderJWT(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	first := newServer(t, &environment{op: op}, jwtstore.NewMemory(true))
	web := httptest.NewServer(httpapi.New(httpapi.Options{Accounts: first.registry}))
	t.Cleanup(web.Close)
	first.push(t, op.System.ID, op.SystemAccount(t))
	kinds := []string{"full", "cache", "URL"}
	servers := natstest.Cluster(t, 3, func(extra string) string {
		kind := kinds[0]
		if kinds = kinds[1:]; kind == "URL" {
			return natstest.URLConf(t, op, web.URL+"/jwt/v1/accounts/", extra)
		}
		return natstest.DirConf(t, op, kind, t.TempDir(), extra)
	})
	env := newEnvironmentAt(t, op, servers[0])
	*first.environment = *env
	first.connect(t)
	elsewhere := newEnvironmentAt(t, op, servers[2])
	second := startServer(t, elsewhere)

	var accounts []*jwttest.Account
	for range 6 {
		a := jwttest.NewAccount(t)
		accounts = append(accounts, a)
		first.push(t, a.ID, env.signed(t, a, 10_000))
		creds, _ := a.User(t)
		for _, n := range servers { // each loads it
			natstest.Eventually(t, "the account is known",
				func() bool { return connects(t, n, creds) })
		}
	}
	want := newest{tokens: map[string][]byte{}, iat: map[string]int64{}}
	var pushers sync.WaitGroup
	for i := range 8 {
		pushers.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(i)))
			for step := range 12 {
				a := accounts[rng.IntN(len(accounts))]
				ago := 9000 - 600*step - rng.IntN(500)
				token := env.signed(t, a, ago)
				key := a.ID
				switch srv := []*accountServer{first, second}[rng.IntN(2)]; rng.IntN(4) {
				case 0:
					_, _ = srv.nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 5*time.Second)
				case 1:
					_, _ = srv.nc.Request("$SYS.REQ.ACCOUNT."+key+".CLAIMS.UPDATE",
						token, 5*time.Second)
				case 2:
					_, _ = srv.nc.Request("$SYS.ACCOUNT."+key+".CLAIMS.UPDATE",
						token, 5*time.Second)
				default:
					// it may be older than another
					_, _ = srv.registry.Put(t.Context(), key, token, sourceHTTP)
				}
				want.offered(key, token, time.Now().Add(-time.Duration(ago)*time.Second).Unix())
			}
		})
	}
	pushers.Go(func() {
		for range 3 { // the second account server misses some of it
			second.disconnect()
			time.Sleep(50 * time.Millisecond)
			second.connect(t)
		}
	})
	pushers.Wait()
	// What was pushed while the second one was away has come to the first one. On a busy machine an
	// older one may reach a nats-server long after that. The account server asks which JWT runs
	// after 5 s, and after 30 s more.
	for key, token := range want.tokens {
		first.eventuallyHas(t, key, token)
		second.eventuallyHas(t, key, token)
		for _, n := range servers {
			natstest.Within(t, 100*time.Second, "nats-server "+n.Name()+" runs it", func() bool {
				return bytes.Equal(runs(t, env.nc, n, key), token)
			})
		}
	}
	env.wantQuiet(t)
}

func connects(t *testing.T, n *server.Server, creds []byte) bool {
	t.Helper()
	path := jwttest.File(t, t.TempDir(), "u.creds", creds)
	nc, err := nats.Connect(n.ClientURL(), nats.UserCredentials(path), nats.NoReconnect(),
		nats.Timeout(20*time.Second))
	if err != nil {
		return false
	}
	t.Cleanup(nc.Close)
	return true
}

// runs asks a nats-server what it runs for an account.
func runs(t *testing.T, nc *nats.Conn, n *server.Server, key string) []byte {
	t.Helper()
	subject := "$SYS.REQ.SERVER." + n.ID() + ".ACCOUNTZ"
	m, err := nc.Request(subject, fmt.Appendf(nil, `{"account":%q}`, key), 5*time.Second)
	if err != nil {
		return nil
	}
	var answer struct {
		Data struct {
			Detail struct {
				JWT string `json:"jwt"`
			} `json:"account_detail"`
		} `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Error(err)
	}
	return []byte(answer.Data.Detail.JWT)
}
