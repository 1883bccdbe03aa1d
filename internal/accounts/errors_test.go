package accounts_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
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
	} {
		got = append(got, accounts.Reason(err))
		if err.Error() == "" {
			t.Errorf("%T says nothing", err)
		}
	}
	want := []string{"older", "bad-issuer", "refused", "signing-failed", "deleted", "future",
		"too-large", "older",
		"blocked", "save-failed"}
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
