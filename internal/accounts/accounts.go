// Package accounts is the gate and the registry: the one way a JWT gets in, and the one place that says what is
// served for an account.
//
// Every door (HTTP, a NATS subject, a peer, a file put into the directory by hand) calls Submit or Lookup. The
// rules are in gate.go, the cache of checked JWTs in registry.go.
package accounts

import (
	"context"
	"fmt"
	"iter"
	"time"

	"nats-account-server/internal/jwtstore"
)

// Stamp says which version of an account's JWT a Store holds; equal stamps mean equal bytes. The zero Stamp is
// never a stored version.
type Stamp = jwtstore.Stamp

// Store is where JWTs lie. jwtstore's stores meet it.
type Store interface {
	// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known. An
	// account that is not there is fs.ErrNotExist; any other error means that the store can't be read.
	// The caller must not change the bytes.
	Load(key string, known Stamp) (jwt []byte, now Stamp, err error)
	// Tombstone returns what was kept of an account that was deleted, nil if it never was.
	Tombstone(key string) ([]byte, error)
	// Keys yields every account that something is stored for. An error says what can't be read; the walk goes on.
	Keys() iter.Seq2[string, error]
}

// Committer makes a change durable. Compare and commit are one step, serialised per key.
type Committer interface {
	// Put asks allow with what is stored (nil if nothing, or unreadable) and with the tombstone (nil if the account was
	// never deleted), and commits jwt if allow returns nil.
	// It returns once the change is on stable storage, with the change's sequence number. An error of allow is
	// returned as it is; any other error means that nothing has changed.
	Put(ctx context.Context, key, door string, jwt []byte, allow func(stored, tombstone []byte) error) (seq uint64, err error)
	// Delete asks the same and commits that the tombstone which allow returns takes the JWT's place; fs.ErrNotExist if
	// nothing is stored.
	Delete(ctx context.Context, key, door string, allow func(stored, tombstone []byte) ([]byte, error)) (seq uint64, err error)
	// Touch commits that the stored JWT of key is to be announced once more.
	Touch(ctx context.Context, key, door string) (seq uint64, err error)
}

// Announcer tells the nats-servers of a change that has been committed.
type Announcer interface {
	// Announce wakes the announcer for the change seq of key and returns at once.
	Announce(key string, seq uint64, at time.Time) Receipt
	// Heard is Announce for a change that came by a broadcast, which every nats-server that is there has heard too. Only
	// those are told that turn out not to have it.
	Heard(key string, seq uint64, at time.Time)
	// Delivery says how far the latest change of key has got.
	Delivery(key string) Delivery
	// Report says what is known of every nats-server about the stored JWT of key. If they are to be asked, it takes up
	// to a second.
	Report(ctx context.Context, key string, ask bool) Report
	// MaxPayload is the largest JWT that can be announced, in bytes; 0 means unknown.
	MaxPayload() int
}

// Receipt follows one announcement.
type Receipt interface {
	// Wait returns as soon as every nats-server has answered, at the latest when ctx ends.
	Wait(ctx context.Context) Delivery
}

// DeliveryState says how far an announcement could get.
type DeliveryState int

const (
	NotConfigured DeliveryState = iota // there is no NATS to announce on
	NotConnected                       // it will be sent when NATS is there
	Sent                               // see Acked and Servers
)

// Delivery is what is known about an announcement at one moment.
type Delivery struct {
	State   DeliveryState
	Acked   int // nats-servers that have acknowledged the change
	Servers int // nats-servers that are there; at least 1, the one we are connected to
}

// String is the line that a client reads after "stored; ".
func (d Delivery) String() string {
	switch {
	case d.State == NotConfigured:
		return "NATS is not configured"
	case d.State == NotConnected:
		return "NATS is not connected: will be sent when it is"
	case d.Acked < d.Servers:
		return fmt.Sprintf("%d of %d nats-servers outstanding", d.Servers-d.Acked, d.Servers)
	default:
		return fmt.Sprintf("acknowledged by %d of %d nats-servers", d.Acked, d.Servers)
	}
}

// Report is what is known of every nats-server about one account's stored JWT.
type Report struct {
	State   DeliveryState
	Servers []ServerReport // by name: all that are known, also those that are away
}

// ServerReport is what is known of one nats-server.
type ServerReport struct {
	Name    string // under which what it has acknowledged is kept
	ID      string // of its process, "" while it is away
	Version string // "" if it has not said
	Here    bool   // it has answered the last PING
	Seen    time.Time
	Acked   bool      // it has acknowledged the stored JWT
	Since   time.Time // when what it is owed was committed; zero when it is owed nothing
	Reason  string    // why it is still owed, if that is known
	Runs    *Running  // what it runs; nil if it was not asked
}

// Running is what a nats-server says that it runs for an account.
type Running struct {
	State  RunningState
	JWT    []byte // of an account that is loaded
	Reason string // of a refusal to say
}

// RunningState says whether a nats-server runs an account.
type RunningState int

const (
	NoAnswer  RunningState = iota // it has not said
	NotLoaded                     // nobody has needed the account there: it gets the JWT when somebody does
	Loaded
)

// Origin says where a JWT came from. It can only make the rules stricter, and is what logs name.
type Origin struct {
	Kind    string // way in, one of the Kind constants
	Address string // of the client, "" if there is none
	User    string // who that is, as proven by a password or a certificate; "" if nobody asked
	// Peer is set for what another server passes on: of two JWTs of one second the one with the greater SHA-256 wins,
	// whoever has it, and none comes back that is older than the account's deletion.
	Peer bool
	// File is set for what whoever owns a directory has put there. It is the only way into a read-only server; there need
	// not be an operator, expired JWTs are taken, and what was deleted may come back.
	File bool
	// Broadcast is set for what every nats-server that is there has heard as well.
	Broadcast bool
}

// The ways in. The audit log and the journal name them.
const (
	KindHTTP     = "http"      // POST
	KindNATS     = "nats"      // an update, an activation token or a deletion on a NATS subject
	KindPack     = "pack"      // a line of another server's pack
	KindPrimary  = "primary"   // the answer of the primary account server
	KindFile     = "file"      // a directory that another program writes
	KindExpiry   = "expiry"    // a JWT that has expired
	KindNotify   = "notify"    // GET with notify=true
	KindReassert = "overheard" // the stored JWT is announced again, since another one was
)

// Account is a stored JWT that passed the gate's check. It is never changed.
type Account struct {
	Key      string
	JWT      []byte // as stored
	ID       string // the claims' jti, may be ""
	IssuedAt int64  // Unix seconds
	Expires  int64  // Unix seconds, 0 = never
	ETag     string // with its quotes
}

// Result is what Put did.
type Result struct {
	Account *Account // as it is stored now; nil if nothing changed and the JWT was not posted
	Changed bool     // false when the very same JWT was stored already
	Receipt Receipt  // of the announcement; nil if there is none, or nobody asked for it
	Pending bool     // nothing is stored: the signing service has the JWT, and said Reply
	Reply   []byte   // may be anything
}
