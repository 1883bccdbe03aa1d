package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestMovingHereFromAFullResolver is its directory, as a nats-server has left it: the accounts are served, what was deleted
// there stays so.
func TestMovingHereFromAFullResolver(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "")
	dir := filepath.Join(s.dir, "moved")
	n := natstest.Start(t, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver { type: full, dir: %q, allow_delete: true }\nresolver_preload { %s: %s }\nlisten: 127.0.0.1:-1\n",
		s.op.Token(t), s.op.System.ID, dir, s.op.System.ID, s.op.SystemAccount(t)))
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a, gone := jwttest.NewAccount(t), jwttest.NewAccount(t)
	kept, deleted := s.op.Account(t, a), s.op.Account(t, gone)
	for _, token := range [][]byte{kept, deleted} {
		if _, err := nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	order := jwt.NewGenericClaims(s.op.ID)
	order.Data["accounts"] = []string{gone.ID}
	signed, err := order.Encode(s.op.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("$SYS.REQ.CLAIMS.DELETE", []byte(signed), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	natstest.Stop(n)
	p := start(t, s.dir, nil, "-c", s.conf, "-dir", dir)
	url := p.url()
	if status, body := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK || body != string(kept) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get(t, url+"/jwt/v1/accounts/"+gone.ID); status != http.StatusNotFound {
		t.Errorf("what was deleted: %d", status)
	}
	if status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+gone.ID, deleted); status != http.StatusConflict {
		t.Errorf("what was deleted is pushed: %d", status)
	}
	p.term()
}

// TestMovingHereFromTheOriginal is its directory, as either version leaves it, with either setting of shard.
func TestMovingHereFromTheOriginal(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "")
	dir := filepath.Join(s.dir, "store")
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	claims := jwt.NewActivationClaims(b.ID)
	claims.ImportSubject, claims.ImportType = "foo", jwt.Stream
	activation, err := claims.Encode(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := claims.HashID()
	want := map[string]string{
		"accounts/" + a.ID:    string(s.op.Account(t, a)) + "\n", // it stored line ends as they came
		"accounts/" + b.ID:    string(s.op.Account(t, b)),
		"activations/" + hash: activation,
	}
	for path, file := range map[string]string{"accounts/" + a.ID: a.ID + ".jwt", "accounts/" + b.ID: b.ID[54:] + "/" + b.ID + ".jwt", "activations/" + hash: "==/" + hash + ".jwt"} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(want[path]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, url := s.start(t, "-dump")
	p.wait(`"Logging": \{`)
	for path, token := range want {
		if status, body := get(t, url+"/jwt/v1/"+path); status != http.StatusOK || body != token {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	p.term()
	for path, file := range map[string]string{"accounts/" + a.ID: a.ID + ".jwt", "accounts/" + b.ID: b.ID[54:] + "/" + b.ID + ".jwt"} {
		if content, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(content) != want[path] {
			t.Errorf("%s has changed: %q, %v", file, content, err)
		}
	}
}
