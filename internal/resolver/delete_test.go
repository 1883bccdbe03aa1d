package resolver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// order is an order to delete accounts, as nsc makes it.
func order(
	t *testing.T, signer nkeys.KeyPair, edit func(*jwt.GenericClaims), keys ...string,
) []byte {
	t.Helper()
	issuer, err := signer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c := jwt.NewGenericClaims(issuer)
	c.Data["accounts"] = keys
	if edit != nil {
		edit(c)
	}
	token, err := c.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(token)
}

// startDeletingServer returns an account server that may delete accounts.
func startDeletingServer(t *testing.T) *accountServer {
	srv := startServer(t, startEnvironment(t))
	srv.registry.AllowDelete = true
	return srv
}

const deleteSubject = "$SYS.REQ.CLAIMS.DELETE"

func TestDeletingIsOffUnlessConfigured(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	a := jwttest.NewAccount(t)
	token := srv.signed(t, a, 10)
	srv.push(t, a.ID, token)
	got := srv.request(t, deleteSubject, order(t, srv.op.Key, nil, a.ID))
	if got.Error == nil || !strings.Contains(got.Error.Description, "allow_delete") ||
		!srv.has(a.ID, token) {
		t.Errorf("%+v", got.Error)
	}
}

func TestOnlyTheOperatorDeletes(t *testing.T) {
	t.Parallel()
	srv := startDeletingServer(t)
	a, young := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token, later := srv.signed(t, a, 10), srv.signed(t, young, -60)
	srv.push(t, a.ID, token)
	srv.push(t, young.ID, later)
	srv.push(t, srv.op.System.ID, srv.op.SystemAccount(t))
	good := order(t, srv.op.Key, nil, a.ID)
	raw := func(data any) []byte {
		return order(t, srv.op.Key, func(c *jwt.GenericClaims) { c.Data["accounts"] = data })
	}
	account, _ := nkeys.CreateAccount()
	inOperatorsName := order(t, srv.op.Signing,
		func(c *jwt.GenericClaims) { c.Subject = srv.op.ID }, a.ID)
	tooOld := order(t, srv.op.Key, nil, young.ID)
	withSystem := order(t, srv.op.Key, nil, a.ID, srv.op.System.ID)
	for _, c := range []struct {
		name  string
		order []byte
		want  string
	}{
		{"garbage", []byte("garbage"), "expected 3 chunks"},
		{"nothing", nil, "expected 3 chunks"},
		{"an account JWT", token, ""},
		{"a broken signature", jwttest.Flip(good), "signature"},
		{"an account's", order(t, account, nil, a.ID), "not trusted"},
		{"in another name", inOperatorsName, "not self signed"},
		{"of no account", order(t, srv.op.Key, nil), "malformed request"},
		{"of a text", raw("x"), "malformed request"},
		{"of a number", raw([]any{1}), "malformed request"},
		{"of a wildcard", raw([]string{a.ID, "*"}), "malformed request"},
		{"of a user", raw([]string{"UABC"}), "malformed request"},
		{"expired", order(t, srv.op.Key, func(c *jwt.GenericClaims) {
			c.Expires = 1
		}, a.ID), "expired"},
		{"of the system account", withSystem, "not allowed to delete system account"},
		{"older than the JWT", tooOld, "the stored JWT is newer than the request"},
	} {
		got := srv.request(t, deleteSubject, c.order)
		if got.Error == nil || got.Error.Code != 500 ||
			!strings.Contains(got.Error.Description, c.want) {
			t.Errorf("%s: %s %+v", c.name, got.Data, got.Error)
		}
		if !srv.has(a.ID, token) || !srv.has(young.ID, later) {
			t.Fatalf("%s: it is deleted", c.name)
		}
	}
}

func TestNoWayInBringsBackWhatWasDeleted(t *testing.T) {
	t.Parallel()
	srv := startDeletingServer(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	older, token, between := srv.signed(t, a, 100), srv.signed(t, a, 50), srv.signed(t, a, 40)
	srv.push(t, a.ID, token)
	srv.push(t, other.ID, srv.signed(t, other, 0))
	first := order(t, srv.op.Signing, nil, a.ID, jwttest.NewAccount(t).ID)
	got := srv.request(t, deleteSubject, first)
	if got.Error != nil || !strings.Contains(string(got.Data), "deleted 2 accounts") {
		t.Fatalf("%s %+v", got.Data, got.Error)
	}
	wantAbsent := func(step string) {
		t.Helper()
		if a, err := srv.registry.GetLocal(t.Context(), a.ID); err == nil {
			t.Fatalf("%s brings back %s", step, a.JWT)
		}
	}
	wantAbsent("deleting")
	for _, back := range [][]byte{older, token} {
		for _, subject := range updateSubjects(a.ID) {
			if got := srv.request(t, subject, back); !got.refusedFor("the account was deleted at") {
				t.Errorf("%s: %+v", subject, got.Error)
			}
		}
		_, err := srv.registry.Put(t.Context(), a.ID, back, sourceHTTP)
		if err == nil || accounts.Reason(err) != "deleted" {
			t.Errorf("a POST: %v", err)
		}
		wantAbsent("an old JWT")
	}
	// A peer that does not know of the deletion has the same, and one that it got in between.
	for _, back := range [][]byte{token, between} {
		origin := accounts.Origin{Kind: accounts.KindPack, Peer: true}
		if _, err := srv.registry.Put(t.Context(), a.ID, back, origin); err == nil {
			t.Error("a peer brings it back")
		}
	}
	wantAbsent("a peer")
	lookup := "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.LOOKUP"
	if _, err := srv.nc.Subscribe(lookup, func(m *nats.Msg) { _ = m.Respond(token) }); err != nil {
		t.Fatal(err)
	}
	srv.nc.Flush()
	if found, err := srv.registry.Get(t.Context(), a.ID); err == nil {
		t.Errorf("a lookup brings back %s", found.JWT)
	}
	// A push of a newer one is accepted, and the same order does not delete that again.
	srv.push(t, a.ID, between)
	if got := srv.request(t, deleteSubject, first); !got.refusedFor("carried out before") {
		t.Errorf("replayed: %s %+v", got.Data, got.Error)
	}
	if !srv.has(a.ID, between) {
		t.Fatal("it is gone")
	}
	second := order(t, srv.op.Key, func(c *jwt.GenericClaims) { c.Name = "again" }, a.ID)
	if got := srv.request(t, deleteSubject, second); got.Error != nil {
		t.Errorf("%+v", got.Error)
	}
	wantAbsent("deleting again")
	if n := len(srv.registry.Keys()); n != 1 {
		t.Errorf("%d accounts are left", n)
	}
}

func TestTheAnswerToADeletionNamesTheServersThatStillRunTheAccount(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	env := newEnvironment(t, op, a)
	srv := startServer(t, env)
	srv.registry.AllowDelete = true
	creds, _ := a.User(t)
	natstest.Connect(t, env.nats.ClientURL(), creds)
	srv.push(t, a.ID, srv.signed(t, a, 0))
	srv.waitForServer(t)
	natstest.Eventually(t, "nothing is pending", func() bool { return srv.nothingPending(a.ID) })
	got := srv.request(t, deleteSubject, order(t, op.Key, nil, a.ID))
	want := fmt.Sprintf("deleted 1 accounts; %s is still loaded by n1", a.ID[:12])
	if text := string(got.Data); !strings.Contains(text, want) ||
		!strings.Contains(text, "conn: 0") {
		t.Errorf("%s %+v", got.Data, got.Error)
	}
}

// TestMalformedOrdersAreAnsweredAsByANatsServer, and an order to delete no account, which is none
// of them.
func TestMalformedOrdersAreAnsweredAsByANatsServer(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	conf := natstest.DirConf(t, op, `full, allow_delete: true, hard_delete: true`, t.TempDir(),
		natstest.AnyPort+"server_name: full\n")
	srv := startServer(t, newEnvironmentAt(t, op, natstest.Start(t, conf)))
	srv.registry.AllowDelete = true
	for name, edit := range map[string]func(*jwt.GenericClaims){
		"of no account": func(c *jwt.GenericClaims) { c.Data["accounts"] = []string{} },
		"of null":       func(c *jwt.GenericClaims) { c.Data["accounts"] = nil },
		"without a key": func(c *jwt.GenericClaims) { delete(c.Data, "accounts") },
		"of a text":     func(c *jwt.GenericClaims) { c.Data["accounts"] = "" },
		"of an object":  func(c *jwt.GenericClaims) { c.Data["accounts"] = map[string]string{} },
	} {
		sub, err := srv.nc.SubscribeSync(srv.nc.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.nc.PublishRequest(deleteSubject, sub.Subject, order(t, op.Key, edit)); err != nil {
			t.Fatal(err)
		}
		answers := map[string]bool{}
		for range 2 {
			m, err := sub.NextMsg(20 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Data, Error any }
			if err := json.Unmarshal(m.Data, &got); err != nil {
				t.Fatal(err)
			}
			answers[fmt.Sprint(got)] = true
		}
		if len(answers) != 1 {
			t.Errorf("%s: %v", name, answers)
		}
	}
}
