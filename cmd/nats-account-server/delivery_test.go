package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// delivered is what delivery=true answers, as far as these tests look at it.
type delivered struct {
	NATS         string
	Acknowledged []to
	Owed         []to
}

type to struct {
	Server, Version string
	Since           time.Time
	Runs            struct {
		State string
		IAT   int64
	}
}

func delivery(t testing.TB, url, key string) (d delivered) {
	t.Helper()
	resp, err := http.Get(url + "/jwt/v1/accounts/" + key + "?delivery=true&verify=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// running says what the one nats-server runs.
func running(t testing.TB, url, key string) string {
	t.Helper()
	d := delivery(t, url, key)
	return fmt.Sprint(d.NATS, " ", d.Owed, " ",
		len(d.Acknowledged) == 1 && d.Acknowledged[0].Runs.State == "current")
}

// A nats-server applies it without a check.
func TestAnOlderJWTThatIsAnnouncedDoesNotStay(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a := jwttest.NewAccount(t)
	older := jwttest.Sign(t, s.op.Key, a, time.Now().Add(-time.Hour), func(c *jwt.AccountClaims) {
		c.Name = "older"
	})
	mustPush(t, url, a.ID, s.op.Account(t, a))
	user, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), user, nats.MaxReconnects(0))
	natstest.Eventually(t, "the stored JWT runs", func() bool {
		return running(t, url, a.ID) == "connected [] true"
	})
	system, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), system)
	for range 3 {
		answer, err := nc.Request("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", older, 10*time.Second)
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Logf("%s", answer.Data)
	}
	natstest.Eventually(t, "the stored JWT runs again", func() bool {
		return running(t, url, a.ID) == "connected [] true"
	})
	p.wait("a JWT was announced that may not replace the stored one")
	p.term()
}

// waitServers waits until the program knows as many connected nats-servers.
func waitServers(t testing.TB, url string, want int) {
	t.Helper()
	natstest.Eventually(t, "the nats-servers are known", func() bool {
		_, body := get(t, url+"/serverz")
		return strings.Count(body, `"here": true`) == want
	})
}

// A cluster of two loses a server before a push.
func TestAServerThatIsGoneStaysPendingOverARestart(t *testing.T) {
	t.Parallel()
	a := jwttest.NewAccount(t)
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "forgetserver: 1h")
	hub := natstest.Start(t, natstest.MemoryConf(t, s.op, fmt.Sprintf(
		"server_name: hub\nlisten: 127.0.0.1:%d\ncluster { name: c, listen: \"127.0.0.1:-1\" }\n",
		port),
		a))
	far := natstest.Start(t, natstest.MemoryConf(t, s.op, natstest.AnyPort+fmt.Sprintf(
		"server_name: far\ncluster { name: c, listen: \"127.0.0.1:-1\", routes: "+
			"[\"nats-route://127.0.0.1:%d\"] }\n", hub.ClusterAddr().Port), a))
	p, url := s.start(t)
	push := func() {
		t.Helper()
		mustPush(t, url, a.ID, s.op.Account(t, a))
	}
	owed := func(want ...string) {
		t.Helper()
		natstest.Eventually(t, fmt.Sprintf("owed to %v", want), func() bool {
			var names []string
			for _, o := range delivery(t, url, a.ID).Owed {
				if time.Since(o.Since) < 0 || time.Since(o.Since) > time.Minute {
					t.Errorf("owed since %s", o.Since)
				}
				names = append(names, o.Server)
			}
			return fmt.Sprint(names) == fmt.Sprint(want)
		})
	}
	waitServers(t, url, 2)
	push()
	owed()
	p.term() // nothing is owed, and both are remembered
	natstest.Stop(far)
	p, url = s.start(t)
	p.wait("connected to NATS")
	push()
	owed("far")
	p.kill()
	p, url = s.start(t)
	owed("far")
	p.kill()
	text := strings.Replace(mustReadFile(t, s.conf), "forgetserver: 1h", "forgetserver: 5s", 1)
	s.conf = conf(t, s.dir, "%s", text)
	p, url = s.start(t)
	p.wait("nats-server far has not been seen for 5s and is forgotten")
	owed()
	p.term()
}
