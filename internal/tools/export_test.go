package tools_test

import (
	"bytes"
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
