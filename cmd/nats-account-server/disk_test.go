//go:build linux

package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
)

// TestAFullDiskHarmsNothing runs the program on a disk of 256 KiB.
func TestAFullDiskHarmsNothing(t *testing.T) {
	s := newEnv(t, "", "")
	disk := smallDisk(t, filepath.Join(s.dir, "store"))
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	path := url + "/jwt/v1/accounts/" + a.ID
	first := jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-time.Minute))
	second := s.op.Account(t, a)
	push := func(token []byte) (int, string) { return post(http.DefaultClient, path, token) }
	if status, body := push(first); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	full := fill(t, filepath.Join(disk, "ballast"))
	if status, body := push(second); status != http.StatusInternalServerError ||
		body != "error saving JWT: no space left on device\n" {
		t.Errorf("on a full disk: %d %q", status, body)
	}
	if status, body := get(t, path); status != http.StatusOK || body != string(first) {
		t.Errorf("what was stored is gone: %d %q", status, body)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if status, body := push(second); status != http.StatusOK {
		t.Errorf("when there is room again: %d %q", status, body)
	}
	p.term()
	if stored, err := os.ReadFile(filepath.Join(disk, a.ID[54:], a.ID+".jwt")); err != nil ||
		string(stored) != string(second) {
		t.Errorf("on disk: %q, %v", stored, err)
	}
}

// TestAFullStateDirectoryIsNoObstacle: a folder that is only read is served whatever is with the
// directory that remembers.
func TestAFullStateDirectoryIsNoObstacle(t *testing.T) {
	state := smallDisk(t, filepath.Join(t.TempDir(), "state"))
	l := newReadOnlyEnv(t, "readonly: true, dir: ", fmt.Sprintf(", statedir: %q", state))
	a := jwttest.NewAccount(t)
	first, second := jwttest.Sign(t, l.op.Signing, a,
		time.Now().Add(-time.Minute)), l.op.Account(t, a)
	l.put(a.ID+".jwt", first)
	full := fill(t, filepath.Join(state, "ballast"))
	p, url := l.start(t)
	wantSaid(t, p.log.String(), "is served from memory, but not stored - error saving JWT: ",
		"no space left on device")
	l.serves(url, a.ID, first)
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP) // or half a minute later
	p.wait("updated JWT for account - " + a.ID[:12])
	l.put(a.ID+".jwt", second)
	l.serves(url, a.ID, second)
	p.term()
	if stored, err := os.ReadFile(filepath.Join(state, a.ID[54:], a.ID+".jwt")); err != nil ||
		string(stored) != string(second) {
		t.Errorf("it remembers %q, %v", stored, err)
	}
}

// TestWhatCannotBeTakenOutNowIsTakenOutLater.
func TestWhatCannotBeTakenOutNowIsTakenOutLater(t *testing.T) {
	state := smallDisk(t, filepath.Join(t.TempDir(), "state"))
	l := newReadOnlyEnv(t, "readonly: true, dir: ", fmt.Sprintf(", statedir: %q", state))
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := l.op.Account(t, a)
	l.put(a.ID+".jwt", token)
	p, url := l.start(t)
	l.serves(url, a.ID, token)
	full := fill(t, filepath.Join(state, "ballast"))
	if err := os.Remove(filepath.Join(l.jwts, a.ID+".jwt")); err != nil {
		t.Fatal(err)
	}
	p.wait("is gone, but it can't be taken out - .*no space left on device")
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	l.put(b.ID+".jwt", l.op.Account(t, b)) // has the folder looked at, as half a minute does
	l.serves(url, a.ID, nil)
	p.term()
}

// smallDisk mounts one of 256 KiB.
func smallDisk(t *testing.T, disk string) string {
	t.Helper()
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	return disk
}

// fill writes until there is no room for a byte.
func fill(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return path
}

// TestTheDirectoryMayVanish removes files and the whole directory under the running program.
func TestTheDirectoryMayVanish(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	path, token := url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a)
	file := filepath.Join(s.dir, "store", a.ID[54:], a.ID+".jwt")
	push := func() {
		t.Helper()
		if status, body := post(http.DefaultClient, path, token); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	onDisk := func() {
		t.Helper()
		p.signal(syscall.SIGTERM)
		if code := p.exited(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if stored, err := os.ReadFile(file); err != nil || string(stored) != string(token) {
			t.Errorf("on disk: %q, %v", stored, err)
		}
		p, url = s.start(t)
		path = url + "/jwt/v1/accounts/" + a.ID
	}
	push()
	onDisk()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	push()
	onDisk()
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, path); status != http.StatusInternalServerError ||
		body != "error loading JWT\n" {
		t.Errorf("a damaged file: %d %q", status, body)
	}
	push()
	onDisk()
	if err := os.RemoveAll(filepath.Join(s.dir, "store")); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, path); status != http.StatusServiceUnavailable {
		t.Errorf("a GET without a directory: %d", status)
	}
	if status, body := post(http.DefaultClient, path, token); status != http.StatusInternalServerError {
		t.Errorf("a push without a directory: %d %s", status, body)
	}
	p.kill()
	p, url = s.start(t)
	path = url + "/jwt/v1/accounts/" + a.ID
	push()
	onDisk()
	p.term()
}
