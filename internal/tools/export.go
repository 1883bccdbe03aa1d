package tools

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// maxWrites is how many files are written at a time.
const maxWrites = 16

var errNewerThere = errors.New("a newer JWT of the account is there already, and stays")

// Exported is what an export has done.
type Exported struct {
	Written int
	Same    int     // that were there already
	Faults  []Fault // what is not written
}

// exporter is one export into a directory.
type exporter struct {
	to       string
	sharded  bool
	progress *Progress
	writes   errgroup.Group

	mu   sync.Mutex
	done Exported
}

// Export writes every JWT of a Source into a directory, as <key>.jwt or XX/<key>.jwt. It replaces no file
// with an older JWT. What is there already is left alone, so an export that was interrupted is repeated.
func Export(ctx context.Context, from Source, to string, sharded bool, p *Progress) (Exported, error) {
	x := &exporter{to: to, sharded: sharded, progress: p}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return x.done, err
	}
	x.writes.SetLimit(maxWrites)
	err := from.Each(ctx, func(e Entry) error {
		x.writes.Go(func() error { return x.write(e) })
		return ctx.Err()
	})
	err = errors.Join(err, x.writes.Wait())
	p.End()
	return x.done, err
}

// write writes an Entry. The error is that of a disk on which nothing can be written.
func (x *exporter) write(e Entry) error {
	name, head, err := e.check()
	isSame := false
	if err == nil {
		isSame, err = x.isThere(name, e, head)
	}
	failed := error(nil)
	if err == nil && !isSame {
		failed = replaceFile(x.path(name), append(bytes.Clone(e.JWT), '\n'))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.progress.Add()
	switch {
	case err != nil:
		x.done.Faults = append(x.done.Faults, e.fault("not_exported", err))
	case isSame:
		x.done.Same++
	case failed == nil:
		x.done.Written++
	}
	return failed
}

// check returns the name under which an Entry can be kept.
func (e Entry) check() (name string, head trust.Head, err error) {
	switch {
	case e.Err != nil:
		return "", head, e.Err
	case e.IsToken():
		return e.Name, head, nil
	}
	if head, err = trust.Peek(e.JWT); err != nil {
		return "", head, err
	}
	if !trust.IsAccountKey(head.Subject) {
		return "", head, fmt.Errorf("its subject %.56q is no account key", head.Subject)
	}
	return head.Subject, head, e.checkName(head)
}

// isThere reports whether the same JWT is there. A newer one is an error.
func (x *exporter) isThere(name string, e Entry, head trust.Head) (bool, error) {
	content, _, err := jwtstore.ReadFile(x.path(name), jwtstore.Stamp{})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	there := newEntry("", name, content)
	if there.sum() == e.sum() {
		return true, nil
	}
	if at, ok := trust.IssuedAt(there.JWT); ok && at > head.IssuedAt {
		return false, errNewerThere
	}
	return false, nil
}

// path returns the path of the file of a name.
func (x *exporter) path(name string) string {
	if x.sharded {
		return filepath.Join(x.to, name[len(name)-2:], name+".jwt")
	}
	return filepath.Join(x.to, name+".jwt")
}

// replaceFile writes a file durably. A reader sees the old content or the new one.
func replaceFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// The name begins with a dot, so that no program takes it for a JWT.
	f, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// ExportPack writes every JWT of a Source as a line of a pack. What an account has several JWTs of is
// written as often.
func ExportPack(ctx context.Context, from Source, to io.Writer, p *Progress) (done Exported, err error) {
	out := bufio.NewWriter(to)
	err = from.Each(ctx, func(e Entry) error {
		p.Add()
		name, _, err := e.check()
		if err != nil {
			done.Faults = append(done.Faults, e.fault("not_exported", err))
			return nil
		}
		done.Written++
		_, err = out.Write(append(accounts.AppendPackLine(nil, name, e.JWT), '\n'))
		return err
	})
	p.End()
	return done, errors.Join(err, out.Flush())
}
