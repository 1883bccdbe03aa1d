package bucket_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// startKeepers starts a cluster of nats-servers. None gets ready before the others are there.
func startKeepers(t *testing.T, n int) (keepers []*keeper) {
	t.Helper()
	routes := make([]string, n)
	for i := range routes {
		routes[i] = fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	}
	for i, route := range routes {
		conf := fmt.Sprintf("listen: \"127.0.0.1:-1\"\nserver_name: kv%d\njetstream { store_dir: %q }\n"+
			"cluster { name: c, listen: %q, routes: [nats://%s] }\n%s", i+1, t.TempDir(), route,
			strings.Join(routes, ", nats://"), users)
		o, err := server.ProcessConfigFile(jwttest.File(t, t.TempDir(), "kv.conf", []byte(conf)))
		if err != nil {
			t.Fatal(err)
		}
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { natstest.Stop(s) })
		keepers = append(keepers, &keeper{Server: s})
	}
	for _, k := range keepers {
		if !k.ReadyForConnections(time.Minute) {
			t.Fatal("nats-server does not get ready")
		}
		k.address = k.Addr().String()
	}
	return keepers
}

// Three account servers make the bucket at once, in a cluster of three. When its leader stops, a push waits
// for the next one, and no server goes back.
func TestAClusterGoesOnWithoutItsLeader(t *testing.T) {
	keepers := startKeepers(t, 3)
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	var all []*member
	for range keepers {
		m := newMember(t, op, func(m *member) {
			m.options.Replicas = 3
			m.options.Timeout = 20 * time.Second // of a busy machine
		})
		all = append(all, m.start(keepers...))
	}
	id := ""
	for _, m := range all {
		m.await()
		if now := m.BucketID(); id == "" {
			id = now
		} else if now != id {
			t.Errorf("there are the buckets %s and %s", id, now)
		}
	}
	all[0].mustPush(issue(t, op, a, 1))
	for _, k := range keepers {
		if k.JetStreamIsStreamLeader("KV", "KV_B") {
			natstest.Stop(k.Server)
			break
		}
	}
	for n, m := range all {
		if err := m.push(issue(t, op, a, 2+n)); err != nil {
			if e, ok := asCommitError(err); ok && e.Outcome == accounts.Elsewhere {
				t.Error(err)
			}
			m.mustPush(issue(t, op, a, 2+n)) // which is safe
		}
	}
	for _, m := range all {
		m.serves(a.ID, issue(t, op, a, 4))
	}
	kept, err := all[0].Revisions(t.Context(), a.ID)
	if err != nil || len(kept) != 4 {
		t.Errorf("%d revisions, %v", len(kept), err)
	}
}
