package bucket_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/trust"
)

// order makes an order of the operator to delete accounts.
func order(t *testing.T, op *jwttest.Operator, at time.Time, accounts ...*jwttest.Account) []byte {
	t.Helper()
	c := jwt.NewGenericClaims(op.ID)
	var keys []any
	for _, a := range accounts {
		keys = append(keys, a.ID)
	}
	c.Data["accounts"] = keys
	c.Issuer, c.IssuedAt = op.ID, at.Unix()
	return jwttest.Encode(t, op.Key, c)
}

// remove deletes accounts by an order.
func (m *member) remove(all ...*jwttest.Account) {
	m.t.Helper()
	o := order(m.t, m.op, time.Now(), all...)
	done, err := m.accounts.Delete(m.t.Context(), o, accounts.Origin{Kind: accounts.KindNATS})
	if err != nil || len(done.Failed) > 0 {
		m.t.Fatalf("%v, %v", done, err)
	}
}

// Each row is what one server and the bucket have of an account when the server starts, and what both
// have then.
func TestAStartMakesDirectoryAndBucketTheSame(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	allowOlder := func(m *member) { m.registry.AllowOlder = true }
	other, late := newMember(t, op, allowOlder).start(k).await(), newMember(t, op)
	late.start(k).await()
	const nothing, deleted = 0, -1
	rows := []struct {
		name         string
		before       int // both have it, and have had it in the bucket
		here, bucket int // come while the server is stopped; 0: nothing comes
		want         int
	}{
		{"neither has changed", 1, nothing, nothing, 1},
		{"only the bucket has it", nothing, nothing, 1, 1},
		{"only the directory has it", nothing, 1, nothing, 1},
		{"the bucket's is newer", 1, nothing, 2, 2},
		{"the file's is newer", 1, 2, nothing, 2},
		{"an older file was put there", 2, 1, nothing, 2},
		{"both are newer: what this server has not read counts", 1, 3, 2, 2},
		{"an override took it back", 2, nothing, 1, 1},
		{"an override is not undone by a newer file", 2, 3, 1, 1},
		{"it was deleted elsewhere", 1, nothing, deleted, deleted},
		{"it was deleted elsewhere, and a file has come", 1, 2, deleted, deleted},
		{"it was never here and is deleted", nothing, nothing, deleted, deleted},
	}
	all := make([]*jwttest.Account, len(rows))
	for i, r := range rows {
		if all[i] = jwttest.NewAccount(t); r.before != nothing {
			other.mustPush(issue(t, op, all[i], r.before))
			late.serves(all[i].ID, issue(t, op, all[i], r.before))
		}
	}
	late.stop()
	for i, r := range rows {
		switch a := all[i]; r.bucket {
		case nothing:
		case deleted:
			if r.before == nothing {
				other.mustPush(issue(t, op, a, 1))
			}
			other.remove(a)
		default:
			other.mustPush(issue(t, op, a, r.bucket))
		}
		if r.here != nothing {
			late.plant(all[i].ID, issue(t, op, all[i], r.here))
		}
	}
	late.start(k).await()
	for i, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var want []byte
			if r.want > 0 {
				want = issue(t, op, all[i], r.want)
			}
			other.serves(all[i].ID, want)
			late.serves(all[i].ID, want)
		})
	}
	if first, second := other.accounts.Digest(), late.accounts.Digest(); first != second {
		t.Errorf("the digests are %x and %x\n%s", first, second, late.log)
	}
}

// mustPush pushes a JWT that must be taken.
func (m *member) mustPush(token []byte) {
	m.t.Helper()
	if err := m.push(token); err != nil {
		m.t.Fatalf("%v\n%s", err, m.log)
	}
}

func TestTheFirstReadingOwesNothingAndBringsEverything(t *testing.T) {
	op := jwttest.NewOperator(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	alone := startKeeper(t, "")
	first, second := newMember(t, op), newMember(t, op)
	// Both were servers of their own, and have read other buckets or none.
	first.plant(a.ID, issue(t, op, a, 2))
	second.plant(a.ID, issue(t, op, a, 1))
	second.plant(b.ID, issue(t, op, b, 1))
	first.start(alone).await()
	second.start(alone).await()
	for _, m := range []*member{first, second} {
		m.serves(a.ID, issue(t, op, a, 2))
		m.serves(b.ID, issue(t, op, b, 1))
	}
	if pending := second.Outbox().Pending(); len(pending) > 0 {
		t.Errorf("pending are %v", pending)
	}
	second.mustPush(issue(t, op, a, 3))
	if pending := second.Outbox().Pending(); len(pending) != 1 {
		t.Errorf("after a push pending are %v", pending)
	}
}

func TestALostBucketIsFilledAgain(t *testing.T) {
	for _, how := range []string{"made anew while the servers run", "made anew while they are stopped"} {
		t.Run(how, func(t *testing.T) {
			k, op := startKeeper(t, ""), jwttest.NewOperator(t)
			one, two := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
			kept, gone := jwttest.NewAccount(t), jwttest.NewAccount(t)
			one.mustPush(issue(t, op, kept, 1))
			one.mustPush(issue(t, op, gone, 1))
			one.remove(gone)
			two.serves(kept.ID, issue(t, op, kept, 1))
			two.serves(gone.ID, nil)
			if strings.Contains(how, "stopped") {
				one.stop()
				two.stop()
			}
			js, err := jetstream.New(k.connect(t, "admin"))
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), "KV_B"); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(how, "stopped") {
				one.start(k).await()
				two.start(k).await()
			}
			natstest.Eventually(t, "both are in the new bucket", func() bool {
				s, err := js.Stream(t.Context(), "KV_B")
				return err == nil && s.CachedInfo().State.LastSeq >= 2
			})
			third := newMember(t, op).start(k).await()
			third.serves(kept.ID, issue(t, op, kept, 1))
			if err := third.push(issue(t, op, gone, 1)); accounts.Reason(err) != "deleted" {
				t.Errorf("what was deleted comes back: %v", err)
			}
			text := one.log.String() + two.log.String()
			if !strings.Contains(text, "another one than before") {
				t.Errorf("the log is\n%s", text)
			}
		})
	}
}

// A server without its bucket serves what it has, and does not say of the rest that it does not exist.
func TestWithoutTheBucketWhatIsStoredIsServed(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op, func(m *member) { m.options.Timeout = time.Second }).start(k).await()
	a := jwttest.NewAccount(t)
	m.mustPush(issue(t, op, a, 1))
	m.stop()
	natstest.Stop(k.Server)
	m.start(k)
	m.serves(a.ID, issue(t, op, a, 1))
	_, err := m.accounts.Get(t.Context(), jwttest.NewAccount(t).ID)
	if err == nil || accounts.Reason(err) == "" || !strings.Contains(err.Error(), "has not been read") {
		t.Errorf("an unknown account: %v", err)
	}
	if m.IsIncomplete() {
		t.Error("it has an account, and the probe is refused")
	}
	wantOutcome(t, m.push(issue(t, op, a, 2)), accounts.NotStored)
	k.Server = natstest.Start(t, k.conf)
	m.await()
	if _, err := m.accounts.Get(t.Context(), jwttest.NewAccount(t).ID); err == nil ||
		!strings.Contains(err.Error(), accounts.ErrNotFound.Error()) {
		t.Errorf("an unknown account then: %v", err)
	}
}

func TestAnAdministratorsMarkerIsUndone(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	one, two := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
	a := jwttest.NewAccount(t)
	one.mustPush(issue(t, op, a, 1))
	two.serves(a.ID, issue(t, op, a, 1))
	js, err := jetstream.New(k.connect(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "B")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "a."+a.ID); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "it is put back", func() bool {
		e, err := kv.Get(t.Context(), "a."+a.ID)
		return err == nil && string(e.Value()) == string(issue(t, op, a, 1))
	})
	one.serves(a.ID, issue(t, op, a, 1))
	one.mustPush(issue(t, op, a, 2))
	two.serves(a.ID, issue(t, op, a, 2))
}

func TestWhatNoOperatorOfOursHasSignedCountsAsAbsent(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op).start(k).await()
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	m.mustPush(issue(t, op, a, 1))
	js, err := jetstream.New(k.connect(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "B")
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []*jwttest.Account{a, b} {
		if _, err := kv.Put(context.Background(), "a."+account.ID,
			issue(t, jwttest.NewOperator(t), account, 5)); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "the values are read", func() bool { return m.Progress().Revision >= 3 })
	m.serves(a.ID, issue(t, op, a, 1))
	m.serves(b.ID, nil)
	m.refuses(1)                   // of the other one what is stored here is put back
	m.mustPush(issue(t, op, a, 2)) // over the foreign one
	m.mustPush(issue(t, op, b, 1))
	m.refuses(0)
	if _, err := kv.Put(t.Context(), "a."+a.ID, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m.start(k).await()
	natstest.Eventually(t, "ours is offered over the junk", func() bool {
		e, err := kv.Get(t.Context(), "a."+a.ID)
		return err == nil && string(e.Value()) == string(issue(t, op, a, 2))
	})
	m.refuses(0)
}

// refuses waits until the state says so many accounts of the bucket are not taken.
func (m *member) refuses(accounts int) {
	m.t.Helper()
	natstest.Eventually(m.t, "the state says which accounts of the bucket are not taken",
		func() bool { return m.Progress().Refused == accounts })
}

func TestAFileThatIsPutThereGoesToTheOthers(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	var one *member
	one = newMember(t, op, func(m *member) {
		m.registry.Edited = func(key string) {
			if err := one.Offer(context.Background(), key); err != nil {
				t.Error(err)
			}
		}
	})
	one.start(k).await()
	two := newMember(t, op).start(k).await()
	a := jwttest.NewAccount(t)
	one.mustPush(issue(t, op, a, 1))
	two.serves(a.ID, issue(t, op, a, 1))
	natstest.Eventually(t, "the file is written", func() bool { return one.Dir.State().Behind == 0 })
	one.plant(a.ID, issue(t, op, a, 2))
	one.serves(a.ID, issue(t, op, a, 2))
	two.serves(a.ID, issue(t, op, a, 2))
	one.plant(a.ID, issue(t, op, a, 1))
	_, _ = one.accounts.GetLocal(t.Context(), a.ID)
	one.serves(a.ID, issue(t, op, a, 2))
}

func TestActivationTokensAreShared(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	one := newMember(t, op).start(k).await()
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	one.mustPush(issue(t, op, exporter, 1))
	token, hash := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Minute))
	if _, _, err := one.tokens.Put(t.Context(), token, accounts.Origin{Kind: accounts.KindHTTP}); err != nil {
		t.Fatal(err)
	}
	// In the bucket the token comes before the last version of its account.
	one.mustPush(issue(t, op, exporter, 2))
	two := newMember(t, op).start(k).await()
	if got, err := two.tokens.Get(t.Context(), hash); err != nil || string(got.JWT) != string(token) {
		t.Errorf("%v, %v", got, err)
	}
	newer, _ := jwttest.Activation(t, exporter, importer, time.Now())
	if _, _, err := two.tokens.Put(t.Context(), newer, accounts.Origin{Kind: accounts.KindHTTP}); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the newer token is on the other one", func() bool {
		got, err := one.tokens.Get(t.Context(), hash)
		return err == nil && string(got.JWT) == string(newer)
	})
}

func TestTheHistoryHasEveryVersionThatIsKept(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m := newMember(t, op, func(m *member) {
		m.options.History = 3
		m.registry.AllowOlder = true
	}).start(k).await()
	a := jwttest.NewAccount(t)
	for _, seconds := range []int{1, 2, 3, 2} {
		m.mustPush(issue(t, op, a, seconds))
	}
	m.mustPush(issue(t, op, jwttest.NewAccount(t), 1))
	text := func() (text string) {
		found, err := m.Revisions(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			head := "-"
			for n := range 4 {
				if string(r.JWT) == string(issue(t, op, a, n)) {
					head = fmt.Sprint(n)
				}
			}
			text += fmt.Sprintf("%s %s %v %v; ", head, r.Kind, r.Override, r.Deleted)
		}
		return text
	}
	const want = "2 http false false; 3 http false false; 2 http true false; "
	if got := text(); got != want {
		t.Errorf("the history is %q", got)
	}
	m.remove(a)
	if got := text(); got != "3 http false false; 2 http true false; - nats false true; " {
		t.Errorf("after a deletion it is %q", got)
	}
}

// wantOutcome fails the test unless an error is a CommitError with this outcome.
func wantOutcome(t *testing.T, err error, want accounts.Outcome) {
	t.Helper()
	if got, ok := asCommitError(err); !ok || got.Outcome != want {
		t.Errorf("the outcome is %v, want %d", err, want)
	}
}

// An original's directory has files of tokens and tombstones that no index knows.
func TestTokensAndTombstonesOfADirectoryWithoutAnIndexAreOffered(t *testing.T) {
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	exporter, importer, gone := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	token, hash := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Minute))
	older, _ := jwttest.Activation(t, exporter, importer, time.Now().Add(-time.Hour))
	one, two := newMember(t, op), newMember(t, op)
	one.plant(exporter.ID, issue(t, op, exporter, 1))
	one.plant(hash, token)
	one.plant(gone.ID, issue(t, op, gone, 1))
	one.rename(gone.ID, ".deleted")
	two.plant(hash, older)
	two.plant(gone.ID, issue(t, op, gone, 1))
	two.start(k).await()
	one.start(k).await()
	natstest.Eventually(t, "the newer token is on the other one", func() bool {
		got, err := two.tokens.Get(t.Context(), hash)
		return err == nil && string(got.JWT) == string(token)
	})
	one.serves(gone.ID, nil)
	two.serves(gone.ID, nil)
	if got, err := one.tokens.Get(t.Context(), hash); err != nil || string(got.JWT) != string(token) {
		t.Errorf("%v, %v", got, err)
	}
}

// trusts lets a server trust these operators from now on, as a reload does.
func (m *member) trusts(all ...*jwttest.Operator) {
	m.t.Helper()
	var operators trust.Operators
	for _, op := range all {
		o, err := trust.Parse([]byte(op.Token(m.t)))
		must(m.t, err)
		operators = append(operators, o)
	}
	m.accounts.SetTrust(accounts.Trust{Operators: operators})
	m.TrustIsNew()
}

// While an operator key is rotated some servers know the new one, and others do not.
func TestAServerThatDoesNotKnowAnOperatorYetUndoesNothing(t *testing.T) {
	t.Parallel()
	op, next := jwttest.NewOperator(t), jwttest.NewOperator(t)
	s := &start{t: t, op: op, k: startKeeper(t, ""), a: newMember(t, op), b: newMember(t, op),
		x: jwttest.NewAccount(t)}
	s.both()
	s.a.trusts(op, next)
	s.push(s.a, 1)
	s.b.serves(s.x.ID, s.version(1))
	signed := issue(t, next, s.x, 3)
	must(t, s.a.push(signed))
	natstest.Eventually(t, "the revision is read", func() bool { return s.b.Progress().Revision == 2 })
	s.b.serves(s.x.ID, s.version(1))
	err := s.b.push(s.version(2))
	wantOutcome(t, err, accounts.NotStored)
	if err == nil || !strings.Contains(err.Error(), "operator JWT") {
		t.Errorf("the client is told %v", err)
	}
	s.b.stop()
	s.b.start(s.k).await()
	s.wantInBucket(signed)
	s.a.serves(s.x.ID, signed)
	s.b.serves(s.x.ID, s.version(1))
	s.b.refuses(1)
	s.b.trusts(op, next)
	s.b.serves(s.x.ID, signed)
	s.b.refuses(0)
	for line := range strings.Lines(s.b.log.String()) {
		// On a busy machine an answer may come too late.
		isLate := strings.Contains(line, "no answer of the bucket's leader")
		if strings.Contains(line, "can't be followed") && !isLate {
			t.Errorf("it is logged that %s", line)
		}
	}
	s.b.trusts(op)
	s.push(s.b, 4)
	s.a.serves(s.x.ID, s.version(4))
}
