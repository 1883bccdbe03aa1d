package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestWhatAPushIsTold beside a nats-server: the account is not in use there, then it is, then the
// nats-server is gone.
func TestWhatAPushIsTold(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a := jwttest.NewAccount(t)
	push := func(query, want string) {
		t.Helper()
		token := s.op.Account(t, a)
		natstest.Eventually(t, want, func() bool {
			status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID+query, token)
			if status != http.StatusOK || !strings.HasPrefix(body, "stored; ") {
				t.Fatalf("%d %s", status, body)
			}
			return strings.HasPrefix(body, "stored; "+want)
		})
	}
	wantJSON := func(want ...string) {
		t.Helper()
		_, body := get(t, url+"/jwt/v1/accounts/"+a.ID+"?delivery=true")
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("delivery=true lacks %s: %s", text, body)
			}
		}
	}
	push("", "not in use on the only nats-server\n")
	wantJSON(`"summary": "not in use on the only nats-server"`,
		`"state": "not in use"`, `"owed": []`)
	creds, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), creds)
	push("", "acknowledged by 1 of 1 nats-server\n")
	wantJSON(`"state": "acknowledged"`, `"not_in_use": [],`)
	began := time.Now()
	natstest.Stop(n)
	p.wait("nats disconnected")
	push("?wait=2s", "NATS is not connected: will be sent when it is\n")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it has taken %s", took)
	}
	p.term()
}

// TestAPushIsToldWhyANATSServerRefusesIt: its operator does not know the signing key yet.
func TestAPushIsToldWhyANATSServerRefusesIt(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	a := jwttest.NewAccount(t)
	stale, claims := *s.op, *s.op.Claims
	claims.SigningKeys = nil
	stale.Claims, stale.Signing = &claims, s.op.Key
	n := natstest.Start(t, natstest.MemoryConf(t, &stale,
		fmt.Sprintf("server_name: n1\nlisten: 127.0.0.1:%d\n", port), a))
	creds, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), creds)
	p, url := s.start(t)
	p.wait("connected to NATS")
	token := s.op.Account(t, a)
	natstest.Eventually(t, "it is refused", func() bool {
		_, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID+"?wait=1s", token)
		return strings.HasPrefix(body, "stored; refused by n1: jwt update resulted in error - ")
	})
	p.kill()
	p, url = s.start(t) // what was refused is asked for again
	p.wait("connected to NATS")
	body := ""
	natstest.Eventually(t, "the session has begun", func() bool {
		_, body = get(t, url+"/jwt/v1/accounts/"+a.ID+"?delivery=true")
		return strings.Contains(body, `"nats": "connected"`)
	})
	if !strings.Contains(body, `"summary": "refused by n1: jwt update`) {
		t.Errorf("after a restart: %s", body)
	}
	p.term()
}

// TestAPushIsToldThatTheNATSUserBelongsToAnotherAccount.
func TestAPushIsToldThatTheNATSUserBelongsToAnotherAccount(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	a := jwttest.NewAccount(t)
	creds, _ := a.User(t)
	jwttest.File(t, s.dir, "sys.creds", creds)
	natstest.Start(t, natstest.MemoryConf(t, s.op, fmt.Sprintf("listen: 127.0.0.1:%d\n", port), a))
	p, url := s.start(t)
	p.wait("the user belongs to the account " + a.ID + "; the system account is " + s.op.System.ID)
	_, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	want := fmt.Sprintf("not announced: the NATS user belongs to the account %s, and "+
		"nats-servers take updates from the system account only, %s", a.ID, s.op.System.ID)
	if body != "stored; "+want+"\n" {
		t.Errorf("it is told %s", body)
	}
	_, body = get(t, url+"/jwt/v1/accounts/"+a.ID+"?delivery=true")
	if !strings.Contains(body, want) || !strings.Contains(body, `"user_account": "`+a.ID) {
		t.Errorf("delivery=true is %s", body)
	}
	p.term()
}
