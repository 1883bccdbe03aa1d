package daemon_test

import (
	"log/slog"
	"os"
	"testing"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/natstest"
)

func TestAReloadReconnectsOnlyIfSomethingChanges(t *testing.T) {
	f := newFiles(t)
	nats := f.config().NATS
	nats.Servers = []string{"nats://127.0.0.1:4222"}
	other := nats
	other.Servers = []string{"nats://127.0.0.1:4223"}
	otherFile := nats
	otherFile.Credentials = f.empty
	write := func(path, content string) func() {
		return func() {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := func() {}
	for _, c := range []struct {
		name      string
		old, next config.NATS
		change    func()
		want      bool
	}{
		{"nothing", nats, nats, nothing, false},
		{"there is no NATS", config.NATS{}, config.NATS{}, nothing, false},
		{"NATS is new", config.NATS{}, nats, nothing, true},
		{"NATS is no more", nats, config.NATS{}, nothing, true},
		{"another server", nats, other, nothing, true},
		{"another file", nats, otherFile, nothing, true},
		{"other credentials in the file", nats, nats, write(f.creds, "other"), true},
		{"another certificate in the file", nats, nats, write(f.cert, "other"), true},
		{"a file is gone", nats, nats, func() { _ = os.Remove(f.key) }, true},
		{"a file stays away", nats, nats, nothing, false},
	} {
		if got := daemon.Reconnects(c.old, c.next, c.change); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// The files of a certificate may be replaced one after the other.
func TestACertificateIsUsedUntilTheNextOneIsComplete(t *testing.T) {
	f := newFiles(t)
	var log natstest.Log
	next := daemon.TLSFiles(f.config().NATS.TLS, slog.New(slog.NewTextHandler(&log, nil)))
	first, err := next()
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.key, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := next(); again != first || err != nil {
			t.Errorf("with half a pair: %v", err)
		}
	}
	if n := log.Count("the certificates that were read before go on"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := os.WriteFile(f.key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := next(); again == first || err != nil {
		t.Errorf("with a whole pair: %v", err)
	}
}

func TestACertificateMustBeGoodOnce(t *testing.T) {
	f := newFiles(t)
	next := daemon.TLSFiles(config.NATSTLS{Root: f.empty}, slog.New(slog.DiscardHandler))
	if _, err := next(); err == nil {
		t.Error("an empty file is no error")
	}
}
