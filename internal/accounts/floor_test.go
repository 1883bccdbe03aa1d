package accounts_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// TestAnUntrustedJWTStaysTheFloor: v2, signed by a signing key, revokes a user. After the key was
// removed v2 is not served any more, and v1 must not come back, whichever way it comes.
func TestAnUntrustedJWTStaysTheFloor(t *testing.T) {
	for _, from := range []accounts.Origin{
		byHTTP, byUpdate, byOutbox, fromPeer, accounts.FromPrimary, fromFile,
	} {
		e := newEnv(t)
		a := jwttest.NewAccount(t)
		v1 := jwttest.Sign(t, e.op.Key, a, e.now.Add(-time.Hour))
		e.mustPush(t, a.ID, v1)
		e.mustPush(t, a.ID, e.signed(t, a, 0))
		e.op.Claims.SigningKeys = nil
		e.registry.SetTrust(e.trust(t, e.op))
		_, err := e.registry.Get(t.Context(), a.ID)
		wantError(t, err, accounts.ErrDamaged)
		_, err = e.registry.Put(t.Context(), a.ID, v1, from)
		wantError(t, err, &accounts.OlderError{})
		_, err = e.registry.Verify(a.ID, v1)
		wantError(t, err, &accounts.OlderError{})
		e.mustPush(t, a.ID, jwttest.Sign(t, e.op.Key, a, e.now.Add(time.Second)))
	}
}

// TestAClockThatIsSetBackUndoesNothing: what was accepted when the clock was right stays the
// newest.
func TestAClockThatIsSetBackUndoesNothing(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	v1, v2 := e.signed(t, a, -30*24*time.Hour), e.signed(t, a, 0)
	e.mustPush(t, a.ID, v2)
	e.now = e.now.Add(-time.Hour)
	for _, from := range []accounts.Origin{byHTTP, byUpdate, fromPeer} {
		_, err := e.registry.Put(t.Context(), a.ID, v1, from)
		wantError(t, err, &accounts.OlderError{})
	}
	e.logs(t, "this server's clock is wrong")
}

// TestNothingComesBackThatWasReplacedInItsSecond, unless another server passes it on: between
// servers the greater SHA-256 wins.
func TestNothingComesBackThatWasReplacedInItsSecond(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	named := func(name string) []byte {
		return e.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Name = name })
	}
	first, second, third := named("first"), named("second"), named("third")
	for _, token := range [][]byte{first, second, third} {
		e.mustPush(t, a.ID, token)
	}
	for _, replaced := range [][]byte{first, second} {
		for _, from := range []accounts.Origin{byHTTP, byUpdate} {
			_, err := e.registry.Put(t.Context(), a.ID, replaced, from)
			wantError(t, err, accounts.ErrReplaced)
		}
	}
	greatest := first
	for _, token := range [][]byte{second, third} {
		if x, y := version(t, token).Hash, version(t, greatest).Hash; x > y {
			greatest = token
		}
	}
	for _, token := range [][]byte{first, second, third, first} {
		_, _ = e.registry.Put(t.Context(), a.ID, token, fromPeer)
	}
	if string(e.stored(t, a.ID)) != string(greatest) {
		t.Error("not the greatest one is stored")
	}
	_, err := e.registry.Delete(t.Context(), e.order(t, 0, a.ID), onDeletion)
	wantError(t, err, nil)
	_, err = e.registry.Put(t.Context(), a.ID, named("fourth"), byHTTP)
	wantError(t, err, &accounts.DeletedError{})
}

// TestVeryManyJWTsOfOneSecond do not make an account's entry grow without end.
func TestVeryManyJWTsOfOneSecond(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	for i := range 70 {
		token := e.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Limits.Subs = int64(i) })
		_, err := e.registry.Put(t.Context(), a.ID, token, byHTTP)
		if want := error(nil); i > 64 {
			wantError(t, err, accounts.ErrReplaced)
		} else {
			wantError(t, err, want)
		}
	}
	e.mustPush(t, a.ID, e.signed(t, a, time.Second))
}

// TestAnOrderToDeleteIsExecutedOnce, also when another one was executed after it.
func TestAnOrderToDeleteIsExecutedOnce(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	early, late := e.order(t, time.Minute, a.ID), e.order(t, 2*time.Minute, a.ID)
	execute := func(order []byte, deleted int) {
		t.Helper()
		done, err := e.registry.Delete(t.Context(), order, onDeletion)
		wantError(t, err, nil)
		if done.Deleted != deleted {
			t.Errorf("%s", done)
		}
	}
	for i, order := range [][]byte{early, late} {
		e.mustPush(t, a.ID, e.signed(t, a, time.Duration(i)*time.Second))
		execute(order, 1)
	}
	e.mustPush(t, a.ID, e.signed(t, a, 10*time.Second))
	execute(early, 0)
	execute(late, 0)
	if e.stored(t, a.ID) == nil {
		t.Error("an order was executed twice")
	}
}

// TestAnOlderFileIsServedAndNotTheFloor: the owner of the directory has put it there.
func TestAnOlderFileIsServedAndNotTheFloor(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	v1, v2, v3 := e.signed(t, a, 0), e.signed(t, a, time.Second), e.signed(t, a, 2*time.Second)
	e.mustPush(t, a.ID, v3)
	e.plant(t, a.ID, v1)
	wantError(t, e.registry.Rescan(t.Context()), nil)
	e.logs(t, "is older than one that was accepted before")
	got, err := e.registry.Get(t.Context(), a.ID)
	if wantError(t, err, nil); err == nil && string(got.JWT) != string(v1) {
		t.Error("it is not served")
	}
	_, err = e.registry.Put(t.Context(), a.ID, v2, byHTTP)
	wantError(t, err, &accounts.OlderError{})
	e.mustPush(t, a.ID, v3)
}

// TestTheFloorOutlivesTheProcess, also if the index is lost. Only what was replaced within a second
// is forgotten then.
func TestTheFloorOutlivesTheProcess(t *testing.T) {
	for _, c := range []struct {
		name    string
		leave   func(t *testing.T, dir string)
		forgets bool // what was replaced within a second
	}{
		{"a clean stop", func(*testing.T, string) {}, false},
		{"the index is gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, ".journal", "index")); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the index is damaged", func(t *testing.T, dir string) {
			index := filepath.Join(dir, ".journal", "index")
			if err := os.WriteFile(index, []byte("not an index"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			e := newEnv(t)
			a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
			old := jwttest.Sign(t, e.op.Key, a, e.now.Add(-time.Hour))
			first, second := e.signed(t, b, 0), e.signed(t, b, 0, func(c *jwt.AccountClaims) {
				c.Name = "2"
			})
			d := e.openDir(t, dir)
			e.mustPush(t, a.ID, old)
			e.mustPush(t, a.ID, e.signed(t, a, 0))
			e.mustPush(t, b.ID, first)
			e.mustPush(t, b.ID, second)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			c.leave(t, dir)
			keys := e.op.Claims.SigningKeys
			e.op.Claims.SigningKeys = nil
			d = e.openDir(t, dir)
			_, err := e.registry.Put(t.Context(), a.ID, old, byHTTP)
			wantError(t, err, &accounts.OlderError{})
			e.op.Claims.SigningKeys = keys
			e.registry.SetTrust(e.trust(t, e.op))
			_, err = e.registry.Put(t.Context(), b.ID, first, byHTTP)
			if c.forgets {
				wantError(t, err, nil)
			} else {
				wantError(t, err, accounts.ErrReplaced)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// openDir gives the Registry a store in a directory.
func (e *testEnv) openDir(t *testing.T, dir string) *jwtstore.Dir {
	t.Helper()
	d, err := jwtstore.OpenDir(t.Context(), jwtstore.Options{Dir: dir, Shard: true})
	if err != nil {
		t.Fatal(err)
	}
	e.registry = accounts.New(e.options(t, func(o *accounts.Options) {
		o.Store, o.Committer = d, d
	}))
	return d
}

// TestAServedFileIsAFloor also before a scan, and when it is removed again.
func TestAServedFileIsAFloor(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	v1, v2 := e.signed(t, a, 0), e.signed(t, a, time.Second)
	e.plant(t, a.ID, v2)
	_, err := e.registry.Get(t.Context(), a.ID)
	wantError(t, err, nil)
	e.plant(t, a.ID, v1)
	other := e.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Name = "other" })
	_, err = e.registry.Put(t.Context(), a.ID, other, byHTTP)
	wantError(t, err, &accounts.OlderError{})
}

// TestAnOrderBarsAnAccountWhoseFileIsGone: what was accepted before does not come back.
func TestAnOrderBarsAnAccountWhoseFileIsGone(t *testing.T) {
	e := newEnv(t)
	a, dir := jwttest.NewAccount(t), t.TempDir()
	d := e.openDir(t, dir)
	token := e.signed(t, a, 0)
	e.mustPush(t, a.ID, token)
	if err := d.Close(); err != nil { // writes the file
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, a.ID[54:], a.ID+".jwt")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d = e.openDir(t, dir)
		done, err := e.registry.Delete(t.Context(), e.order(t, time.Minute, a.ID), onDeletion)
		if wantError(t, err, nil); done.Deleted != 1 {
			t.Errorf("%s", done)
		}
		_, err = e.registry.Put(t.Context(), a.ID, token, byHTTP)
		wantError(t, err, &accounts.DeletedError{})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFileThatRefusedAPushStaysTheFloor, also if nothing else has looked at it before it was
// removed.
func TestAFileThatRefusedAPushStaysTheFloor(t *testing.T) {
	e := newEnv(t)
	a, dir := jwttest.NewAccount(t), t.TempDir()
	e.openDir(t, dir)
	older, newer := e.signed(t, a, -time.Hour), e.signed(t, a, 0)
	path := filepath.Join(dir, a.ID+".jwt") // in the layout that is not preferred
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := e.registry.Put(t.Context(), a.ID, older, byHTTP)
		wantError(t, err, &accounts.OlderError{})
		_ = os.Remove(path)
	}
}

// TestNewerOfTwoFiles does not look at trust: what is trusted no more is not undone by an older
// one.
func TestNewerOfTwoFiles(t *testing.T) {
	e := newEnv(t)
	a, stranger := jwttest.NewAccount(t), jwttest.NewOperator(t)
	v1, v2 := e.signed(t, a, 0), jwttest.Sign(t, stranger.Signing, a, e.now.Add(time.Second))
	deleted := append(bytes.Clone(v1), "\n{\"deleted\":9999999999}\n"...)
	expired := append(bytes.Clone(v2), "\n{\"deleted\":9999999999}\n"...) // after the same order
	for _, c := range []struct {
		name string
		a, b []byte
		want bool
	}{
		{"another operator's", v2, v1, true},
		{"an older one", v1, v2, false},
		{"the same", v1, v1, false},
		{"a JWT and no JWT", v1, []byte("x"), true},
		{"a JWT and a tombstone", v2, deleted, true},
		{"the deleted JWT and its tombstone", v1, deleted, false},
		{"two tombstones after one order", expired, deleted, true},
	} {
		if got := accounts.Newer(a.ID, c.a, c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAnOrderBarsWhatCameAfterTheLastOne, if its file is gone as well. The order is carried out
// once.
func TestAnOrderBarsWhatCameAfterTheLastOne(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	late := e.order(t, 4*time.Minute, a.ID)
	execute := func(order []byte, deleted int) {
		t.Helper()
		done, err := e.registry.Delete(t.Context(), order, onDeletion)
		if wantError(t, err, nil); done.Deleted != deleted {
			t.Errorf("%s", done)
		}
	}
	execute(e.order(t, 0, a.ID), 1)
	second := e.signed(t, a, time.Second)
	e.mustPush(t, a.ID, second)
	e.store.Remove(a.ID) // as people remove a file
	execute(e.order(t, 2*time.Minute, a.ID), 1)
	_, err := e.push(a.ID, second)
	wantError(t, err, &accounts.DeletedError{})
	execute(late, 1)
	execute(late, 1) // nothing is stored
	e.mustPush(t, a.ID, e.signed(t, a, 3*time.Minute))
	execute(late, 0)
}

// TestAnExpiryForgetsNoOrder: the tombstone of a JWT that has expired bars what the one before it
// did.
func TestAnExpiryForgetsNoOrder(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	brief := func(c *jwt.AccountClaims) { c.Expires = e.now.Add(time.Second).Unix() }
	expire := func() {
		t.Helper()
		e.now = e.now.Add(2 * time.Second)
		wantError(t, e.registry.Expire(t.Context()), nil)
		if e.stored(t, a.ID) != nil {
			t.Fatal("it has not expired")
		}
	}
	newest, order := e.signed(t, a, -time.Hour), e.order(t, 0, a.ID)
	e.mustPush(t, a.ID, newest)
	_, err := e.registry.Delete(t.Context(), order, onDeletion)
	wantError(t, err, nil)
	_, err = e.registry.Put(t.Context(), a.ID, e.signed(t, a, -2*time.Hour, brief), fromFile)
	wantError(t, err, nil)
	expire()
	_, err = e.push(a.ID, newest)
	wantError(t, err, &accounts.DeletedError{})

	e.mustPush(t, a.ID, e.signed(t, a, -30*time.Minute, brief))
	expire()
	_, err = e.registry.Put(t.Context(), a.ID, e.signed(t, a, -20*time.Minute), fromPeer)
	wantError(t, err, &accounts.DeletedError{})
	e.mustPush(t, a.ID, e.signed(t, a, -10*time.Minute))
	done, err := e.registry.Delete(t.Context(), order, onDeletion)
	if wantError(t, err, nil); done.Deleted != 0 {
		t.Errorf("an order was executed twice: %s", done)
	}
}

// TestAConfiguredSystemAccountStaysTheFloor, when the configuration does not have it any more.
func TestAConfiguredSystemAccountStaysTheFloor(t *testing.T) {
	e := newEnv(t)
	d := e.openDir(t, t.TempDir())
	defer d.Close()
	system, token := e.withSystem(t)
	e.registry.SetTrust(system)
	e.registry.SetTrust(e.trust(t, e.op))
	older := jwttest.Sign(t, e.op.Key, e.op.System, time.Unix(system.System.IssuedAt-1, 0))
	for _, from := range []accounts.Origin{byHTTP, byUpdate, fromPeer} {
		_, err := e.registry.Put(t.Context(), e.op.System.ID, older, from)
		wantError(t, err, &accounts.OlderError{})
	}
	e.mustPush(t, e.op.System.ID, token)
}

// TestOneJWTHasOneSpelling: what is not signed of a JWT of version 1 does not bring it back.
func TestOneJWTHasOneSpelling(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	v1 := func(name, header string) []byte {
		return jwttest.EncodeRaw(t, e.op.Key, header, fmt.Appendf(nil, `{"iat":%d,"iss":%q,"sub":%q,
			"name":%q,"type":"account","nats":{"limits":{"subs":-1,"conn":-1,"leaf":-1,"imports":-1,
			"exports":-1,"data":-1,"payload":-1,"wildcards":true}}}`, e.now.Unix(),
			e.op.ID, a.ID, name),
			false)
	}
	const usual, other = `{"typ":"jwt","alg":"ed25519"}`, `{"typ":"jwt","alg":"ed25519","x":1}`
	_, err := e.push(a.ID, v1("first", other))
	wantError(t, err, accounts.ErrBadJWT)
	e.mustPush(t, a.ID, v1("first", usual))
	e.mustPush(t, a.ID, v1("second", usual))
	e.mustPush(t, a.ID, v1("second", other)) // changes nothing
	for header, want := range map[string]error{usual: accounts.ErrReplaced,
		other: accounts.ErrBadJWT} {
		_, err := e.push(a.ID, v1("first", header))
		wantError(t, err, want)
	}
}
