// Package accountstest compares the errors of package accounts, for its tests and for those of
// packages that return the same errors.
package accountstest

import (
	"errors"

	"nats-account-server/internal/accounts"
)

// IsError reports whether err is or wraps want: nil, a sentinel, or a pointer to an error type,
// whose value does not matter. A BlockedError must have an issue.
func IsError(err error, want any) bool {
	switch w := want.(type) {
	case nil:
		return err == nil
	case *accounts.OlderError:
		return errors.As(err, &w)
	case *accounts.FutureError:
		return errors.As(err, &w)
	case *accounts.BlockedError:
		return errors.As(err, &w) && len(w.Issues) > 0
	case *accounts.TooLargeError:
		return errors.As(err, &w)
	case *accounts.DeletedError:
		return errors.As(err, &w)
	case *accounts.ChangedError:
		return errors.As(err, &w)
	case *accounts.SignError:
		return errors.As(err, &w)
	case error:
		return errors.Is(err, w)
	}
	return false
}
