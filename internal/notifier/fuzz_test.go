package notifier_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/notifier"
)

// FuzzAnswers gives the notifier what a nats-server, or another client of the system account, may
// send. What does not name an announced change acknowledges nothing.
func FuzzAnswers(f *testing.F) {
	const key = "ACJOGTKFM5XINHKRZ6YRFRA2GAXYQCCHPGVKLC4RB2GSAMJLYBDHBEOS"
	const update = "_INBOX.1.0123456789abcdef." + key + ".1.1"
	const ping = `{"server":{"name":"n","id":"N","ver":"2.15.2","time":"2026-11-23T18:20:50Z"},` +
		`"statsz":{"start":"2026-11-23T18:20:50Z","active_servers":1}}`
	for _, seed := range []struct{ subject, data string }{
		{"_INBOX.2.idz", `{"name":"n","id":"N","host":"h"}`},
		{"_INBOX.2.ping", ping},
		{update, `{"server":{"name":"n","id":"N"},"data":{"message":"jwt updated"}}`},
		{update, `{"server":{"name":"n","id":"N"},"data":{"message":"jwt update skipped"}}`},
		{update, `{"server":{"name":"n","id":"N"},"data":{"message":"jwt update cache skipped"}}`},
		{update, `{"server":{"name":"n","id":"N"},"error":{"description":"no"}}`},
		{"_INBOX.2.runs.1",
			`{"server":{"name":"n","id":"N"},"data":{"account_detail":{"jwt":"x"}}}`},
		{"$SYS.SERVER.N.STATSZ", `{"server":{"name":"n","id":"M","ver":"2.1.9"}}`},
		{"$SYS.ACCOUNT." + key + ".CONNECT", `{"server":{"name":"n","id":"N"}}`},
		{"_INBOX.2.ping", `{"name":"n","id":"x PUB y"}`},
		{"_INBOX.2.ping", "{\"name\":\"\\u001b[2J\\n2026 forged\"}"},
	} {
		f.Add(seed.subject, []byte(seed.data))
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		e := newFakeEnv(key)
		e.flushError = errors.New("a server before 2.2 acknowledges by a flush") // and the data may be of one
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.notifier.Serve(ctx, e.fakeCluster, notifier.User{}, stored{e.store, e.notifier}, e.facts)
		}()
		receive := e.waitForHandler(subject)
		seq := e.put(t, key, "jwt")
		e.outbox.Register("n", time.Now())
		e.notifier.Announce(key, seq)
		for range 2 {
			receive(&nats.Msg{Subject: subject, Data: data})
		}
		namesIt := strings.HasPrefix(subject, "_INBOX.1.") && strings.Contains(subject, key+".1") &&
			bytes.Contains(data, []byte("n"))
		if !e.outbox.IsPending("n", seq) && !namesIt {
			t.Errorf("%q %q acknowledged the change", subject, data)
		}
		for _, subject := range e.takeAsked() {
			if strings.ContainsAny(subject, " \t\r\n*>") {
				t.Errorf("asked %q", subject)
			}
		}
		e.notifier.Delivery(key)
		e.report(key)
		cancel()
		<-done
		for line := range strings.Lines(e.log.String()) {
			hasControl := strings.ContainsFunc(line[:len(line)-1], unicode.IsControl)
			if !strings.HasPrefix(line, "[") || len(line) > 1000 || hasControl {
				t.Errorf("logged %q", line)
			}
		}
	})
}

// waitForHandler returns what handles the messages of a subject, once the notifier has subscribed
// and asked.
func (c *fakeCluster) waitForHandler(subject string) nats.MsgHandler {
	subscription := "_INBOX.2.>"
	if strings.HasPrefix(subject, "$SYS.SERVER.") {
		subscription = "$SYS.SERVER.*.STATSZ"
	}
	for {
		c.mu.Lock()
		ready := len(c.handlers) >= 3 && len(c.asked) > 0
		c.mu.Unlock()
		if ready {
			return c.handler(subscription)
		}
		time.Sleep(10 * time.Microsecond)
	}
}
