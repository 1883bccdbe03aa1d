package tools

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
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

// errNewerThere is why a JWT is not written.
var errNewerThere = errors.New("a newer JWT of the account is there already, and stays")

// Exported is what an export has done. The three add up to the entries of the Source, if it was
// read to its end.
type Exported struct {
	Written int
	// Same counts those whose very JWT was there already.
	Same int
	// Faults are what is not written: damaged, misnamed, or older than what is there.
	Faults []Fault
}

// exporter is one export into a directory.
type exporter struct {
	// to is the directory, which exists.
	to string
	// sharded puts each file into a directory of the last two characters of its name, as
	// nats-server does.
	sharded  bool
	progress *Progress
	writes   errgroup.Group

	// names are locked: of two JWTs of an account, the second is compared with what the first has
	// written.
	names jwtstore.KeyLocks

	mu   sync.Mutex
	done Exported // guarded by mu
}

// Export writes every JWT of a Source into a directory, as <key>.jwt, or sharded as XX/<key>.jwt.
// It makes the directory, and replaces no file with an older JWT. What is there already is left
// alone, so an export that was interrupted is repeated. Each file is synced. The directories are
// not: what a power cut takes away, a repeated export writes again.
//
// The error is that of the Source or of the disk. Exported is what was done until then. Of several
// JWTs of an account, the one that was issued last is written; of those of one second, any.
func Export(
	ctx context.Context, from Source, to string, sharded bool, p *Progress,
) (Exported, error) {
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

// write writes an Entry. The error is that of the disk, which ends the export. What is wrong with
// the Entry itself is a Fault.
func (x *exporter) write(e Entry) error {
	isSame, err, failed := x.replace(e)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.progress.Add()
	switch {
	case err != nil:
		x.done.Faults = append(x.done.Faults, e.fault(codeNotExported, err))
	case isSame:
		x.done.Same++
	case failed == nil:
		x.done.Written++
	}
	return failed
}

// replace writes an Entry unless the same JWT is there. err is why it must not be written, and
// failed why it could not be.
func (x *exporter) replace(e Entry) (isSame bool, err, failed error) {
	name, _, err := e.check()
	if err != nil {
		return false, err, nil
	}
	// What was read is written, also if the export is interrupted: so this waits without an end.
	unlock, failed := x.names.Lock(context.Background(), name)
	if failed != nil {
		return false, nil, failed
	}
	defer unlock()
	if isSame, err = x.isThere(name, e); err != nil || isSame {
		return isSame, err, nil
	}
	return false, nil, replaceFile(x.path(name), func(w io.Writer) error {
		_, err := w.Write(append(bytes.Clone(e.JWT), '\n'))
		return err
	})
}

// isThere reports whether the same JWT is there. A newer one is an error, and so is a file that
// can't be read: it is not replaced. A file whose text is no JWT is replaced. Only the time of
// issue is compared, as the policy of a server does.
func (x *exporter) isThere(name string, e Entry) (bool, error) {
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
	issued, _ := trust.IssuedAt(e.JWT)
	if at, ok := trust.IssuedAt(there.JWT); ok && at > issued {
		return false, errNewerThere
	}
	return false, nil
}

// path returns where the file of a name is.
func (x *exporter) path(name string) string {
	if x.sharded {
		return filepath.Join(x.to, name[len(name)-2:], name+".jwt")
	}
	return filepath.Join(x.to, name+".jwt")
}

// replaceFile writes a file, synced before it gets its name. A reader sees the old content or the
// new one. Its mode is 0644: a JWT is public. A temp file that a kill left behind is not removed
// later.
func replaceFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// The name begins with a dot, so that no program takes it for a JWT.
	f, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return err
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// ExportPackFile is ExportPack into a file, which is replaced when the pack is complete. Until then
// the one before it stays, which may be the Source. What is no file, such as a pipe, is written to.
func ExportPackFile(
	ctx context.Context, from Source, path string, p *Progress,
) (done Exported, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return done, err
		}
		done, err = ExportPack(ctx, from, f, p)
		return done, cmp.Or(err, f.Close())
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays one
	}
	err = replaceFile(path, func(w io.Writer) (err error) {
		done, err = ExportPack(ctx, from, w, p)
		return err
	})
	return done, err
}

// ExportPack writes every JWT of a Source as a line of a pack. An account that has several JWTs has
// as many lines. to is not closed. The lines are in the order of the Source.
func ExportPack(
	ctx context.Context, from Source, to io.Writer, p *Progress,
) (done Exported, err error) {
	out := bufio.NewWriter(to)
	err = from.Each(ctx, func(e Entry) error {
		p.Add()
		name, _, err := e.check()
		if err != nil {
			done.Faults = append(done.Faults, e.fault(codeNotExported, err))
			return nil
		}
		done.Written++
		_, err = out.Write(append(accounts.AppendPackLine(nil, name, e.JWT), '\n'))
		return err
	})
	p.End()
	return done, errors.Join(err, out.Flush())
}
