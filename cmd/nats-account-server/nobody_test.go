//go:build linux

package main_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

const nobody = 65534

// asNobody makes the site nobody's and lets nobody get at the program.
func (s *site) asNobody(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become nobody, and nothing keeps root from writing")
	}
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, nobody, nobody))
	})
	for _, dir := range []string{filepath.Dir(binary), filepath.Dir(s.dir)} {
		err = errors.Join(err, os.Chmod(dir, 0o711))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startNobody runs the program as nobody, without a home.
func (s *site) startNobody(t *testing.T) (*process, string) {
	t.Helper()
	c := exec.Command(binary, "-c", s.conf)
	c.Dir = s.dir
	c.Env = []string{"PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p := launch(t, c)
	return p, p.url()
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// trouble is something that happens to the store's directory while the program runs. It does not touch the JWTs.
type trouble struct {
	name   string
	mount  string // options of a tmpfs that the store is on; "": none
	begin  func(t *testing.T, dir, shard string)
	end    func(t *testing.T, dir, shard string)
	reason string // what a push is told
}

// chmod takes permissions of directories away, of the store's own or of some in it.
func chmod(name string, mode os.FileMode, which ...string) trouble {
	set := func(mode os.FileMode) func(t *testing.T, dir, shard string) {
		return func(t *testing.T, dir, shard string) {
			for _, path := range which {
				must(t, os.Chmod(filepath.Join(dir, strings.ReplaceAll(path, "SHARD", shard)), mode))
			}
		}
	}
	return trouble{name: name, begin: set(mode), end: set(0o700), reason: "permission denied"}
}

var troubles = []trouble{
	chmod("the directory can't be written to", 0o500, ".", ".journal", "SHARD"),
	chmod("the directory can't be used at all", 0, "."),
	chmod("the shard can't be written to", 0o500, "SHARD"),
	chmod("the shard can't be used at all", 0, "SHARD"),
	chmod("the journal can't be used at all", 0, ".journal"),
	{
		name:   "read-only",
		begin:  func(t *testing.T, dir, _ string) { readOnly(t, dir) },
		end:    func(t *testing.T, dir, _ string) { must(t, unix.Unmount(dir, unix.MNT_DETACH)) },
		reason: "read-only file system",
	},
	{
		name: "full", mount: "size=1m",
		begin:  func(t *testing.T, dir, _ string) { fill(t, filepath.Join(dir, "ballast")) },
		end:    func(t *testing.T, dir, _ string) { must(t, os.Remove(filepath.Join(dir, "ballast"))) },
		reason: "no space left on device",
	},
	{
		name: "no file more", mount: "size=1m,nr_inodes=40",
		begin: func(t *testing.T, dir, _ string) {
			must(t, os.Mkdir(filepath.Join(dir, "many"), 0o700))
			for i := 0; ; i++ {
				if err := os.WriteFile(filepath.Join(dir, "many", fmt.Sprint(i)), nil, 0o600); err != nil {
					return
				}
			}
		},
		end:    func(t *testing.T, dir, _ string) { must(t, os.RemoveAll(filepath.Join(dir, "many"))) },
		reason: "no space left on device",
	},
	{
		name:   "the directory is somewhere else",
		begin:  func(t *testing.T, dir, _ string) { must(t, os.Rename(dir, dir+".else"), os.WriteFile(dir, nil, 0o600)) },
		end:    func(t *testing.T, dir, _ string) { must(t, os.Remove(dir), os.Rename(dir+".else", dir)) },
		reason: "not a directory",
	},
	{
		name: "a file is where the shard should be",
		begin: func(t *testing.T, dir, shard string) {
			path := filepath.Join(dir, shard)
			must(t, os.Rename(path, path+".else"), os.WriteFile(path, nil, 0o600))
		},
		end: func(t *testing.T, dir, shard string) {
			path := filepath.Join(dir, shard)
			must(t, os.Remove(path), os.Rename(path+".else", path))
		},
		reason: "not a directory",
	},
}

// readOnly puts a read-only view of a directory over it. A disk with a file open for writing, such as the journal,
// can't be remounted.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skip("nothing can be mounted here:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // fails if the test has done it
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
}

// TestTroubleWithTheDirectory runs the program as nobody and lets each trouble come and go, twice: once the program is
// killed while it lasts, once it goes on. What was acknowledged is served or said to be unreadable, is there
// afterwards, and each push gives the system's reason.
func TestTroubleWithTheDirectory(t *testing.T) {
	for _, tr := range troubles {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", "")
			dir := filepath.Join(s.dir, "store")
			must(t, os.Mkdir(dir, 0o700))
			s.asNobody(t)
			if tr.mount != "" {
				mountStore(t, dir, tr.mount)
			}
			a := jwttest.NewAccount(t)
			for round, die := range []bool{true, false} {
				s.suffer(t, tr, dir, a, time.Now().Add(time.Duration(round-10)*time.Minute), die)
			}
		})
	}
}

func mountStore(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("%s,uid=%d,gid=%d,mode=700", options, nobody, nobody)); err != nil {
		t.Skip("a small disk can't be mounted here:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func (s *site) suffer(t *testing.T, tr trouble, dir string, a *jwttest.Account, at time.Time, die bool) {
	p, url := s.startNobody(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	path := url + "/jwt/v1/accounts/" + a.ID
	first, second := string(jwttest.Sign(t, s.op.Signing, a, at)), jwttest.Sign(t, s.op.Signing, a, at.Add(time.Second))
	if status, body := post(client, path, []byte(first)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	natstest.Eventually(t, "the file is written", func() bool {
		stored, err := os.ReadFile(filepath.Join(dir, a.ID[54:], a.ID+".jwt"))
		return err == nil && string(stored) == first
	})
	late := jwttest.NewAccount(t) // acknowledged, and its file not written when the trouble begins
	latePath, lateToken := url+"/jwt/v1/accounts/"+late.ID, s.op.Account(t, late)
	if status, body := post(client, latePath, lateToken); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	tr.begin(t, dir, a.ID[54:])
	for range 20 {
		if status, body := post(client, path, second); status != http.StatusInternalServerError || body != "error saving JWT: "+tr.reason+"\n" {
			t.Fatalf("a push: %d %.80q", status, body)
		}
		for _, query := range []string{"", "?text=true"} {
			status, body := ask(client, path+query)
			if (status != http.StatusOK || body != first) && status != http.StatusServiceUnavailable && status != http.StatusInternalServerError {
				t.Fatalf("what was stored: %d %.80q", status, body)
			}
		}
	}
	_, before, _ := strings.Cut(p.log.String(), "nats-account-server is running")
	if n := strings.Count(before, "WRN") + strings.Count(before, "ERR"); n > 64 {
		t.Errorf("%d lines:\n%s", n, before)
	}
	if die {
		p.kill()
	}
	tr.end(t, dir, a.ID[54:])
	if die {
		p, url = s.startNobody(t)
		path, latePath = url+"/jwt/v1/accounts/"+a.ID, url+"/jwt/v1/accounts/"+late.ID
	}
	wantStored := func(path, want string) {
		t.Helper()
		if status, body := ask(client, path); status != http.StatusOK || body != want {
			t.Errorf("afterwards: %d %.80q", status, body)
		}
	}
	wantStored(path, first)
	wantStored(latePath, string(lateToken))
	if status, body := post(client, path, second); status != http.StatusOK {
		t.Errorf("a push afterwards: %d %q", status, body)
	}
	p.term()
	for id, want := range map[string]string{a.ID: string(second), late.ID: string(lateToken)} {
		if stored, err := os.ReadFile(filepath.Join(dir, id[54:], id+".jwt")); err != nil || string(stored) != want {
			t.Errorf("on disk: %.80q, %v", stored, err)
		}
	}
}
