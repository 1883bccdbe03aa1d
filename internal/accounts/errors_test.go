package accounts_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

// TestReasons are the words of the audit log.
func TestReasons(t *testing.T) {
	got := []string{}
	for _, err := range []error{
		accounts.ErrLesser, accounts.ErrBadPair, errors.New("another"),
		&accounts.SignError{Cause: "x"},
		&accounts.DeletedError{}, &accounts.FutureError{}, &accounts.TooLargeError{},
		&accounts.OlderError{},
		&accounts.BlockedError{}, errors.Join(accounts.ErrSave, accounts.ErrBadJWT),
		&accounts.ChangedError{}, &accounts.CommitError{},
		fmt.Errorf("%w: %w", accounts.ErrBadJWT, trust.ErrPrivateKey),
	} {
		got = append(got, accounts.Reason(err))
		if err.Error() == "" {
			t.Errorf("%T says nothing", err)
		}
	}
	want := []string{"older", "bad-issuer", "refused", "signing-failed", "deleted", "future",
		"too-large", "older",
		"blocked", "save-failed", "changed", "save-failed", "private-key"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestTheWaitForTheFuture ends when the JWT is five minutes ahead.
func TestTheWaitForTheFuture(t *testing.T) {
	now := time.Now()
	e := &accounts.FutureError{Offered: now.Add(time.Hour), Now: now}
	if got := e.Until(); !got.Equal(now.Add(55 * time.Minute)) {
		t.Errorf("until %s", got)
	}
}

// TestWhatAClientCanDo follows from what is known of its push.
func TestWhatAClientCanDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&accounts.CommitError{Outcome: accounts.NotStored, Why: "w"}, "not stored: w"},
		{&accounts.CommitError{Outcome: accounts.Uncertain, Why: "w"}, "push it again, that is safe: w"},
		{&accounts.CommitError{Outcome: accounts.Full, Why: "w"}, "bucket full: w"},
		{&accounts.CommitError{Outcome: accounts.Elsewhere, Why: "w"}, "not on this server: w"},
		{&accounts.ChangedError{}, "the account is not stored"},
		{&accounts.ChangedError{ETag: `"x"`}, `the ETag of the stored JWT is "x"`},
	} {
		if text := c.err.Error(); !strings.Contains(text, c.want) {
			t.Errorf("%q lacks %q", text, c.want)
		}
	}
}

// TestClaimsThatCantBeUsedNow are told apart from those that can, of whatever kind.
func TestClaimsThatCantBeUsedNow(t *testing.T) {
	claims := jwt.NewOperatorClaims("O")
	if err := accounts.Validate(claims); err != nil {
		t.Errorf("it can be used: %v", err)
	}
	claims.Expires = 1
	err := accounts.Validate(claims)
	if accounts.Reason(err) != "expired" || !strings.Contains(err.Error(), "its exp is 1970") {
		t.Errorf("%v", err)
	}
}
