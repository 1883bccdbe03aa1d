package resolver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// order is an order to delete accounts as nsc makes it.
func order(t *testing.T, signer nkeys.KeyPair, edit func(*jwt.GenericClaims), keys ...string) []byte {
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

func deleting(t *testing.T) *house {
	h := newHouse(t, newSite(t))
	h.doors.AllowDelete = true
	return h
}

const deleteSubject = "$SYS.REQ.CLAIMS.DELETE"

func TestDeletingIsOffUnlessConfigured(t *testing.T) {
	t.Parallel()
	h := newHouse(t, newSite(t))
	a := jwttest.NewAccount(t)
	token := h.signed(t, a, 10)
	h.push(t, a.ID, token)
	got := h.request(t, deleteSubject, order(t, h.op.Key, nil, a.ID))
	if got.Error == nil || !strings.Contains(got.Error.Description, "allow_delete") || !h.has(a.ID, token) {
		t.Errorf("%+v", got.Error)
	}
}

// TestOnlyTheOperatorDeletes is every order that is not carried out.
func TestOnlyTheOperatorDeletes(t *testing.T) {
	t.Parallel()
	h := deleting(t)
	a, young := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token, later := h.signed(t, a, 10), h.signed(t, young, -60)
	h.push(t, a.ID, token)
	h.push(t, young.ID, later)
	h.push(t, h.op.System.ID, h.op.SystemAccount(t))
	good := order(t, h.op.Key, nil, a.ID)
	raw := func(data any) []byte {
		return order(t, h.op.Key, func(c *jwt.GenericClaims) { c.Data["accounts"] = data })
	}
	account, _ := nkeys.CreateAccount()
	for _, c := range []struct {
		name  string
		order []byte
		want  string
	}{
		{"garbage", []byte("garbage"), "expected 3 chunks"},
		{"nothing", nil, "expected 3 chunks"},
		{"an account JWT", token, ""},
		{"a broken signature", jwttest.Flip(good), "signature"},
		{"another operator's", order(t, jwttest.NewOperator(t).Key, nil, a.ID), "not trusted"},
		{"an account's", order(t, account, nil, a.ID), "not trusted"},
		{"in somebody else's name", order(t, h.op.Signing, func(c *jwt.GenericClaims) { c.Subject = h.op.ID }, a.ID), "not self signed"},
		{"of no account", order(t, h.op.Key, nil), "malformed request"},
		{"of a text", raw("x"), "malformed request"},
		{"of a number", raw([]any{1}), "malformed request"},
		{"of a wildcard", raw([]string{a.ID, "*"}), "malformed request"},
		{"of a user", raw([]string{"UABC"}), "malformed request"},
		{"expired", order(t, h.op.Key, func(c *jwt.GenericClaims) { c.Expires = 1 }, a.ID), "expired"},
		{"of the system account", order(t, h.op.Key, nil, a.ID, h.op.System.ID), "not allowed to delete system account"},
		{"older than the JWT", order(t, h.op.Key, nil, young.ID), "the stored JWT is newer than the request"},
	} {
		got := h.request(t, deleteSubject, c.order)
		if got.Error == nil || got.Error.Code != 500 || !strings.Contains(got.Error.Description, c.want) {
			t.Errorf("%s: %s %+v", c.name, got.Data, got.Error)
		}
		if !h.has(a.ID, token) || !h.has(young.ID, later) {
			t.Fatalf("%s: it is deleted", c.name)
		}
	}
}

// TestWhatIsDeletedStaysDeleted: no door brings back the same JWT, an older one, or what a peer has kept.
func TestWhatIsDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	h := deleting(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	older, token, between := h.signed(t, a, 100), h.signed(t, a, 50), h.signed(t, a, 40)
	h.push(t, a.ID, token)
	h.push(t, other.ID, h.signed(t, other, 0))
	first := order(t, h.op.Signing, nil, a.ID, jwttest.NewAccount(t).ID)
	if got := h.request(t, deleteSubject, first); got.Error != nil || !strings.Contains(string(got.Data), "deleted 2 accounts") {
		t.Fatalf("%s %+v", got.Data, got.Error)
	}
	absent := func(step string) {
		t.Helper()
		if a, err := h.gate.GetLocal(t.Context(), a.ID); err == nil {
			t.Fatalf("%s brings back %s", step, a.JWT)
		}
	}
	absent("deleting")
	for _, back := range [][]byte{older, token} {
		for _, subject := range []string{"$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE"} {
			if got := h.request(t, subject, back); got.Error == nil || !strings.Contains(got.Error.Description, "the account was deleted at") {
				t.Errorf("%s: %+v", subject, got.Error)
			}
		}
		if _, err := h.gate.Put(t.Context(), a.ID, back, sourceHTTP); err == nil || accounts.Reason(err) != "deleted" {
			t.Errorf("a POST: %v", err)
		}
		absent("an old JWT")
	}
	// A peer has the same, and one that it got between: it has not heard of the deletion.
	for _, back := range [][]byte{token, between} {
		if _, err := h.gate.Put(t.Context(), a.ID, back, accounts.Origin{Kind: accounts.KindPack, Peer: true}); err == nil {
			t.Error("a peer brings it back")
		}
	}
	absent("a peer")
	if _, err := h.nc.Subscribe("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", func(m *nats.Msg) { _ = m.Respond(token) }); err != nil {
		t.Fatal(err)
	}
	h.nc.Flush()
	if found, err := h.gate.Get(t.Context(), a.ID); err == nil {
		t.Errorf("a lookup brings back %s", found.JWT)
	}
	// Somebody who asks gets a newer one in, and it is not deleted by the same order again.
	h.push(t, a.ID, between)
	if got := h.request(t, deleteSubject, first); got.Error == nil || !strings.Contains(got.Error.Description, "carried out before") {
		t.Errorf("replayed: %s %+v", got.Data, got.Error)
	}
	if !h.has(a.ID, between) {
		t.Fatal("it is gone")
	}
	second := order(t, h.op.Key, func(c *jwt.GenericClaims) { c.Name = "again" }, a.ID)
	if got := h.request(t, deleteSubject, second); got.Error != nil {
		t.Errorf("%+v", got.Error)
	}
	absent("deleting again")
	if n := len(h.gate.Keys()); n != 1 {
		t.Errorf("%d accounts are left", n)
	}
}

// TestTheAnswerSaysWhoStillRunsTheAccount, and what helps.
func TestTheAnswerSaysWhoStillRunsTheAccount(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	s := newSiteAt(t, op, natstest.Start(t, natstest.MemoryConf(t, op, natstest.AnyPort+"server_name: n1\n", a)))
	h := newHouse(t, s)
	h.doors.AllowDelete = true
	creds, _ := a.User(t)
	natstest.Connect(t, s.nats.ClientURL(), creds)
	h.push(t, a.ID, h.signed(t, a, 0))
	natstest.Eventually(t, "the nats-server is known", func() bool { return len(h.store.Outbox().Servers()) == 1 && h.store.Outbox().PendingFor(a.ID).Seq == 0 })
	got := h.request(t, deleteSubject, order(t, op.Key, nil, a.ID))
	if want := fmt.Sprintf("deleted 1 accounts; %s is still loaded by n1", a.ID[:12]); !strings.Contains(string(got.Data), want) || !strings.Contains(string(got.Data), "conn: 0") {
		t.Errorf("%s %+v", got.Data, got.Error)
	}
}
