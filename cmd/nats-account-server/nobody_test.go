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

const nobody = 65534 // the uid and gid of the user without privileges

// asNobody gives the environment to the user nobody, and lets that user run the program.
func (s *testEnv) asNobody(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		jwttest.Lacks(t, "root", "only root can become another user")
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

// startNobody runs the program as the user nobody, without a home directory.
func (s *testEnv) startNobody(t *testing.T) (*process, string) {
	t.Helper()
	c := exec.Command(binary, "-c", s.conf)
	c.Dir = s.dir
	c.Env = []string{"PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p := launch(t, c)
	return p, p.url()
}

// dirFault is something that happens to the store's directory while the program runs. The JWTs stay
// as they are.
type dirFault struct {
	name   string
	mount  string // options of a tmpfs that the store is on; "": none
	begin  func(t *testing.T, dir, shard string)
	end    func(t *testing.T, dir, shard string)
	reason string // of the system, in the answer to a push; "" if the system gives none
}

// chmod takes permissions away, of the store's directory or of directories in it.
func chmod(name string, mode os.FileMode, which ...string) dirFault {
	set := func(mode os.FileMode) func(t *testing.T, dir, shard string) {
		return func(t *testing.T, dir, shard string) {
			for _, path := range which {
				must(t, os.Chmod(filepath.Join(dir,
					strings.ReplaceAll(path, "SHARD", shard)), mode))
			}
		}
	}
	return dirFault{name: name, begin: set(mode), end: set(0o700), reason: "permission denied"}
}

var dirFaults = []dirFault{
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
		begin: func(t *testing.T, dir, _ string) { fill(t, filepath.Join(dir, "ballast")) },
		end: func(t *testing.T, dir,
			_ string) {
			must(t, os.Remove(filepath.Join(dir, "ballast")))
		},
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
		end: func(t *testing.T, dir,
			_ string) {
			must(t, os.RemoveAll(filepath.Join(dir, "many")))
		},
		reason: "no space left on device",
	},
	{
		name:   "the directory is somewhere else",
		begin:  func(t *testing.T, dir, _ string) { replaceByFile(t, dir) },
		end:    func(t *testing.T, dir, _ string) { putBack(t, dir) },
		reason: "not a directory",
	},
	{
		name: "unmounted", mount: "size=1m",
		begin: func(t *testing.T, dir, _ string) {
			rebind(t, dir, dir+".kept")
			must(t, unix.Unmount(dir, unix.MNT_DETACH))
		},
		end: func(t *testing.T, dir, _ string) {
			rebind(t, dir+".kept", dir)
			must(t, unix.Unmount(dir+".kept", unix.MNT_DETACH))
		},
	},
	{
		name:  "moved away",
		begin: func(t *testing.T, dir, _ string) { must(t, os.Rename(dir, dir+".else")) },
		end:   func(t *testing.T, dir, _ string) { must(t, os.Rename(dir+".else", dir)) },
	},
	{
		name: "an empty directory is in its place",
		begin: func(t *testing.T, dir, _ string) {
			must(t, os.Rename(dir, dir+".else"), os.Mkdir(dir, 0o700),
				os.Chown(dir, nobody, nobody))
		},
		end: func(t *testing.T, dir,
			_ string) {
			must(t, os.RemoveAll(dir), os.Rename(dir+".else", dir))
		},
	},
	{
		name: "a file is where the shard should be",
		begin: func(t *testing.T, dir,
			shard string) {
			replaceByFile(t, filepath.Join(dir, shard))
		},
		end:    func(t *testing.T, dir, shard string) { putBack(t, filepath.Join(dir, shard)) },
		reason: "not a directory",
	},
}

// replaceByFile moves a directory away and makes a file under its name.
func replaceByFile(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Rename(dir, dir+".else"), os.WriteFile(dir, nil, 0o600))
}

// putBack undoes replaceByFile.
func putBack(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Remove(dir), os.Rename(dir+".else", dir))
}

// rebind mounts what is at one path at another one too.
func rebind(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o700))
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

// readOnly mounts a read-only view of a directory over it. A disk with a file that is open for
// writing, such as the journal, can't be remounted.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // fails if the test has done it
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
}

// TestFaultsOfTheDirectory lets each fault come and go, twice: once the program is killed while the
// fault lasts, once it goes on. An acknowledged JWT is served or reported to be unreadable, and is
// there afterwards. Each push is answered with the system's reason.
func TestFaultsOfTheDirectory(t *testing.T) {
	for _, f := range dirFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newEnv(t, "", "")
			dir := filepath.Join(s.dir, "store")
			must(t, os.Mkdir(dir, 0o700))
			s.asNobody(t)
			if f.mount != "" {
				mountStore(t, dir, f.mount)
			}
			a := jwttest.NewAccount(t)
			for round, die := range []bool{true, false} {
				at := time.Now().Add(time.Duration(round-10) * time.Minute)
				s.testFault(t, f, dir, a, at, die)
			}
		})
	}
}

func mountStore(t *testing.T, dir, options string) {
	t.Helper()
	options = fmt.Sprintf("%s,uid=%d,gid=%d,mode=700", options, nobody, nobody)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// testFault pushes JWTs of an account from the time at on, before, during and after a fault. die
// kills the program during the fault.
func (s *testEnv) testFault(t *testing.T, f dirFault, dir string, a *jwttest.Account, at time.Time,
	die bool) {
	p, url := s.startNobody(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	path := url + "/jwt/v1/accounts/" + a.ID
	first := string(jwttest.Sign(t, s.op.Signing, a, at))
	second := jwttest.Sign(t, s.op.Signing, a, at.Add(time.Second))
	if status, body := post(client, path, []byte(first)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	natstest.Eventually(t, "the file is written", func() bool {
		stored, err := os.ReadFile(filepath.Join(dir, a.ID[54:], a.ID+".jwt"))
		return err == nil && string(stored) == first
	})
	late := jwttest.NewAccount(t) // acknowledged, and its file is not written when the fault begins
	latePath, lateToken := url+"/jwt/v1/accounts/"+late.ID, s.op.Account(t, late)
	if status, body := post(client, latePath, lateToken); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	f.begin(t, dir, a.ID[54:])
	refusal := "error saving JWT"
	if f.reason != "" {
		refusal += ": " + f.reason
	}
	for range 20 {
		status, body := post(client, path, second)
		if status != http.StatusInternalServerError || body != refusal+"\n" {
			t.Fatalf("a push: %d %.80q", status, body)
		}
		for _, query := range []string{"", "?text=true"} {
			status, body := ask(client, path+query)
			served := status == http.StatusOK && body == first
			unreadable := status == http.StatusServiceUnavailable ||
				status == http.StatusInternalServerError
			if !served && !unreadable {
				t.Fatalf("what was stored: %d %.80q", status, body)
			}
		}
	}
	if lines := p.warnings(); len(lines) > 64 { // one for each request, and a few for the files
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	if die {
		p.kill()
	}
	f.end(t, dir, a.ID[54:])
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
		stored, err := os.ReadFile(filepath.Join(dir, id[54:], id+".jwt"))
		if err != nil || string(stored) != want {
			t.Errorf("on disk: %.80q, %v", stored, err)
		}
	}
}

// TestACopyTakesItsPlace exchanges the store for a copy and back. An acknowledged JWT is in the
// directory that was there at that time, or in a later one.
func TestACopyTakesItsPlace(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	dir := filepath.Join(s.dir, "store")
	files := map[string]string{}
	push := func() {
		t.Helper()
		a := jwttest.NewAccount(t)
		token := s.op.Account(t, a)
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, token)
		if status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		files[filepath.Join(a.ID[54:], a.ID+".jwt")] = string(token)
	}
	push()
	natstest.Eventually(t, "the store is copied", func() bool { // no temp file has gone meanwhile
		must(t, os.RemoveAll(dir+".copy"))
		return exec.Command("cp", "-a", dir, dir+".copy").Run() == nil
	})
	must(t, os.Rename(dir, dir+".old"), os.Rename(dir+".copy", dir))
	push()
	must(t, os.Rename(dir, dir+".new"), os.Rename(dir+".old", dir))
	push()
	p.term()
	for file, want := range files {
		stored, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			stored, err = os.ReadFile(filepath.Join(dir+".new", file))
		}
		if err != nil || string(stored) != want {
			t.Errorf("%.80q, %v", stored, err)
		}
	}
}

// TestNothingButTheStoreIsWritable runs the program where the whole file system is read-only except
// for the store, without a home directory and without a directory for temporary files.
func TestNothingButTheStoreIsWritable(t *testing.T) {
	s := newEnv(t, "", "")
	store := filepath.Join(s.dir, "store")
	must(t, os.Mkdir(store, 0o700))
	s.asNobody(t)
	script := `
		mount --make-rprivate / || exit 77
		mount --bind "$1" "$1" || exit 77
		mount -o remount,bind,ro / || exit 77
		for m in $(cut -d' ' -f2 /proc/mounts); do
			case "$m" in "$1") ;; *) mount -o remount,bind,ro "$m" 2>/dev/null ;; esac
		done
		shift
		for f in /tmp/x /var/tmp/x /dev/shm/x "$PWD/x"; do
			touch "$f" 2>/dev/null && exit 78
		done
		exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all "$@"`
	run := func() (*process, string) {
		c := exec.Command("unshare", "-m", "sh", "-c", script, "sh", store, binary, "-c", s.conf)
		c.Dir = s.dir
		c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		p := launch(t, c)
		natstest.Eventually(t, "it runs or ends", func() bool {
			select {
			case <-p.end:
				return true
			default:
				return strings.Contains(p.log.String(), "resolver: URL")
			}
		})
		select {
		case <-p.end:
			code := p.cmd.ProcessState.ExitCode()
			if code == 77 || code == 127 || strings.Contains(p.log.String(), "unshare failed") {
				jwttest.Lacks(t, "namespaces", p.log)
			}
		default:
		}
		return p, p.url()
	}
	p, url := run()
	path := wantServed(t, s, url)
	_, token := get(t, path)
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	if status, body := get(t, path); status != http.StatusOK || body != token {
		t.Errorf("after a reload: %d %.80q", status, body)
	}
	p.wantOnce()
	p.term()
	p, url = run()
	status, body := get(t, url+path[strings.Index(path, "/jwt/"):])
	if status != http.StatusOK || body != token {
		t.Errorf("after a restart: %d %.80q", status, body)
	}
	p.term()
}

// What is in a directory that can't be read is not known, so nothing is removed.
func TestAFolderThatCannotBeReadTakesNothingOut(t *testing.T) {
	t.Parallel()
	e := newReadOnlyEnv(t, "readonly: true, dir: ", "")
	a := jwttest.NewAccount(t)
	token := e.op.Account(t, a)
	e.put(a.ID[54:]+"/"+a.ID+".jwt", token)
	e.asNobody(t)
	parent, shard := filepath.Dir(e.jwts), filepath.Join(e.jwts, a.ID[54:])
	for path, mode := range map[string]os.FileMode{
		filepath.Dir(parent):              0o711,
		parent:                            0o711,
		e.jwts:                            0o755,
		shard:                             0o755,
		filepath.Join(shard, a.ID+".jwt"): 0o644,
	} {
		must(t, os.Chmod(path, mode))
	}
	p, url := e.startNobody(t)
	e.serves(url, a.ID, token)
	must(t, os.Chmod(e.jwts, 0o744)) // its names can be listed, but its files can't be opened
	p.wait("permission denied")
	must(t, os.WriteFile(filepath.Join(e.jwts, "news"), nil, 0o644)) // the directory is looked at again
	time.Sleep(500 * time.Millisecond)
	e.serves(url, a.ID, token)
	must(t, os.Chmod(e.jwts, 0o755))
	p.term()
	if strings.Contains(p.log.String(), "its file is gone") {
		t.Errorf("it says\n%s", p.log)
	}
}
