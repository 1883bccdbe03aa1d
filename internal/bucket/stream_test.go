package bucket_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// js is JetStream as an administrator uses it.
func (k *keeper) js(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(k.connect(t, "admin"))
	must(t, err)
	return js
}

// makeStream makes a stream. A nats-server that has just deleted the last one removes the directory of all
// streams, and fails if another one is made at that moment.
func makeStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	natstest.Eventually(t, "the stream is there", func() bool {
		_, err := js.CreateStream(t.Context(), c)
		if err != nil && !strings.Contains(err.Error(), "error creating store for stream") {
			t.Fatal(err)
		}
		return err == nil
	})
}

// A stream that another program has changed would lose accounts, or acknowledge nothing.
func TestAStreamThatIsChangedByHandIsChangedBack(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	m, js := newMember(t, op).start(k).await(), k.js(t)
	a := jwttest.NewAccount(t)
	m.mustPush(issue(t, op, a, 1))
	stream, err := js.Stream(t.Context(), "KV_B")
	must(t, err)
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the stream can be purged")
	}
	c := stream.CachedInfo().Config
	good := c
	c.MaxAge, c.MaxBytes, c.MaxMsgs, c.MaxMsgSize, c.Duplicates = time.Hour, 1<<20, 1, 100, time.Minute
	c.Discard, c.DiscardNewPerSubject, c.NoAck, c.AllowDirect = jetstream.DiscardOld, false, true, true
	c.SubjectTransform = &jetstream.SubjectTransformConfig{
		Source: "$KV.B.a.*", Destination: "x.{{wildcard(1)}}"}
	_, err = js.UpdateStream(t.Context(), c)
	must(t, err)
	natstest.Eventually(t, "the stream is as it was", func() bool {
		i, err := stream.Info(t.Context())
		return err == nil && i.Config.MaxAge == 0 && i.Config.MaxBytes == good.MaxBytes &&
			i.Config.MaxMsgs == good.MaxMsgs && i.Config.MaxMsgSize == good.MaxMsgSize && !i.Config.NoAck &&
			i.Config.Discard == good.Discard && !i.Config.AllowDirect && i.Config.SubjectTransform == nil
	})
	good.MaxMsgsPerSubject, good.DiscardNewPerSubject = 1, true
	_, err = js.UpdateStream(t.Context(), good)
	must(t, err)
	natstest.Eventually(t, "a key takes more than its history again", func() bool {
		i, err := stream.Info(t.Context())
		return err == nil && !i.Config.DiscardNewPerSubject
	})
	m.mustPush(issue(t, op, a, 2))
	if text := m.log.String(); !strings.Contains(text, "changed allow_direct, discard, max_age, max_bytes") {
		t.Errorf("the log is\n%s", text)
	}
}

// A consumer that an administrator has paused says for ever that it is alive.
func TestAConsumerThatIsPausedIsReplaced(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	one, two := newMember(t, op).start(k).await(), newMember(t, op).start(k).await()
	a, js := jwttest.NewAccount(t), k.js(t)
	one.mustPush(issue(t, op, a, 1))
	two.serves(a.ID, issue(t, op, a, 1))
	stream, err := js.Stream(t.Context(), "KV_B")
	must(t, err)
	for name := range stream.ConsumerNames(t.Context()).Name() {
		_, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour))
		must(t, err)
	}
	one.mustPush(issue(t, op, a, 2))
	two.serves(a.ID, issue(t, op, a, 2))
	if text := two.log.String(); !strings.Contains(text, "was it paused?") {
		t.Errorf("the log is\n%s", text)
	}
}

// What is acknowledged by a stream of another kind may be lost, or is not for the other servers.
func TestAStreamThatCanNotBeChangedTakesNoPush(t *testing.T) {
	for name, c := range map[string]jetstream.StreamConfig{
		"in memory":     {Subjects: []string{"$KV.B.>"}, Storage: jetstream.MemoryStorage},
		"a work queue":  {Subjects: []string{"$KV.B.>"}, Retention: jetstream.WorkQueuePolicy},
		"a mirror":      {Mirror: &jetstream.StreamSource{Name: "OTHER"}},
		"it is sealed":  {Subjects: []string{"$KV.B.>"}, Sealed: true},
		"asynchronous":  {Subjects: []string{"$KV.B.>"}, PersistMode: jetstream.AsyncPersistMode},
		"of no subject": {Subjects: []string{"$KV.B.a.>"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, op := startKeeper(t, ""), jwttest.NewOperator(t)
			m, js := newMember(t, op, func(m *member) { m.options.Timeout = time.Second }), k.js(t)
			m.start(k).await().stop()
			must(t, js.DeleteStream(t.Context(), "KV_B"))
			c.Name = "KV_B"
			other := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}
			if name == "of no subject" { // another stream has the rest
				other.Subjects = []string{"$KV.B.t.>"}
			}
			makeStream(t, js, other)
			isSealed := c.Sealed
			c.Sealed = false
			makeStream(t, js, c)
			if c.Sealed = isSealed; isSealed {
				_, err := js.UpdateStream(t.Context(), c)
				must(t, err)
			}
			m.start(k)
			natstest.Eventually(t, "it is told", func() bool { return m.Progress().Refusing != "" })
			err := m.push(issue(t, op, jwttest.NewAccount(t), 1))
			wantOutcome(t, err, accounts.NotStored)
			if err == nil || !strings.Contains(err.Error(), "KV_B is not as account servers need it") {
				t.Errorf("the client is told %v", err)
			}
			must(t, js.DeleteStream(t.Context(), "KV_B"))
			must(t, js.DeleteStream(t.Context(), "OTHER"))
			m.await()
			m.mustPush(issue(t, op, jwttest.NewAccount(t), 1))
		})
	}
}

// The limits of the account are those of the bucket as well. Those of a nats-server are its own: another
// one may have room.
func TestAPushThatHasNoRoomIsToldSo(t *testing.T) {
	op := jwttest.NewOperator(t)
	for _, row := range []struct {
		name, jetstream, account string
		outcome                  accounts.Outcome
		says                     string
	}{
		{"of the account", "", "jetstream { max_file: 2500 }", accounts.Full, "raise its limits"},
		{"of the nats-server", "max_file: 2500", "jetstream: enabled", accounts.NotStored, "max_file_store"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			accounts := strings.Replace(users, "jetstream: enabled", row.account, 1)
			k := startKeeperWith(t, row.jetstream, accounts)
			m := newMember(t, op, func(m *member) { m.options.Timeout = time.Second })
			m.start(k).await()
			var err error
			for range 10 {
				if err = m.push(issue(t, op, jwttest.NewAccount(t), 1)); err != nil {
					break
				}
			}
			wantOutcome(t, err, row.outcome)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("the client is told %v", err)
			}
		})
	}
}

// What was stored before there was a bucket may be too large for it. The rest goes there.
func TestATooLargeJWTOfADirectoryHoldsNothingUp(t *testing.T) {
	t.Parallel()
	k, op := startKeeper(t, ""), jwttest.NewOperator(t)
	k.conf = "max_payload: 4096\n" + k.conf
	k.restart(t)
	one, two := newMember(t, op), newMember(t, op)
	large, small := jwttest.NewAccount(t), jwttest.NewAccount(t)
	one.plant(large.ID, jwttest.Sign(t, op.Key, large, began, func(c *jwt.AccountClaims) {
		c.Tags = jwt.TagList{strings.Repeat("x", 4096)}
	}))
	one.plant(small.ID, issue(t, op, small, 1))
	one.start(k).await()
	two.start(k).await().serves(small.ID, issue(t, op, small, 1))
	one.mustPush(issue(t, op, small, 2))
	two.serves(small.ID, issue(t, op, small, 2))
	if text := one.log.String(); !strings.Contains(text, "can't be put into the bucket: the JWT has") {
		t.Errorf("the log is\n%s", text)
	}
	if _, err := one.accounts.GetLocal(t.Context(), large.ID); err != nil {
		t.Errorf("it is not served any more: %v", err)
	}
}
