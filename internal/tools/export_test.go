package tools_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/tools"
)

// An activation token that was issued anew was refused, as one that is older than the file.
func TestAnExportReplacesAnOlderActivationTokenOnly(t *testing.T) {
	t.Parallel()
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	older, hash := jwttest.Activation(t, exporter, importer, time.Unix(1_700_000_000, 0))
	newer, _ := jwttest.Activation(t, exporter, importer, time.Unix(1_800_000_000, 0))
	to := t.TempDir()
	for _, step := range []struct {
		token   []byte
		written int
	}{{older, 1}, {newer, 1}, {newer, 0}, {older, 0}} {
		from := filepath.Join(t.TempDir(), hash+".jwt")
		if err := os.WriteFile(from, step.token, 0o600); err != nil {
			t.Fatal(err)
		}
		source, err := tools.Open(filepath.Dir(from), tools.Access{})
		if err != nil {
			t.Fatal(err)
		}
		done, err := tools.Export(t.Context(), source, to, false, &tools.Progress{})
		if err != nil || done.Written != step.written {
			t.Errorf("written %d, want %d: %v %v", done.Written, step.written, done.Faults, err)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(to, hash+".jwt")); !bytes.Equal(bytes.TrimSpace(got), newer) {
		t.Errorf("the file has %.80q", got)
	}
}

// An account may have two files in a source. They are written at the same time.
func TestAnExportWritesTheNewestOfSeveralJWTs(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	from, want := t.TempDir(), map[string][]byte{}
	for range 20 {
		a := jwttest.NewAccount(t)
		older := jwttest.Sign(t, op.Key, a, time.Unix(1_700_000_000, 0))
		want[a.ID] = op.Account(t, a)
		jwttest.File(t, from, a.ID+".jwt", want[a.ID])
		shard := filepath.Join(from, a.ID[len(a.ID)-2:])
		if err := os.MkdirAll(shard, 0o700); err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, shard, a.ID+".jwt", older)
	}
	source, err := tools.Open(from, tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if _, err := tools.Export(t.Context(), source, to, false, &tools.Progress{}); err != nil {
		t.Fatal(err)
	}
	for id, token := range want {
		got, _ := os.ReadFile(filepath.Join(to, id+".jwt"))
		if !bytes.Equal(bytes.TrimSpace(got), token) {
			t.Errorf("%s: an older JWT has replaced the newest", id)
		}
	}
}

// interruptedSource is interrupted when it has read an entry.
type interruptedSource struct {
	tools.Source
	interrupt func()
}

func (s interruptedSource) Each(ctx context.Context, do func(tools.Entry) error) error {
	return s.Source.Each(ctx, func(e tools.Entry) error {
		s.interrupt()
		return do(e)
	})
}

// Otherwise what is said to be written would lack JWTs, and the error would be told twice.
func TestAnExportThatIsInterruptedWritesWhatItHasRead(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	dir, to := t.TempDir(), t.TempDir()
	jwttest.File(t, dir, a.ID+".jwt", op.Account(t, a))
	source, err := tools.Open(dir, tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	done, err := tools.Export(ctx, interruptedSource{source, interrupt}, to, false, &tools.Progress{})
	if done.Written != 1 || err == nil || err.Error() != context.Canceled.Error() {
		t.Errorf("%d written, the error is %q", done.Written, err)
	}
}

// endingSource ends with an error behind its entries, as one whose server goes away.
type endingSource struct {
	tools.Source
	err error
}

func (s endingSource) Each(ctx context.Context, do func(tools.Entry) error) error {
	return cmp.Or(s.Source.Each(ctx, do), s.err)
}

// A pack gets its name when it is complete: one that ends early would be taken for a backup, and has
// replaced the one before it.
func TestAPackThatEndsEarlyReplacesNone(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	dir := t.TempDir()
	jwttest.File(t, dir, a.ID+".jwt", op.Account(t, a))
	source, err := tools.Open(dir, tools.Access{})
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "accounts.pack")
	export := func(from tools.Source) error {
		_, err := tools.ExportPackFile(t.Context(), from, to, &tools.Progress{})
		return err
	}
	lost := errors.New("connection lost")
	if err := export(endingSource{source, lost}); !errors.Is(err, lost) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a pack that is not complete has its name: %v", err)
	}
	if err := export(source); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(to)
	if err != nil || len(whole) == 0 {
		t.Fatalf("%q, %v", whole, err)
	}
	if err := export(endingSource{source, lost}); !errors.Is(err, lost) {
		t.Errorf("the error is %v", err)
	}
	// The pack may be the source as well.
	itself, err := tools.Open(to, tools.Access{})
	if err != nil || export(itself) != nil {
		t.Errorf("the pack can't be exported to itself: %v", err)
	}
	if got, _ := os.ReadFile(to); !bytes.Equal(got, whole) {
		t.Errorf("the pack was %q and is %q", whole, got)
	}
	if left, _ := os.ReadDir(filepath.Dir(to)); len(left) != 1 {
		t.Errorf("there is %v", left)
	}
}
