package notifier_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
)

// FuzzAnswers gives the notifier whatever a nats-server, or somebody who says he is one, may send. Whoever does not
// name a change that was announced has acknowledged nothing.
func FuzzAnswers(f *testing.F) {
	const key = "ACJOGTKFM5XINHKRZ6YRFRA2GAXYQCCHPGVKLC4RB2GSAMJLYBDHBEOS"
	for _, seed := range []struct{ subject, data string }{
		{"_INBOX.x.idz", `{"name":"n","id":"N","host":"h"}`},
		{"_INBOX.x.ping", `{"server":{"name":"n","id":"N","ver":"2.15.2","time":"2026-11-23T18:20:50Z"},"statsz":{"start":"2026-11-23T18:20:50Z","active_servers":1}}`},
		{"_INBOX.x." + key + ".1.1", `{"server":{"name":"n","id":"N"},"data":{"message":"jwt updated"}}`},
		{"_INBOX.x." + key + ".1.1", `{"server":{"name":"n","id":"N"},"data":{"message":"jwt update skipped"}}`},
		{"_INBOX.x." + key + ".1.1", `{"server":{"name":"n","id":"N"},"data":{"message":"jwt update cache skipped"}}`},
		{"_INBOX.x." + key + ".1.1", `{"server":{"name":"n","id":"N"},"error":{"description":"no"}}`},
		{"_INBOX.x.runs.1", `{"server":{"name":"n","id":"N"},"data":{"account_detail":{"jwt":"x"}}}`},
		{"$SYS.SERVER.N.STATSZ", `{"server":{"name":"n","id":"M","ver":"2.1.9"}}`},
		{"$SYS.ACCOUNT." + key + ".CONNECT", `{"server":{"name":"n","id":"N"}}`},
		{"_INBOX.x.ping", `{"name":"n","id":"x PUB y"}`},
		{"_INBOX.x.ping", "{\"name\":\"\\u001b[2J\\n2026 forged\"}"},
	} {
		f.Add(seed.subject, []byte(seed.data))
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		store, log := jwtstore.NewMemory(true), &natstest.Log{}
		n := notifier.New(notifier.Options{Outbox: store.Outbox(), Log: slog.New(logging.New(log, logging.Format{Debug: true}))})
		n.SetConfigured(true)
		m := &mesh{subs: map[string]nats.MsgHandler{}, payloads: map[string][]string{}}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); n.Serve(ctx, m, stored{store}) }()
		hear := m.heard(subject)
		seq, err := store.Put(ctx, key, "test", []byte("jwt"), func(_, _ []byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		store.Outbox().Register("n", time.Now())
		n.Announce(key, seq, time.Now())
		for range 2 {
			hear(&nats.Msg{Subject: subject, Data: data})
		}
		if !store.Outbox().IsPending("n", seq) && !(strings.HasPrefix(subject, "_INBOX.x."+key+".1") && bytes.Contains(data, []byte("n"))) {
			t.Errorf("%q %q acknowledged the change", subject, data)
		}
		for _, subject := range m.asks() {
			if strings.ContainsAny(subject, " \t\r\n*>") {
				t.Errorf("asked %q", subject)
			}
		}
		n.Delivery(key)
		n.Report(ctx, key, false)
		cancel()
		<-done
		for line := range strings.Lines(log.String()) {
			if !strings.HasPrefix(line, "[") || len(line) > 1000 || strings.ContainsFunc(line[:len(line)-1], unicode.IsControl) {
				t.Errorf("logged %q", line)
			}
		}
	})
}

// heard returns who hears of a subject, once somebody does.
func (m *mesh) heard(subject string) nats.MsgHandler {
	pattern := "_INBOX.x.>"
	if strings.HasPrefix(subject, "$SYS.SERVER.") {
		pattern = "$SYS.SERVER.*.STATSZ"
	}
	for {
		m.mu.Lock()
		h, ready := m.subs[pattern], len(m.subs) >= 2 && len(m.asked) > 0
		m.mu.Unlock()
		if ready {
			return h
		}
		time.Sleep(10 * time.Microsecond)
	}
}
