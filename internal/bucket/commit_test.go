package bucket_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// leader plays the leader of a bucket: it answers each publish by a script.
type leader struct {
	mu      sync.Mutex
	answers []string // to publishes; the last one is repeated; "" is none
	stored  []byte   // what a read finds
	seq     int
	tries   int
	before  func() // is called before a publish is answered; nil: nothing is
}

// answerTo returns the answer to a publish. "stored" stores the message, and says so; "lost" stores it,
// and says nothing.
func (l *leader) answerTo(m *nats.Msg) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		l.before()
	}
	answer := l.answers[min(l.tries, len(l.answers)-1)]
	if l.tries++; answer == "stored" || answer == "lost" {
		l.stored, l.seq = m.Data, l.seq+1
	}
	switch answer {
	case "stored":
		return fmt.Sprintf(`{"stream":"KV_B","seq":%d}`, l.seq)
	case "lost":
		return ""
	}
	return answer
}

// read returns the answer to a read.
func (l *leader) read() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seq == 0 {
		return `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
	}
	return fmt.Sprintf(`{"message":{"subject":"$KV.B.a.x","seq":%d,"data":%q}}`, l.seq, base64(l.stored))
}

func TestEachErrorOfTheEngineHasItsOutcome(t *testing.T) {
	refusal := func(code, errCode int) string {
		return fmt.Sprintf(`{"error":{"code":%d,"err_code":%d,"description":"no"}}`, code, errCode)
	}
	const none = accounts.Outcome(-1)
	op := jwttest.NewOperator(t)
	server := natstest.Start(t, natstest.AnyPort+`accounts { A { users: [{ user: u, password: p }] } }`)
	for _, c := range []struct {
		name    string
		answers []string
		want    accounts.Outcome // none: it is stored
		tries   int              // at least
	}{
		{"it is stored", []string{"stored"}, none, 1},
		{"a conflict, then it is stored", []string{refusal(400, 10071), "stored"}, none, 2},
		{"something is in flight, then it is stored", []string{refusal(400, 10164), "stored"}, none, 2},
		{"something is in flight for ever", []string{refusal(400, 10164)}, accounts.NotStored, 3},
		{"conflicts for ever", []string{refusal(400, 10071)}, accounts.NotStored, 3},
		{"not available", []string{refusal(503, 10008)}, accounts.NotStored, 3},
		{"an error that is not known", []string{refusal(500, 10999)}, accounts.Uncertain, 3},
		{"an error that is not known, then certain ones",
			[]string{refusal(500, 10999), refusal(503, 10008)}, accounts.Uncertain, 3},
		{"an error that is not known, then the bucket is full",
			[]string{refusal(500, 10999), refusal(400, 10077)}, accounts.Uncertain, 2},
		{"no JSON", []string{"+OK"}, accounts.Uncertain, 3},
		{"an acknowledgement without a revision", []string{`{"stream":"KV_B"}`}, accounts.Uncertain, 3},
		{"no answer, and it is not stored", []string{""}, accounts.Uncertain, 1},
		{"no answer, and it is stored", []string{"lost"}, none, 1},
		{"the bucket is full", []string{refusal(400, 10077)}, accounts.Full, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, l := newMember(t, op), &leader{answers: c.answers}
			m.options.Timeout = 3 * time.Second // in which a busy machine makes three attempts
			if c.name == "no answer, and it is stored" {
				m.options.Timeout = 5 * time.Second
			}
			m.start()
			a := jwttest.NewAccount(t)
			m.Play(l.play(t, "nats://u:p@"+server.Addr().String(), a.ID), m.accounts, m.tokens)
			err := m.push(issue(t, op, a, 1))
			if c.want == none && err != nil {
				t.Error(err)
			} else if c.want != none {
				wantOutcome(t, err, c.want)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.tries < c.tries {
				t.Errorf("it was tried %d times", l.tries)
			}
			_, missing := m.accounts.GetLocal(t.Context(), a.ID)
			if isHere := missing == nil; isHere != (c.want == none) {
				t.Errorf("it is here: %v", isHere)
			}
		})
	}
	t.Run("nothing listens", func(t *testing.T) {
		t.Parallel()
		m := newMember(t, op, func(m *member) { m.options.Timeout = time.Second }).start()
		m.Play(natstest.Dial(t, "nats://u:p@"+server.Addr().String()), m.accounts, m.tokens)
		wantOutcome(t, m.push(issue(t, op, jwttest.NewAccount(t), 1)), accounts.NotStored)
	})
}

// play answers for one account, and returns a connection to it.
func (l *leader) play(t *testing.T, url, key string) *nats.Conn {
	t.Helper()
	connect := func() *nats.Conn { return natstest.Dial(t, url) }
	nc := connect()
	respond := func(m *nats.Msg, answer string) {
		if answer != "" {
			_ = nc.Publish(m.Reply, []byte(answer))
		}
	}
	_, err := nc.Subscribe("$KV.B.a."+key, func(m *nats.Msg) { respond(m, l.answerTo(m)) })
	if err != nil {
		t.Fatal(err)
	}
	_, err = nc.Subscribe("$JS.API.STREAM.MSG.GET.KV_B", func(m *nats.Msg) {
		if strings.Contains(string(m.Data), key) {
			respond(m, strings.ReplaceAll(l.read(), "a.x", "a."+key))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = nc.Subscribe("$JS.API.STREAM.INFO.KV_B", func(m *nats.Msg) { respond(m, `{"config":{}}`) })
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return connect()
}

// A JWT that a nats-server takes no message for is a 413, also while max_payload is larger than it.
func TestAJWTThatNoMessageHoldsIsTooLarge(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	k.conf = "max_payload: 1500\n" + k.conf
	k.restart(t)
	m := newMember(t, op).start(k).await()
	a := jwttest.NewAccount(t)
	if err := m.push(issue(t, op, a, 1)); !errors.As(err, new(*accounts.TooLargeError)) {
		t.Errorf("%v\n%s", err, m.log)
	}
}

func TestTheHeadersFitIntoTheirRoom(t *testing.T) {
	if size := bucket.LargestHeader(); size > bucket.HeaderRoom || size < bucket.HeaderRoom/2 {
		t.Errorf("the largest headers have %d bytes, and their room %d", size, bucket.HeaderRoom)
	}
}

// away renames the directory of a server, and back.
func (m *member) away() (back func()) {
	m.t.Helper()
	rename := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			m.t.Fatal(err)
		}
	}
	rename(m.dir, m.dir+".away")
	return func() { rename(m.dir+".away", m.dir) }
}

func TestWhatIsCommittedAndCanNotBeStoredHereSaysSo(t *testing.T) {
	op := jwttest.NewOperator(t)
	server := natstest.Start(t, natstest.AnyPort+`accounts { A { users: [{ user: u, password: p }] } }`)
	m, l, a := newMember(t, op).start(), &leader{answers: []string{"stored"}}, jwttest.NewAccount(t)
	back := func() {}
	l.before = func() { back = m.away() }
	m.Play(l.play(t, "nats://u:p@"+server.Addr().String(), a.ID), m.accounts, m.tokens)
	wantOutcome(t, m.push(issue(t, op, a, 1)), accounts.Elsewhere)
	back()
	if m.Progress().Fault == nil {
		t.Error("the server is ready")
	}
	// What could not be stored anyway does not go into the bucket.
	l.before = func() { t.Error("it is published") }
	defer m.away()()
	if err := m.push(issue(t, op, a, 2)); !errors.Is(err, accounts.ErrSave) {
		t.Error(err)
	}
}

func TestAFaultOfTheDirectoryAfterALostAcknowledgementIsUncertain(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	server := natstest.Start(t, natstest.AnyPort+`accounts { A { users: [{ user: u, password: p }] } }`)
	m, l, a := newMember(t, op).start(), &leader{answers: []string{"lost"}}, jwttest.NewAccount(t)
	back := func() {}
	l.before = func() { back = m.away() }
	m.Play(l.play(t, "nats://u:p@"+server.Addr().String(), a.ID), m.accounts, m.tokens)
	wantOutcome(t, m.push(issue(t, op, a, 1)), accounts.Uncertain)
	back()
}

func TestARevisionThatCanNotBeStoredIsTriedAgain(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	one, two := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
	a := jwttest.NewAccount(t)
	one.mustPush(issue(t, op, a, 1))
	two.serves(a.ID, issue(t, op, a, 1))
	back := two.away()
	one.mustPush(issue(t, op, a, 2))
	natstest.Eventually(t, "the server is not ready", func() bool { return two.Progress().Fault != nil })
	if at := two.Progress().Revision; at != 1 {
		t.Errorf("the cursor is %d", at)
	}
	back()
	two.serves(a.ID, issue(t, op, a, 2))
	natstest.Eventually(t, "the server is ready", func() bool { return two.Progress().Fault == nil })
}

func TestOnlyOneOfManyWritersWinsEachRevision(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	all := []*member{newMember(t, op), newMember(t, op), newMember(t, op)}
	for _, m := range all {
		m.start(k).await()
	}
	a := jwttest.NewAccount(t)
	const rounds = 60
	var pushing sync.WaitGroup
	for i, m := range all {
		pushing.Go(func() {
			for n := range rounds {
				err := m.push(issue(t, op, a, 1+n*len(all)+i))
				if err != nil && !errors.As(err, new(*accounts.OlderError)) {
					t.Error(err)
				}
			}
		})
	}
	pushing.Wait()
	for _, m := range all {
		m.serves(a.ID, issue(t, op, a, rounds*len(all)))
	}
	kept, err := all[0].Revisions(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(kept); i++ {
		if issuedAt(kept[i].JWT) <= issuedAt(kept[i-1].JWT) {
			t.Errorf("revision %d has gone back", kept[i].Revision)
		}
	}
}

// The account of the bucket may import the question from the system account.
func TestTheServersOfABucketAreAskedOverItsOwnAccount(t *testing.T) {
	const subject = `"$SYS.REQ.SERVER.PING.JSZ"`
	for _, may := range []bool{true, false} {
		permissions := users // which have it
		if !may {
			permissions = strings.Replace(users, subject, `"none"`, 1)
		}
		k := startKeeperWith(t, "sync_interval: 2m", strings.NewReplacer(
			"users: [", "imports: [{ service: { account: SYS, subject: "+subject+" } }], users: [",
			"SYS { users: [", "SYS { exports: [{ service: "+subject+", response: stream }], users: [",
		).Replace(permissions))
		m := newMember(t, jwttest.NewOperator(t), func(m *member) { m.options.Sync = bucket.SyncRequire })
		m.start(k).await()
		if may {
			natstest.Eventually(t, "it is told", func() bool { return m.Progress().Refusing != "" })
		} else {
			natstest.Eventually(t, "the state says that it is not known", func() bool {
				return strings.Contains(m.Progress().Unknown, "kv1")
			})
			if err := m.push(issue(t, m.op, jwttest.NewAccount(t), 1)); err != nil {
				t.Errorf("what is not known refuses nothing: %v", err)
			}
		}
		m.stop()
	}
}

// Without sync_interval: always a power cut takes what was acknowledged.
func TestPushesAreRefusedWhileTheBucketIsNotSynced(t *testing.T) {
	op := jwttest.NewOperator(t)
	for _, c := range []struct {
		name, jetstream string
		sync            bucket.Sync
		refused         bool
	}{
		{"it syncs always", "sync_interval: always", bucket.SyncRequire, false},
		{"it does not, and that is required", "sync_interval: 2m", bucket.SyncRequire, true},
		{"it does not, and there is a warning", "sync_interval: 2m", bucket.SyncWarn, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := startKeeper(t, c.jetstream)
			m := newMember(t, op, func(m *member) { m.options.Sync = c.sync }).start(k).await()
			go m.ServeSystem(t.Context(), k.connect(t, "sys"))
			isLazy := strings.Contains(c.jetstream, "2m")
			natstest.Eventually(t, "it is told", func() bool {
				return !isLazy || strings.Contains(m.log.String(), "sync_interval: always")
			})
			err := m.push(issue(t, op, jwttest.NewAccount(t), 1))
			if !c.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantOutcome(t, err, accounts.NotStored)
			if !strings.Contains(fmt.Sprint(err), "kv1") || m.Progress().Refusing == "" {
				t.Errorf("the server is not named: %v", err)
			}
		})
	}
}

// The revisions of a bucket that was made anew begin at 1. A server that has not noticed that yet takes none
// of them for one that it has applied.
func TestABucketThatWasMadeAnewIsNotWrittenBeforeItIsRead(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
		x: jwttest.NewAccount(t)}
	s.both()
	s.push(s.a, 1)
	s.push(s.a, 2)
	s.b.serves(s.x.ID, s.version(2))
	s.a.stop()
	s.b.stop()
	s.lose()
	s.b.start(s.k).await()
	s.push(s.b, 5)
	s.a.options.Timeout = 500 * time.Millisecond
	m := s.a.start()
	m.Play(s.k.connect(t, "nas"), m.accounts, m.tokens)
	natstest.Eventually(t, "the client is told that the bucket is another one than before", func() bool {
		err := s.a.push(s.version(4))
		wantOutcome(t, err, accounts.NotStored)
		return err != nil && strings.Contains(err.Error(), "another one than before")
	})
	s.b.serves(s.x.ID, s.version(5))
	s.wantInBucket(s.version(5))
	s.a.stop()
	s.a.start(s.k).await()
	s.a.serves(s.x.ID, s.version(5))
}

// A server pushes over what another one has pushed a moment ago, and what is on its way into its directory.
func TestWhatIsOnItsWayIsNotRefused(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	one, two := newMember(t, op), newMember(t, op).start(k).await()
	one.registry.AllowOlder = true
	one.start(k).await()
	for range 20 {
		a := jwttest.NewAccount(t)
		two.mustPush(issue(t, op, a, 2))
		one.mustPush(issue(t, op, a, 1))
	}
}

// Of two JWTs of one second that are pushed on two servers at once, the one of the later revision is served
// by both, and the other one does not come back.
func TestTwoOfOneSecondAtOnce(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	one, two := newMember(t, op), newMember(t, op)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: one, b: two}
	s.both()
	for range 5 {
		s.x = jwttest.NewAccount(t)
		lesser, greater := sameSecond(t, op, s.x)
		var pushing sync.WaitGroup
		pushing.Go(func() { one.mustPush(lesser) })
		pushing.Go(func() { two.mustPush(greater) })
		pushing.Wait()
		kept, err := one.Revisions(t.Context(), s.x.ID)
		must(t, err)
		first, last := kept[0].JWT, kept[len(kept)-1].JWT
		for _, m := range []*member{one, two} {
			m.serves(s.x.ID, last)
			if err := m.push(first); !errors.Is(err, accounts.ErrReplaced) {
				t.Errorf("what was replaced is pushed again: %v", err)
			}
		}
		s.wantInBucket(last)
	}
}

// A server that may let an older JWT in does so for all, also for one that is away. After that the others
// push what is newer than it.
func TestAnOlderJWTThatOneServerLetsInCountsForAll(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
		x: jwttest.NewAccount(t)}
	c := newMember(t, op)
	s.a.registry.AllowOlder = true
	s.both()
	c.start(s.k).await()
	s.push(s.b, 5)
	c.serves(s.x.ID, s.version(5))
	c.stop()
	s.push(s.a, 1)
	s.push(s.b, 2)
	s.push(s.a, 1)
	c.start(s.k).await()
	c.serves(s.x.ID, s.version(1))
	s.push(c, 4)
	s.b.stop()
	s.b.start(s.k).await()
	s.b.serves(s.x.ID, s.version(4))
	s.wantInBucket(s.version(4))
}

// TestAnAnswerMayTakeLongerThanUntilItIsAskedForAgain is for a large JWT on a slow line.
func TestAnAnswerMayTakeLongerThanUntilItIsAskedForAgain(t *testing.T) {
	t.Parallel()
	op, k := jwttest.NewOperator(t), startKeeper(t, "")
	line := natstest.NewRelay(t, 0, "nats://"+k.address)
	m := newMember(t, op).start(&keeper{address: strings.TrimPrefix(line.URL(), "nats://")}).await()
	a := jwttest.NewAccount(t)
	m.mustPush(issue(t, op, a, 1))
	line.Delay(bucket.ReadTimeout * 3 / 4) // in each direction
	m.mustPush(issue(t, op, a, 2))
}
