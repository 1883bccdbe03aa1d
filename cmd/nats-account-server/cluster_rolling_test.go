//go:build unix

package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestARollingRestartLosesNothing: each of the six processes is restarted, one after the other, while
// clients push and read. Pushes that are answered with 503 are made again; no read fails of what an
// account server has.
func TestARollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	s := newClusterSoak(t, newBucketCluster(t, clusterKV("8s"), clusterKV("8s"), clusterKV("8s")))
	s.warm()
	s.run(func() {
		for _, m := range s.cluster.machines {
			s.note("restart of %s", m.name())
			m.kv.signal(syscall.SIGTERM)
			m.kv.exited()
			s.cluster.beginKV(m)
			natstest.Eventually(t, "the bucket has a leader", func() bool {
				return s.cluster.leader() != nil
			})
			s.note("restart of account server %d", m.number)
			s.cluster.end(m, syscall.SIGTERM)
			s.begin(m)
			waitReady(t, m.run.Load().url)
		}
	})
	s.converge()
	s.judge()
	s.report()
}

// waitReady waits until an account server has all that the others have.
func waitReady(t *testing.T, url string) {
	t.Helper()
	natstest.Eventually(t, "the account server is ready", func() bool {
		status, _ := get(t, url+"/readyz")
		return status == http.StatusOK
	})
}

// TestAStaleAccountServerIsCorrected: it was away when an account changed, and comes back cut off from
// the bucket. A nats-server starts on what it has. Nothing is announced and no lookup answered, until it
// has caught up; within five seconds of that the nats-server runs what the others have.
func TestAStaleAccountServerIsCorrected(t *testing.T) {
	t.Parallel()
	c := newBucketCluster(t, "", "", "")
	a := jwttest.NewAccount(t)
	creds, _ := a.User(t)
	old := jwttest.Sign(t, c.op.Signing, a, time.Now().Add(-time.Hour))
	current := c.op.Account(t, a)
	first, stale := c.machines[0], c.machines[1]
	waitReady(t, c.begin(first).url)
	waitReady(t, c.begin(stale).url)
	mustPush(t, stale.run.Load().url, a.ID, old)
	c.end(stale, syscall.SIGTERM)
	mustPush(t, first.run.Load().url, a.ID, current)

	for _, link := range stale.links {
		link.Down()
	}
	line := natstest.NewRelay(t, 0, nowhere)
	text := strings.ReplaceAll(mustReadFile(t, stale.env.conf), stale.probe.ClientURL(), line.URL())
	jwttest.File(t, stale.env.dir, "server.conf", []byte(text))
	url := c.begin(stale).url
	n := natstest.Start(t, natstest.URLConf(t, c.op, url+"/jwt/v1/accounts/", natstest.AnyPort))
	line.Point(n.ClientURL())
	natstest.Connect(t, n.ClientURL(), creds)
	system, _ := c.op.System.User(t)
	asks := natstest.Connect(t, n.ClientURL(), system)
	stale.run.Load().wait("connected to NATS for account")
	if m, err := asks.Request("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", nil, time.Second); err == nil {
		t.Errorf("a lookup is answered with %q", m.Data)
	}
	served := &node{now: n}
	if token, _ := served.runs(a.ID); token != string(old) {
		t.Errorf("the nats-server runs %q", token)
	}

	for _, link := range stale.links {
		link.Up()
	}
	waitReady(t, url)
	natstest.Within(t, 5*time.Second, "the nats-server runs what the others have", func() bool {
		token, _ := served.runs(a.ID)
		return token == string(current)
	})
}

// TestFromOneMachineToThreeAndBack walks as the manual does: the section is added to a server that has
// accounts, two others join with empty directories, and at the end one works alone again.
func TestFromOneMachineToThreeAndBack(t *testing.T) {
	t.Parallel()
	c := newBucketCluster(t, "", "", "")
	first := c.machines[0]
	withBucket := mustReadFile(t, first.env.conf)
	before, section, _ := strings.Cut(withBucket, ", kv {")
	_, after, _ := strings.Cut(section, "}")
	alone := before + after
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	old, newer := c.op.Account(t, a), c.op.Account(t, b)
	restart := func(conf string) string {
		jwttest.File(t, first.env.dir, "server.conf", []byte(conf))
		return c.begin(first).url
	}
	mustPush(t, restart(alone), a.ID, old)
	c.end(first, syscall.SIGTERM)

	waitReady(t, restart(withBucket))
	for _, m := range c.machines[1:] {
		url := c.begin(m).url
		waitReady(t, url)
		wantJWT(t, url, a.ID, old)
	}
	mustPush(t, c.machines[1].run.Load().url, b.ID, newer)
	for _, m := range c.machines {
		natstest.Eventually(t, fmt.Sprintf("account server %d has what was pushed on another", m.number),
			func() bool {
				_, body := get(t, m.run.Load().url+accountPath(b.ID))
				return body == string(newer)
			})
	}

	for _, m := range c.machines {
		c.end(m, syscall.SIGTERM)
	}
	url := restart(alone)
	wantJWT(t, url, a.ID, old)
	wantJWT(t, url, b.ID, newer)
	mustPush(t, url, a.ID, c.op.Account(t, a))
}
