package daemon_test

import (
	"os"
	"testing"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
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
