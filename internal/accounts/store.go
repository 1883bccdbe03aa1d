package accounts

import (
	"context"
	"time"

	"nats-account-server/internal/jwtstore"
)

// Loader returns stored JWTs.
type Loader interface {
	// Load returns what is stored for key, and its stamp. jwt is nil if the stamp is still known.
	// The error is fs.ErrNotExist for an account that is not stored. Any other error means that the
	// store can't be read. The caller must not change the bytes.
	Load(key string, known jwtstore.Stamp) (jwt []byte, now jwtstore.Stamp, err error)
	// Changes returns a number that is another one after each change of what is stored for key; 0
	// if that is not known. It costs less than a Load.
	Changes(key string) uint64
}

// Store has the stored JWTs of all accounts. Both stores of jwtstore meet it.
type Store interface {
	Loader
	// Tombstone returns what was kept of a deleted account; nil if it was never deleted.
	Tombstone(key string) ([]byte, error)
	// Scan finds the accounts of which the index does not know what is stored.
	Scan(ctx context.Context, s jwtstore.Scan) error
	// Index has what is known of each account. The Committer records in it what it commits.
	Index() *jwtstore.Index
}

// Committer makes a change durable. Compare and commit are one step, serialised for each account.
// kind is the Kind of the Origin.
type Committer interface {
	// Put calls allow with what is stored. If that returns no error it commits jwt, records the
	// Version in the index, and returns the sequence number of the change once that is on stable
	// storage. An error of allow is returned as it is. With any other error nothing has changed.
	Put(ctx context.Context, key, kind string, jwt []byte,
		allow func(jwtstore.Stored) (jwtstore.Version, error)) (seq uint64, err error)
	// Delete calls allow likewise, and commits that the tombstone which allow returns takes the
	// JWT's place. The error is fs.ErrNotExist if nothing is stored.
	Delete(ctx context.Context, key, kind string,
		allow func(jwtstore.Stored) (tombstone []byte, err error)) (seq uint64, err error)
	// Touch commits that the JWT of key is to be announced once more. If none is stored the error
	// is fs.ErrNotExist, unless the JWT is elsewhere.
	Touch(ctx context.Context, key, kind string, elsewhere bool) (seq uint64, err error)
}

// userKey is the key of WithUser.
type userKey struct{}

// WithUser lets a Committer know which user has sent a change; "" is none.
func WithUser(ctx context.Context, user string) context.Context {
	if user == "" {
		return ctx
	}
	return context.WithValue(ctx, userKey{}, user)
}

// UserOf returns the user of WithUser.
func UserOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// Revision is what a bucket keeps of one change of an account.
type Revision struct {
	Revision uint64
	At       time.Time
	Kind     string // way in, or "offer" for what a server had in its directory
	User     string // "" if none was asked for
	Server   string // host name of the account server
	Override bool   // it has replaced a newer one
	Deleted  bool
	JWT      []byte // nil if the account was deleted
}

// Source may have the JWT of an account that is not in the store.
type Source interface {
	// Find calls take with what the source has for key, one JWT after the other, until take returns
	// nil. What several servers have is all offered. The error is or wraps ErrNotFound if the
	// source has none. Any other error means that this can't be known.
	Find(ctx context.Context, key string, take func(token []byte) error) error
}

// Primary is a Source that has every account: what it lacks does not exist.
type Primary interface {
	Source
	// Served is called when the stored JWT of key is served. It returns at once.
	Served(key string)
}

// Signer is a signing service. It has the operator's key, which this server never sees.
type Signer interface {
	// Signs reports whether there is one.
	Signs() bool
	// Sign returns the service's answer to a JWT that an account signed itself: a JWT signed by the
	// operator, or a text for people. The error is a *SignError.
	Sign(ctx context.Context, token []byte) ([]byte, error)
}
