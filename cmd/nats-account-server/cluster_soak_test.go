//go:build unix

package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

const (
	clusterSoakTime = 20 * time.Second // without CLUSTER_TIME
	// clusterRound is how long faults are made, until everything is healed and judged.
	clusterRound   = 30 * time.Second
	clusterWriters = 9
	clusterReaders = 4
	// hotAccounts are pushed to at the same moment. One that has versionsEach versions makes room for
	// another account, so that the bucket's history has every revision of each.
	hotAccounts  = 4
	versionsEach = 50
	// convergeWithin is how soon all account servers serve the same when everything is healed.
	convergeWithin = 60 * time.Second
	// clusterReadTimeout is http.readtimeout of the account servers, which have the default.
	clusterReadTimeout = 5 * time.Second
)

// clusterSoak is one run: a cluster, its history, and the actors.
type clusterSoak struct {
	t       *testing.T
	cluster *bucketCluster
	seed    uint64
	ctx     context.Context // of the actors of a round
	stop    context.CancelFunc
	began   time.Time
	streams uint64 // of random numbers that were used

	mu       sync.Mutex
	history  clusterHistory
	tokens   [][]byte       // of the versions
	byToken  map[string]int // the version of each
	accounts []*hotAccount  // all that there were; the last ones are pushed to
	events   []string
	answers  map[string]int // how often each status and beginning of an answer came
}

// hotAccount is an account that several writers push to.
type hotAccount struct {
	*jwttest.Account
	newest   int64 // greatest iat of its versions
	versions []int
}

// TestClusterSoak lets nine clients push to three account servers with one bucket, and others read,
// while nats-servers, account servers and the lines between them fail. What they saw and what the
// bucket has at the end must agree. CLUSTER_TIME is how long (20s), CLUSTER_SEED repeats the choices
// of another run, though not its timing.
func TestClusterSoak(t *testing.T) {
	t.Parallel()
	s := newClusterSoak(t, newBucketCluster(t, clusterKV("8s"), clusterKV("3s"), clusterKV("1500ms")))
	s.warm()
	until := time.Now().Add(fromEnv(t, "CLUSTER_TIME", time.ParseDuration, clusterSoakTime))
	for left := time.Until(until); left > 0 && !t.Failed(); left = time.Until(until) {
		end := time.Now().Add(min(left, clusterRound))
		s.run(func() { s.makeFaults(rand.New(rand.NewPCG(s.seed, s.stream())), end) })
		s.converge()
		s.judge()
	}
	s.report()
}

// clusterKV is the section store.kv of an account server of the tests.
func clusterKV(timeout string) string {
	return fmt.Sprintf("bucket: ACCOUNT_JWTS, replicas: 3, history: 64, timeout: %q, sync: require",
		timeout)
}

func newClusterSoak(t *testing.T, c *bucketCluster) *clusterSoak {
	t.Helper()
	s := &clusterSoak{t: t, cluster: c, byToken: map[string]int{}, answers: map[string]int{},
		began: time.Now()}
	s.seed = fromEnv(t, "CLUSTER_SEED", func(v string) (uint64, error) {
		return strconv.ParseUint(v, 10, 64)
	}, rand.Uint64())
	t.Logf("CLUSTER_SEED=%d", s.seed)
	for range hotAccounts {
		s.accounts = append(s.accounts, &hotAccount{Account: jwttest.NewAccount(t),
			newest: time.Now().Add(-72 * time.Hour).Unix()})
	}
	for _, m := range c.machines {
		s.listen(m)
		s.begin(m)
	}
	return s
}

// warm waits until every account server takes pushes.
func (s *clusterSoak) warm() {
	s.t.Helper()
	for _, m := range s.cluster.machines {
		natstest.Eventually(s.t, fmt.Sprintf("account server %d takes pushes", m.number), func() bool {
			account, version := s.version(rand.New(rand.NewPCG(s.seed, 0)))
			end, _ := s.push(http.DefaultClient, m, account, version)
			return end == isStored
		})
	}
}

// begin starts an account server and notes it.
func (s *clusterSoak) begin(m *machine) {
	s.t.Helper()
	l := s.cluster.begin(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.starts = append(s.history.starts, processStart{m.number, l.began})
}

// run lets the actors act while something is done.
func (s *clusterSoak) run(meanwhile func()) {
	s.t.Helper()
	s.ctx, s.stop = context.WithCancel(s.t.Context())
	var actors sync.WaitGroup
	defer actors.Wait()
	defer s.stop()
	for i := range clusterWriters + clusterReaders + 1 {
		rng := rand.New(rand.NewPCG(s.seed, s.stream()))
		actor := s.write
		switch {
		case i == clusterWriters+clusterReaders:
			actor = s.lookUp
		case i >= clusterWriters:
			actor = s.read
		}
		actors.Go(func() { actor(rng) })
	}
	meanwhile()
}

// write pushes until the soak ends. A push that was answered with 503 is mostly made again, at any
// account server.
func (s *clusterSoak) write(rng *rand.Rand) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		Timeout: 20 * time.Second}
	for s.ctx.Err() == nil {
		account, version := s.version(rng)
		for s.ctx.Err() == nil {
			end, sent := s.push(client, s.machine(rng), account, version)
			if sent && (end == isStored || end == isRefused || rng.IntN(3) == 0) {
				break
			}
			pause(s.ctx, upTo(rng, 200*time.Millisecond))
		}
		pause(s.ctx, upTo(rng, 40*time.Millisecond))
	}
}

// stream is the number of another stream of random numbers.
func (s *clusterSoak) stream() uint64 {
	s.streams++
	return s.streams
}

func (s *clusterSoak) machine(rng *rand.Rand) *machine {
	return s.cluster.machines[rng.IntN(len(s.cluster.machines))]
}

// version makes a version of an account, or gives one that was made before.
func (s *clusterSoak) version(rng *rand.Rand) (account string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	position := len(s.accounts) - 1 - rng.IntN(hotAccounts)
	a := s.accounts[position]
	if len(a.versions) == versionsEach {
		a = &hotAccount{Account: jwttest.NewAccount(s.t), newest: a.newest}
		s.accounts = append(s.accounts, a)
		s.accounts[position], s.accounts[len(s.accounts)-1-hotAccounts] =
			s.accounts[len(s.accounts)-1-hotAccounts], s.accounts[position]
	}
	switch n := rng.IntN(10); {
	case n == 0 && len(a.versions) > 0: // any of the last ones
		return a.ID, a.versions[len(a.versions)-1-rng.IntN(min(len(a.versions), 5))]
	case n == 1:
		return a.ID, s.signLocked(a, a.newest)
	case n == 2:
		return a.ID, s.signLocked(a, a.newest-1)
	}
	return a.ID, s.signLocked(a, a.newest+1)
}

// signLocked makes a version. s.mu must be held.
func (s *clusterSoak) signLocked(a *hotAccount, iat int64) int {
	number := len(s.tokens)
	token := jwttest.Sign(s.t, s.cluster.op.Signing, a.Account, time.Unix(iat, 0),
		func(c *jwt.AccountClaims) { c.Name = fmt.Sprintf("version %d", number) })
	a.newest = max(a.newest, iat)
	a.versions = append(a.versions, number)
	s.tokens = append(s.tokens, token)
	s.byToken[string(token)] = number
	s.history.versions = append(s.history.versions, madeVersion{a.ID, iat})
	return number
}

// push sends a version to an account server and notes how it ended. sent is false if that was away.
func (s *clusterSoak) push(
	client *http.Client, m *machine, account string, version int,
) (end pushEnd, sent bool) {
	l := m.run.Load()
	s.mu.Lock()
	token := s.tokens[version]
	s.mu.Unlock()
	began := time.Now()
	var a reply
	a.err = a.fetch(client, http.MethodPost, l.url+accountPath(account), "", token)
	now := time.Now()
	var dial *net.OpError
	if errors.As(a.err, &dial) && dial.Op == "dial" {
		return isUnknown, false
	}
	end = pushEndOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.pushes = append(s.history.pushes, sentPush{m.number, version, end, began, now})
	s.answers[answerKind(a)]++
	return end, true
}

// pushEndOf is what an answer says about the bucket.
func pushEndOf(a reply) pushEnd {
	switch {
	case a.status == http.StatusOK:
		return isStored
	case a.status == http.StatusConflict:
		return isRefused
	case a.status == http.StatusServiceUnavailable && strings.HasPrefix(string(a.body), "not stored"):
		return notStored
	}
	return isUnknown
}

// answerKind is the status and the beginning of an answer.
func answerKind(a reply) string {
	if a.err != nil {
		return "no answer"
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(a.body)), ";")
	text, _, _ = strings.Cut(text, ":")
	return fmt.Sprint(a.status, " ", text)
}

// read reads accounts until the soak ends.
func (s *clusterSoak) read(rng *rand.Rand) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		Timeout: 20 * time.Second}
	for s.ctx.Err() == nil {
		s.look(client, s.machine(rng), s.recent(rng))
		pause(s.ctx, upTo(rng, 20*time.Millisecond))
	}
}

// recent is one of the accounts that were pushed to last.
func (s *clusterSoak) recent(rng *rand.Rand) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[len(s.accounts)-1-rng.IntN(min(len(s.accounts), 3*hotAccounts))].ID
}

// look reads an account at an account server and notes what it saw. A process that is away, ends
// meanwhile, or has stood still for too long, is no fault.
func (s *clusterSoak) look(client *http.Client, m *machine, account string) (version int) {
	l := m.run.Load()
	r := madeRead{server: m.number, account: account, version: nothing, begin: time.Now()}
	var a reply
	a.err = a.fetch(client, http.MethodGet, l.url+accountPath(account)+"?text=true", "", nil)
	r.end = time.Now()
	if a.err != nil && (l.leaving.Load() || l != m.run.Load()) {
		return nothing
	}
	if l.stood.Load().closed(r, a.err, clusterReadTimeout) {
		return nothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch number, isKnown := s.byToken[string(a.body)]; {
	case a.status == http.StatusOK && isKnown:
		r.version = number
	case a.status == http.StatusOK:
		s.t.Errorf("account server %d served %q, which was never made", m.number, a.body)
	case a.status != http.StatusNotFound:
		r.failed = true
		kind := answerKind(a)
		if failed, ok := errors.AsType[*url.Error](a.err); ok {
			kind += ": " + failed.Err.Error()
		}
		s.answers["GET: "+kind]++
	}
	s.history.reads = append(s.history.reads, r)
	return r.version
}

// listen notes every announcement of an account server.
func (s *clusterSoak) listen(m *machine) {
	s.t.Helper()
	note := func(msg *nats.Msg) { s.told(m, "announced", msg.Data) }
	for _, subject := range []string{"$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE",
		"$SYS.REQ.CLAIMS.UPDATE"} {
		_, err := m.asked.Subscribe(subject, note)
		must(s.t, err)
	}
	must(s.t, m.asked.Flush())
}

// told notes what an account server told NATS.
func (s *clusterSoak) told(m *machine, how string, token []byte) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if number, isKnown := s.byToken[string(token)]; isKnown {
		s.history.told = append(s.history.told, toldVersion{m.number, number, how, now})
	}
}

// lookUp asks account servers over NATS for accounts and packs until the soak ends.
func (s *clusterSoak) lookUp(rng *rand.Rand) {
	for s.ctx.Err() == nil {
		m := s.machine(rng)
		if rng.IntN(5) == 0 {
			s.pack(m)
		} else if answer, err := m.asked.Request(
			"$SYS.REQ.ACCOUNT."+s.recent(rng)+".CLAIMS.LOOKUP", nil, time.Second); err == nil {
			s.told(m, "looked up", answer.Data)
		}
		pause(s.ctx, upTo(rng, 100*time.Millisecond))
	}
}

// pack asks an account server for all that it has, as a nats-server with a full resolver does.
func (s *clusterSoak) pack(m *machine) {
	inbox := nats.NewInbox()
	sub, err := m.asked.SubscribeSync(inbox)
	must(s.t, err, m.asked.PublishRequest("$SYS.REQ.CLAIMS.PACK", inbox, make([]byte, 32)))
	defer func() { _ = sub.Unsubscribe() }()
	for {
		msg, err := sub.NextMsg(time.Second)
		if err != nil || len(msg.Data) == 0 {
			return
		}
		for line := range strings.Lines(string(msg.Data)) {
			_, token, _ := strings.Cut(strings.TrimSpace(line), "|")
			s.told(m, "packed", []byte(token))
		}
	}
}

// note keeps what happened, for people.
func (s *clusterSoak) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%6.2fs ", time.Since(s.began).Seconds())+
		fmt.Sprintf(format, args...))
}
