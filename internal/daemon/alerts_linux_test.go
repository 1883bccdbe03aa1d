package daemon_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
)

func TestAlertsFireForADiskThatIsFull(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e := newEnv(t, func(c *config.Config) { c.Store.Dir = filepath.Join(disk, "store") })
	well := e.until(`ready{part="store"} 1`)
	filler := filepath.Join(disk, "filler")
	_ = os.WriteFile(filler, make([]byte, 2<<20), 0o600) // as much as there is room for
	e.wantPush(e.op, http.StatusInternalServerError)
	full := e.until(`ready{part="store"} 0`)
	wantAlert(t, "NatsAccountServerPushesFail", 4*time.Minute, well, full)
	wantAlert(t, "NatsAccountServerNotReady", 7*time.Minute, well, full)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// A trial shows that there is room again. No push is needed for that.
	e.until(`ready{part="store"} 1`)
}
