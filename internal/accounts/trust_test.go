package accounts_test

import (
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// TestWhatIsTrustedNow: the operators, their system accounts and which JWTs are foreign follow the
// trust that is set.
func TestWhatIsTrustedNow(t *testing.T) {
	e, stranger := newEnv(t), jwttest.NewOperator(t)
	a := jwttest.NewAccount(t)
	ours, foreign := e.signed(t, a, 0), stranger.Account(t, a)
	selfSigned := jwttest.Sign(t, a.Key, a, time.Now())
	both := e.trust(t, e.op)
	both.Operators = append(both.Operators, e.trust(t, stranger).Operators...)
	configured, _ := e.withSystem(t)
	for _, c := range []struct {
		name      string
		trust     accounts.Trust
		systems   []string
		isForeign bool // that of the stranger
	}{
		{"one operator", e.trust(t, e.op), []string{e.op.System.ID}, true},
		{"its system account is configured too", configured, []string{e.op.System.ID}, true},
		{"two operators", both, []string{e.op.System.ID, stranger.System.ID}, false},
		{"a system account of no operator", accounts.Trust{System: configured.System},
			[]string{e.op.System.ID}, false},
		{"only its key is configured", accounts.Trust{SystemKey: e.op.System.ID},
			[]string{e.op.System.ID}, false},
		{"a key is configured that no operator names",
			accounts.Trust{Operators: both.Operators, SystemKey: a.ID},
			[]string{e.op.System.ID, stranger.System.ID}, false},
		{"none", accounts.Trust{}, nil, false},
	} {
		r := accounts.New(e.options(t, func(o *accounts.Options) { o.Trust = c.trust }))
		if got := r.SystemAccounts(); !slices.Equal(got, c.systems) {
			t.Errorf("%s: system accounts %v, want %v", c.name, got, c.systems)
		}
		if n := len(r.Operators()); n != len(c.trust.Operators) || r.HasOperator() != (n > 0) {
			t.Errorf("%s: %d operators", c.name, n)
		}
		if r.IsForeign(foreign) != c.isForeign || r.IsForeign(ours) || r.IsForeign(selfSigned) ||
			r.IsForeign([]byte("x")) {
			t.Errorf("%s: foreign are %v, %v, %v", c.name, r.IsForeign(foreign), r.IsForeign(ours),
				r.IsForeign(selfSigned))
		}
	}
}
