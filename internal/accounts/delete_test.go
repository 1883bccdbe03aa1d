package accounts_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// order is an order of the operator to delete accounts, issued some time from now.
func (e *testEnv) order(t *testing.T, after time.Duration, keys ...string) []byte {
	t.Helper()
	return orderBy(t, e.op.Key, e.now.Add(after), keys...)
}

func orderBy(t *testing.T, signer nkeys.KeyPair, at time.Time, keys ...string) []byte {
	t.Helper()
	key, err := signer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewGenericClaims(key)
	claims.Data["accounts"] = keys
	claims.Issuer, claims.IssuedAt, claims.ID = key, at.Unix(), fmt.Sprint(at, keys)
	return jwttest.Encode(t, signer, claims)
}

// TestOrders: what is deleted by which order, and what the client reads.
func TestOrders(t *testing.T) {
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	any, nothing := errors.New("any error"), ""
	for _, c := range []struct {
		name     string
		order    func(e *testEnv) []byte
		readOnly bool
		want     error  // of the whole order
		text     string // what the client reads
		deleted  bool   // a is
	}{
		{"garbage", func(*testEnv) []byte { return []byte("x") }, false, any, nothing, false},
		{"another operator's", func(e *testEnv) []byte {
			return orderBy(t, jwttest.NewOperator(t).Key, e.now, a.ID)
		}, false, any, nothing, false},
		{"from the future", func(e *testEnv) []byte { return e.order(t, time.Hour, a.ID) },
			false, &accounts.FutureError{}, nothing, false},
		{"the system account too",
			func(e *testEnv) []byte { return e.order(t, 0, a.ID, e.op.System.ID) },
			false, accounts.ErrSystemAccount, nothing, false},
		{"on a read-only server", func(e *testEnv) []byte { return e.order(t, 0, a.ID) },
			true, accounts.ErrReadOnly, nothing, false},
		{"where deleting is off", func(e *testEnv) []byte {
			e.registry.AllowDelete = false
			return e.order(t, 0, a.ID)
		}, false, accounts.ErrDeletingOff, nothing, false},
		{"older than what is stored", func(e *testEnv) []byte {
			return e.order(t, -time.Hour,
				a.ID)
		}, false, nil,
			"deleted 0 accounts, failed for 1 - " + a.ID[:12] + ": " +
				accounts.ErrNewer.Error(), false},
		{"an account that is not stored", func(e *testEnv) []byte { return e.order(t, 0, b.ID) },
			false, nil,
			"deleted 1 accounts", false},
		{"two accounts", func(e *testEnv) []byte { return e.order(t, 0, a.ID, b.ID) }, false, nil,
			"deleted 2 accounts", true},
		{"by a signing key", func(e *testEnv) []byte {
			return orderBy(t, e.op.Signing, e.now,
				a.ID)
		}, false, nil,
			"deleted 1 accounts", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, func(o *accounts.Options) { o.ReadOnly = c.readOnly })
			token := e.signed(t, a, 0)
			e.plant(t, a.ID, token)
			done, err := e.registry.Delete(t.Context(), c.order(e), onDeletion)
			switch {
			case c.want == any:
				if err == nil {
					t.Error("it is carried out")
				}
			default:
				wantError(t, err, c.want)
			}
			if err == nil && done.String() != c.text {
				t.Errorf("it says %q", done)
			}
			if err != nil && (len(e.events) != 1 || e.events[0].Result != accounts.Refused) {
				t.Errorf("observed %+v", e.events)
			}
			if got := e.stored(t, a.ID); (got == nil) != c.deleted {
				t.Errorf("stored is %q", got)
			}
		})
	}
}

// TestADeletion is observed, logged and announced. It is carried out once.
func TestADeletion(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.mustPush(t, a.ID, token)
	e.announcer.report.Servers = []accounts.ServerReport{
		{Name: "n1", Runs: &accounts.Running{State: accounts.Loaded}},
		{Name: "n2", Runs: &accounts.Running{State: accounts.NotLoaded}},
		{Name: "n3"},
	}
	e.events = nil
	order := e.order(t, time.Second, a.ID)
	done, err := e.registry.Delete(t.Context(), append(order, '\n'), onDeletion)
	wantError(t, err, nil)
	want := "deleted 1 accounts; " + a.ID[:12] +
		" is still loaded by n1: they keep its clients until a newer JWT " +
		"of it with the limit conn: 0 is pushed"
	if done.String() != want || done.Issuer != e.op.ID {
		t.Errorf("by %s: %s", done.Issuer, done)
	}
	if len(e.events) != 1 {
		t.Fatalf("observed %+v", e.events)
	}
	v := e.events[0]
	if v.Result != accounts.Deleted || v.Account != a.ID || v.Issuer != e.op.ID || v.New != nil ||
		*v.Old != version(t, token) {
		t.Errorf("observed %+v", v)
	}
	if n := e.announcer.count(); n != 2 {
		t.Errorf("announced %d times", n)
	}
	if e.registry.Digest() != (accounts.Digest{}) || len(e.registry.Keys()) != 0 {
		t.Error("it is still in the digest")
	}
	if !strings.Contains(e.log.String(),
		"deleted account - "+a.ID[:12]+" - by order of "+e.op.ID[:12]) {
		t.Errorf("it logs %s", e.log)
	}
	e.mustPush(t, a.ID, e.signed(t, a, time.Second))
	done, err = e.registry.Delete(t.Context(), order, onDeletion)
	wantError(t, err, nil)
	if len(done.Failed) != 1 || !strings.Contains(done.Failed[0], accounts.ErrReplayed.Error()) {
		t.Errorf("again: %s", done)
	}
	if last := e.events[len(e.events)-1]; last.Result != accounts.Refused ||
		last.Reason != "replayed" {
		t.Errorf("observed %+v", last)
	}
}

// TestWhatBringsADeletedAccountBack depends on the way in.
func TestWhatBringsADeletedAccountBack(t *testing.T) {
	named := func(c *jwt.AccountClaims) { c.Name = "renamed" }
	for _, c := range []struct {
		name   string
		after  time.Duration // of the deleted JWT; the order is a minute younger
		edit   func(*jwt.AccountClaims)
		from   accounts.Origin
		barred bool
	}{
		{"the same, pushed", 0, nil, byHTTP, true},
		{"the same, from a peer", 0, nil, fromPeer, true},
		{"the same, as a file", 0, nil, fromFile, false},
		{"an older one, pushed", -time.Second, nil, byHTTP, true},
		{"an older one, as a file", -time.Second, nil, fromFile, false},
		{"another one of the same second, pushed", 0, named, byHTTP, true},
		{"another one of the same second, from a peer", 0, named, fromPeer, true},
		{"a newer one, pushed", time.Second, nil, byHTTP, false},
		{"a newer one than that, but not than the order, from a peer", time.Second,
			nil, fromPeer, true},
		{"one that is newer than the order, from a peer", 2 * time.Minute, nil, fromPeer, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			a := jwttest.NewAccount(t)
			e.mustPush(t, a.ID, e.signed(t, a, 0))
			_, err := e.registry.Delete(t.Context(), e.order(t, time.Minute, a.ID), onDeletion)
			wantError(t, err, nil)
			if c.edit == nil {
				c.edit = func(*jwt.AccountClaims) {}
			}
			token := e.signed(t, a, c.after, c.edit)
			_, err = e.registry.Put(t.Context(), a.ID, token, c.from)
			if c.barred {
				wantError(t, err, &accounts.DeletedError{})
				return
			}
			wantError(t, err, nil)
			if !bytes.Equal(e.stored(t, a.ID), token) {
				t.Error("it is not stored")
			}
		})
	}
}

// TestTombstonesOfNatsServer have no order: what they bar follows from the JWT.
func TestTombstonesOfNatsServer(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.plant(t, a.ID, token)
	leave := func(jwtstore.Stored) ([]byte, error) { return token, nil }
	if _, err := e.store.Delete(t.Context(), a.ID, "hand", leave); err != nil {
		t.Fatal(err)
	}
	_, err := e.registry.Put(t.Context(), a.ID, token, fromPeer)
	wantError(t, err, &accounts.DeletedError{})
	_, err = e.registry.Put(t.Context(), a.ID, e.signed(t, a, time.Second), fromPeer)
	wantError(t, err, nil)
}

// TestTheTombstone is the JWT and a line about the order, as the manual says.
func TestTheTombstone(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.plant(t, a.ID, append(bytes.Clone(token), "\r\n"...))
	if _, err := e.registry.Delete(t.Context(), e.order(t, time.Minute, a.ID), onDeletion); err != nil {
		t.Fatal(err)
	}
	text, err := e.store.Tombstone(a.ID)
	wantError(t, err, nil)
	jwtLine, orderLine, _ := bytes.Cut(text, []byte{'\n'})
	var order struct {
		Deleted   int64
		By, Order string
	}
	if err := json.Unmarshal(orderLine, &order); err != nil || !bytes.Equal(jwtLine, token) {
		t.Fatalf("%q: %v", text, err)
	}
	if order.By != e.op.ID || len(order.Order) != 64 ||
		order.Deleted != e.now.Add(time.Minute).Unix() {
		t.Errorf("%+v", order)
	}
}

// TestRemove takes out what has lost its file. What is not stored is removed already.
func TestRemove(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	wantError(t, e.registry.Remove(t.Context(), a.ID, fromFile), nil)
	if len(e.events) != 0 {
		t.Errorf("observed %+v", e.events)
	}
	e.plant(t, a.ID, []byte("torn"))
	e.committer.keeps = a.ID
	if err := e.registry.Remove(t.Context(), a.ID, fromFile); err == nil ||
		e.stored(t, a.ID) == nil {
		t.Errorf("it can't be removed: %v", err)
	}
	e.committer.keeps = ""
	wantError(t, e.registry.Remove(t.Context(), a.ID, fromFile), nil)
	if e.stored(t, a.ID) != nil {
		t.Error("it is still there")
	}
	if len(e.events) != 2 || e.events[0].Result != accounts.Refused ||
		e.events[0].Reason != "refused" ||
		e.events[1].Result != accounts.Deleted || e.events[1].Old.IAT != 0 {
		t.Errorf("observed %+v", e.events)
	}
}

// TestADeletionBarsTheNewestJWTToo, if what was stored is damaged, or an older file that its owner
// has put there.
func TestADeletionBarsTheNewestJWTToo(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		e := newEnv(t)
		a := jwttest.NewAccount(t)
		older, newest := e.signed(t, a, -time.Hour), e.signed(t, a, -time.Minute)
		other := e.signed(t, a, -time.Minute, func(c *jwt.AccountClaims) { c.Name = "other" })
		e.mustPush(t, a.ID, newest)
		if damaged {
			older = []byte("damaged")
		}
		e.plant(t, a.ID, older)
		done, err := e.registry.Delete(t.Context(), e.order(t, -time.Second, a.ID), onDeletion)
		if err != nil || done.Deleted != 1 {
			t.Fatal(done, err)
		}
		for _, token := range [][]byte{newest, other} {
			_, err := e.push(a.ID, token)
			wantError(t, err, &accounts.DeletedError{})
		}
		e.mustPush(t, a.ID, e.signed(t, a, 0))
	}
}

// TestATombstoneOfTheBucket takes the place of what is stored, once. An order of the operator is named as
// what has caused it.
func TestATombstoneOfTheBucket(t *testing.T) {
	e, byKV := newEnv(t), accounts.Origin{Kind: accounts.KindKV}
	a, kept := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.mustPush(t, a.ID, token)
	tombstone := fmt.Appendf(nil, "%s\n"+`{"deleted":%d,"by":%q,"order":"x"}`+"\n", token,
		e.now.Unix(), e.op.ID)
	pushed := len(e.events)
	for range 2 {
		wantError(t, e.registry.Replace(t.Context(), a.ID, tombstone, byKV), nil)
	}
	if text, err := e.store.Tombstone(a.ID); e.stored(t, a.ID) != nil || !bytes.Equal(text, tombstone) {
		t.Errorf("stored %q, %q, %v", e.stored(t, a.ID), text, err)
	}
	if last := e.events[pushed:]; len(last) != 1 || last[0].Result != accounts.Deleted ||
		last[0].Issuer != e.op.ID {
		t.Errorf("observed %+v", last)
	}
	e.mustPush(t, kept.ID, e.signed(t, kept, 0))
	e.committer.keeps = kept.ID
	wantError(t, e.registry.Replace(t.Context(), kept.ID, tombstone, byKV), accounts.ErrSave)
}
