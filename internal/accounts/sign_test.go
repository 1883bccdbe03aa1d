package accounts_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// signer is a signing service that a test plays.
type signer struct {
	off    bool
	answer []byte
	err    error
	asked  int
}

func (s *signer) Signs() bool { return !s.off }

func (s *signer) Sign(context.Context, []byte) ([]byte, error) {
	s.asked++
	return s.answer, s.err
}

// TestSigning: what goes to the signing service, and what becomes of its answer.
func TestSigning(t *testing.T) {
	for _, c := range []struct {
		name   string
		stored bool // an account JWT that the operator signed
		edit   func(e *testEnv, s *signer, a *jwttest.Account)
		token  func(e *testEnv, a *jwttest.Account) []byte // nil: self-signed
		from   accounts.Origin
		want   any
		result string // of the event
		asked  int
	}{
		{name: "signed", result: accounts.Accepted, asked: 1},
		{name: "there is no service", edit: func(_ *testEnv, s *signer,
			_ *jwttest.Account) {
			s.off = true
		},
			want: accounts.ErrSelfSigned, result: accounts.Refused},
		{name: "by another way in", from: fromFile, want: accounts.ErrSelfSigned,
			result: accounts.Refused},
		{name: "with a broken signature", token: func(e *testEnv, a *jwttest.Account) []byte {
			return jwttest.Flip(jwttest.Sign(t, a.Key, a, e.now))
		}, want: accounts.ErrBadJWT, result: accounts.Refused},
		{name: "another account signed it, and none is stored", token: func(e *testEnv,
			a *jwttest.Account) []byte {
			return jwttest.Sign(t, jwttest.NewAccount(t).Key, a, e.now)
		}, want: accounts.ErrBadPair, result: accounts.Refused},
		{name: "another account signed it, and one is stored", stored: true,
			token: func(e *testEnv, a *jwttest.Account) []byte {
				return jwttest.Sign(t, jwttest.NewAccount(t).Key, a, e.now)
			}, want: accounts.ErrNotOwn, result: accounts.Refused},
		{name: "the service does not answer",
			edit: func(_ *testEnv, s *signer, _ *jwttest.Account) {
				s.err = &accounts.SignError{Cause: "signing service unavailable."}
			}, want: &accounts.SignError{}, result: accounts.Refused, asked: 1},
		{name: "the service says something", edit: func(_ *testEnv, s *signer, _ *jwttest.Account) {
			s.answer = []byte("wait for approval")
		}, result: accounts.Forwarded, asked: 1},
		{name: "the service breaks it", edit: func(_ *testEnv, s *signer, _ *jwttest.Account) {
			s.answer = jwttest.Flip(s.answer)
		}, result: accounts.Forwarded, asked: 1},
		{name: "the service signs another account's", edit: func(e *testEnv, s *signer,
			_ *jwttest.Account) {
			s.answer = e.op.Account(t, jwttest.NewAccount(t))
		}, want: accounts.ErrMismatch, result: accounts.Refused, asked: 1},
		{name: "the service is another operator's", edit: func(_ *testEnv, s *signer,
			a *jwttest.Account) {
			s.answer = jwttest.NewOperator(t).Account(t, a)
		}, want: accounts.ErrUntrusted, result: accounts.Refused, asked: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			service, a := &signer{}, jwttest.NewAccount(t)
			e := newEnv(t, func(o *accounts.Options) { o.Signer = service })
			service.answer = e.signed(t, a, time.Second)
			if c.stored {
				e.plant(t, a.ID, e.signed(t, a, 0))
			}
			if c.edit != nil {
				c.edit(e, service, a)
			}
			token := jwttest.Sign(t, a.Key, a, e.now)
			if c.token != nil {
				token = c.token(e, a)
			}
			if c.from == (accounts.Origin{}) {
				c.from = byHTTP
			}
			result, err := e.registry.Put(t.Context(), a.ID, token, c.from)
			wantError(t, err, c.want)
			if len(e.events) != 1 || e.events[0].Result != c.result || service.asked != c.asked {
				t.Errorf("asked %d times, observed %+v", service.asked, e.events)
			}
			accepted := c.result == accounts.Accepted
			if accepted != bytes.Equal(e.stored(t, a.ID), service.answer) {
				t.Errorf("stored is %q", e.stored(t, a.ID))
			}
			if forwarded := c.result == accounts.Forwarded; forwarded != result.Pending ||
				forwarded && !bytes.Equal(result.Reply, service.answer) ||
				forwarded != strings.Contains(e.log.String(), "Initiated JWT signing process") {
				t.Errorf("%+v, it logs %s", result, e.log)
			}
		})
	}
}

// TestASignatureIsNotAskedForWhileTheStoreCantBeRead.
func TestASignatureIsNotAskedForWhileTheStoreCantBeRead(t *testing.T) {
	service, a := &signer{}, jwttest.NewAccount(t)
	e := newEnv(t, func(o *accounts.Options) { o.Signer, o.Store = service, unreadable{o.Store} })
	_, err := e.push(a.ID, jwttest.Sign(t, a.Key, a, e.now))
	wantError(t, err, accounts.ErrUnreadable)
	if service.asked != 0 {
		t.Error("it is asked for")
	}
}
