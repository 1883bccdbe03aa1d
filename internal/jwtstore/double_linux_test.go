package jwtstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// byText has the greater text newer.
func byText(_ string, a, b []byte) bool { return bytes.Compare(a, b) > 0 }

// TestOfTwoFilesTheNewerIsServed has a JWT, a tombstone and an activation token in both layouts.
func TestOfTwoFilesTheNewerIsServed(t *testing.T) {
	hash := sha256.Sum256([]byte("a token"))
	token := base32.StdEncoding.EncodeToString(hash[:])
	for _, shard := range []bool{true, false} {
		for _, c := range []struct {
			newer            func(key string, a, b []byte) bool
			preferred, other string
			want             string
		}{
			{byText, "2 new", "1 old", "2 new"},
			{byText, "1 old", "2 new", "2 new"},
			{byText, "the same", "the same", "the same"},
			{nil, "in its place", "wherever", "in its place"},
		} {
			dir, key := t.TempDir(), jwtstoretest.Key(t)
			o := options(t, dir)
			o.Shard, o.Announce, o.Newer = shard, false, c.newer
			for _, path := range []string{
				jwtstore.Path(shard, key), jwtstore.TombstonePath(shard, key),
				jwtstore.Path(shard, token),
			} {
				write(t, filepath.Join(dir, path), c.preferred)
			}
			for _, path := range []string{
				jwtstore.Path(!shard, key), jwtstore.TombstonePath(!shard, key),
				jwtstore.Path(!shard, token),
			} {
				write(t, filepath.Join(dir, path), c.other)
			}
			d := open(t, o)
			loads(t, d, key, c.want)
			loads(t, d, token, c.want)
			keeps(t, d, key, c.want)
			wantListed(t, d, key)
			closeStore(t, d)
			want := []string{}
			for _, path := range []string{
				jwtstore.Path(shard, key), jwtstore.TombstonePath(shard, key),
				jwtstore.Path(shard, token),
			} {
				want = append(want, "-rw------- "+path+" "+c.want)
				if shard {
					want = append(want, "drwx------ "+filepath.Dir(path))
				}
			}
			slices.Sort(want)
			wantTree(t, dir, slices.Compact(want)...)
		}
	}
}

// TestOfTwoFilesOfOneSecondTheLastCounts has a file come back to the other layout that the last Put
// has replaced within its second.
func TestOfTwoFilesOfOneSecondTheLastCounts(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o := options(t, dir)
	o.Announce, o.Newer = false, func(string, []byte, []byte) bool { return false }
	d := open(t, o)
	for _, jwt := range []string{"first", "second"} {
		_, err := d.Put(t.Context(), key, "test", []byte(jwt), jwtstoretest.IssuedAt(jwt, 1))
		if err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, d)
	for range 2 {
		o.Shard = !o.Shard
		write(t, filepath.Join(dir, jwtstore.Path(o.Shard, key)), "first")
		d = open(t, o)
		loads(t, d, key, "second")
		closeStore(t, d)
		if other := filepath.Join(dir, jwtstore.Path(!o.Shard, key)); exists(other) {
			t.Errorf("%s is there", other)
		}
	}
}

// TestALinkToTheOtherFileIsNotAnOlderFile has a link in one layout that leads to the file in the
// other one.
func TestALinkToTheOtherFileIsNotAnOlderFile(t *testing.T) {
	for _, linked := range []bool{true, false} {
		dir, key := t.TempDir(), jwtstoretest.Key(t)
		o := options(t, dir)
		o.Newer = byText
		file := filepath.Join(dir, jwtstore.Path(!linked, key))
		link := filepath.Join(dir, jwtstore.Path(linked, key))
		write(t, file, "jwt")
		write(t, filepath.Join(filepath.Dir(link), "something"), "")
		if err := os.Symlink(file, link); err != nil {
			t.Skip(err)
		}
		d := open(t, o)
		loads(t, d, key, "jwt")
		closeStore(t, d)
		loads(t, open(t, o), key, "jwt")
	}
}

func init() {
	children["older"] = olderFileThatStays
	children["doubles"] = doublesThatStay
}

// asNobody lets a child run without the rights of root, and gives it dir.
func asNobody(t *testing.T, dir string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		if os.Getuid() != 0 {
			return
		}
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, 65534, 65534))
		})
		if err != nil {
			t.Fatal(err)
		}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534,
			Gid: 65534}}
	}
}

// TestAnOlderFileThatCanNotBeRemoved has the older file in a directory that nothing can be removed
// from. The change stays unflushed until it can.
func TestAnOlderFileThatCanNotBeRemoved(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, jwtstore.Path(true, writerKeys()[0])), "1 old")
	asChild(t, "older", dir, asNobody(t, dir))
}

func olderFileThatStays(dir string) error {
	key := writerKeys()[0]
	older := filepath.Join(dir, jwtstore.Path(true, key))
	if err := os.Chmod(filepath.Dir(older), 0o500); err != nil {
		return err
	}
	var warnings []string
	o := jwtstore.Options{Dir: dir, Warn: func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}}
	d, err := jwtstore.OpenDir(context.Background(), o)
	if err == nil {
		err = tryPut(d, key, "2 new")
	}
	if err != nil {
		return err
	}
	d.Flush()
	d.Flush()
	if n := d.Unflushed(); n != 1 {
		return fmt.Errorf("%d changes are unflushed", n)
	}
	if err := d.Close(); !errors.Is(err, os.ErrPermission) ||
		!strings.Contains(err.Error(), older) {
		return fmt.Errorf("Close: %v", err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], older) {
		return fmt.Errorf("warnings %q", warnings)
	}
	// With the other setting again, the older file is the preferred one.
	o.Shard, o.Newer = true, byText
	if d, err = jwtstore.OpenDir(context.Background(), o); err != nil {
		return err
	}
	if jwt, _, err := d.Load(key, jwtstore.Stamp{}); string(jwt) != "2 new" {
		return fmt.Errorf("after the next start: %q, %v", jwt, err)
	}
	if err := d.Close(); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("the second Close: %v", err)
	}
	if err := os.Chmod(filepath.Dir(older), 0o700); err != nil {
		return err
	}
	o.Shard = false
	if d, err = jwtstore.OpenDir(context.Background(), o); err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	if _, err := os.Stat(older); !os.IsNotExist(err) {
		return fmt.Errorf("the older file is there: %v", err)
	}
	return nil
}

// TestTwoFilesOfWhichNoneCanBeRemoved has the newer file in the other layout, in a directory that
// nothing can be removed from.
func TestTwoFilesOfWhichNoneCanBeRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{jwtstore.Path(true, writerKeys()[0]),
		jwtstore.TombstonePath(true, writerKeys()[0])} {
		write(t, filepath.Join(dir, path), "2 new")
		write(t, filepath.Join(dir, filepath.Base(path)), "1 old")
	}
	asChild(t, "doubles", dir, asNobody(t, dir))
}

func doublesThatStay(dir string) error {
	key := writerKeys()[0]
	shard := filepath.Join(dir, filepath.Dir(jwtstore.Path(true, key)))
	if err := os.Chmod(shard, 0o500); err != nil {
		return err
	}
	warnings := 0
	o := jwtstore.Options{Dir: dir, Newer: byText, Warn: func(string, ...any) { warnings++ }}
	d, err := jwtstore.OpenDir(context.Background(), o)
	if err != nil {
		return err
	}
	check := func(when string) error {
		jwt, stamp, err := d.Load(key, jwtstore.Stamp{})
		if string(jwt) != "2 new" || err != nil {
			return fmt.Errorf("%s Load returns %q, %v", when, jwt, err)
		}
		if same, _, err := d.Load(key, stamp); err != nil || same != nil &&
			string(same) != "2 new" {
			return fmt.Errorf("%s the stamp has changed: %q, %v", when, same, err)
		}
		if kept, err := d.Tombstone(key); string(kept) != "2 new" || err != nil {
			return fmt.Errorf("%s the tombstone is %q, %v", when, kept, err)
		}
		var others atomic.Int32
		looked := jwtstore.Scan{Every: true, Look: func(found string, err error) bool {
			if found != key || err != nil {
				others.Add(1)
			}
			return false
		}}
		if err := d.Scan(context.Background(), looked); err != nil || others.Load() > 0 {
			return fmt.Errorf("%s Scan: %v, and %d others", when, err, others.Load())
		}
		return nil
	}
	if err := check("after the start"); err != nil {
		return err
	}
	if warnings != 1 {
		return fmt.Errorf("%d warnings", warnings)
	}
	if err := d.Close(); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("Close: %v", err)
	}
	if err := check("after the stop"); err != nil {
		return err
	}
	if d, err = jwtstore.OpenDir(context.Background(), o); err != nil {
		return err
	}
	if err := os.Chmod(shard, 0o700); err != nil {
		return err
	}
	if err := errors.Join(check("after the next start"), d.Close(), check("after its stop")); err != nil {
		return err
	}
	if _, err := os.Stat(shard); !os.IsNotExist(err) {
		return fmt.Errorf("the other files are there: %v", err)
	}
	return nil
}
