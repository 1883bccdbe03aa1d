package natsconn_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
)

// The files of a certificate may be replaced one after the other.
func TestACertificateIsUsedUntilTheNextOneIsComplete(t *testing.T) {
	dir, ca := t.TempDir(), certtest.New(t)
	f := natsconn.Files{Root: ca.Write(t, dir, "ca"), Section: "nats"}
	f.Cert, f.Key = ca.Issue(t).Write(t, dir, "client")
	var log natstest.Log
	next := f.Reload(slog.New(slog.NewTextHandler(&log, nil)))
	first, err := next()
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.Key, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := next(); again != first || err != nil {
			t.Errorf("with half a pair: %v", err)
		}
	}
	if n := log.Count("the certificates that were read before go on"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := os.WriteFile(f.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := next(); again == first || err != nil {
		t.Errorf("with a whole pair: %v", err)
	}
}

func TestACertificateMustBeGoodOnce(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := natsconn.Files{Root: empty, Section: "nats"}.Reload(slog.New(slog.DiscardHandler))
	if _, err := next(); err == nil {
		t.Error("an empty file is no error")
	}
}
