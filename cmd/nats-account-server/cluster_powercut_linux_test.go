package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// loopDisk is a disk of its own below a directory: a file with a file system. A copy of the file is what the
// disk has if the power is cut at that moment: what was not synced is in the memory of the system only.
type loopDisk struct{ file, at string }

// newLoopDisk skips the test where no file can be mounted.
func newLoopDisk(t *testing.T, at string) *loopDisk {
	t.Helper()
	d := &loopDisk{filepath.Join(t.TempDir(), "disk"), at}
	must(t, os.WriteFile(d.file, nil, 0o600), os.Truncate(d.file, 64<<20), os.Mkdir(at, 0o700))
	if out, err := exec.Command("mkfs.ext4", "-q", d.file).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v, %s", err, out)
	}
	if err := d.mount(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", at).Run() })
	return d
}

// mount mounts the file. The system writes nothing by itself for minutes.
func (d *loopDisk) mount() error {
	out, err := exec.Command("mount", "-o", "loop,commit=600", d.file, d.at).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount: %w, %s", err, out)
	}
	return nil
}

// TestAPowerCutOfTheBucket cuts the power of all three nats-servers at once, and looks at what the bucket has
// afterwards of what was acknowledged: all, or less without sync_interval: always.
func TestAPowerCutOfTheBucket(t *testing.T) {
	if os.Getenv("CLUSTER_TIME") == "" {
		t.Skip("part of make soak-cluster: set CLUSTER_TIME")
	}
	for _, interval := range []string{"always", "2m"} {
		t.Run(interval, func(t *testing.T) {
			var disks []*loopDisk
			c := newBucketClusterOn(t, func(m *machine) {
				disks = append(disks, newLoopDisk(t, m.jetstream()))
				text := mustReadFile(t, m.conf)
				must(t, os.WriteFile(m.conf, []byte(strings.Replace(text,
					"sync_interval: always", "sync_interval: "+interval, 1)), 0o600))
			}, "sync: off", "sync: off", "sync: off")
			acknowledged := c.pushUntilCut(4*time.Second, disks)
			found := map[string]bool{}
			if c.hasStream() {
				all, err := c.messages()
				must(t, err)
				for _, message := range all {
					found[strings.TrimPrefix(message.key, "a.")] = true
				}
			}
			lost := 0
			for _, key := range acknowledged {
				if !found[key] {
					lost++
				}
			}
			t.Logf("sync_interval %s: %d of %d acknowledged pushes are lost", interval, lost,
				len(acknowledged))
			switch isAlways := interval == "always"; {
			case isAlways && lost > 0:
				t.Error("none may be")
			case !isAlways && lost == 0:
				t.Error("the power was not cut")
			}
		})
	}
}

// pushUntilCut pushes new accounts for some time, cuts the power of the nats-servers, and starts them
// again. It returns the accounts that were acknowledged before.
func (c *bucketCluster) pushUntilCut(after time.Duration, disks []*loopDisk) (acknowledged []string) {
	c.t.Helper()
	m := c.machines[0]
	url := c.begin(m).url
	waitReady(c.t, url)
	var mu sync.Mutex
	var pushing sync.WaitGroup
	end := time.Now().Add(after)
	for range 8 {
		pushing.Go(func() {
			for time.Now().Before(end) {
				a := jwttest.NewAccount(c.t)
				status, _ := post(http.DefaultClient, url+accountPath(a.ID), c.op.Account(c.t, a))
				if status == http.StatusOK {
					mu.Lock()
					acknowledged = append(acknowledged, a.ID)
					mu.Unlock()
				}
			}
		})
	}
	pushing.Wait()
	for _, m := range c.machines {
		m.kv.signal(syscall.SIGSTOP)
	}
	for _, d := range disks {
		out, err := exec.Command("cp", "--sparse=always", d.file, d.file+".cut").CombinedOutput()
		if err != nil {
			c.t.Fatalf("%v, %s", err, out)
		}
	}
	c.end(m, syscall.SIGKILL)
	for i, m := range c.machines {
		m.kv.kill()
		if out, err := exec.Command("umount", disks[i].at).CombinedOutput(); err != nil {
			c.t.Fatalf("%v, %s", err, out)
		}
		disks[i].file += ".cut"
		must(c.t, disks[i].mount())
		c.beginKV(m)
	}
	return acknowledged
}

// hasStream reports whether the bucket has something, when its nats-servers have agreed on that.
func (c *bucketCluster) hasStream() (has bool) {
	c.t.Helper()
	natstest.Within(c.t, time.Minute, "the nats-servers know whether there is a bucket", func() bool {
		answer, err := c.admin.Request("$JS.API.STREAM.INFO."+bucketStream, nil, 3*time.Second)
		isMissing := err == nil && strings.Contains(string(answer.Data), "10059")
		has = err == nil && c.leader() != nil && c.streamInfo().State.LastSeq > 0
		return has || isMissing || err == nil && c.leader() != nil
	})
	return has
}
