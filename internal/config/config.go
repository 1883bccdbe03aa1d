// Package config turns a configuration file and the command line into a Config.
//
// A file is read key by key into a draft, which may be invalid. Only a draft that passes every
// check leaves the package as a Config.
//
//	flags.go     the command line ──> Flags
//	load.go      the file ──> a tree of values (package natsconf)
//	keys.go      the table of keys; setters.go and values.go, which set one from a value
//	logins.go    http.authorization
//	unknown.go   keys that are not in the table: what was probably meant
//	complete.go  what follows from other values, such as the operator of an nsc folder
//	check.go     which values do not fit together
//	losses.go    what a reload must not lose
//	dump.go      a Config as JSON, without secrets
//	config.go    Config, its defaults, Load and Reload
package config

import (
	"errors"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconf"
)

// Config is a valid configuration. Its paths are absolute and its values fit together. The comment
// of each field says what the zero value means, and the default if that is another value. It is a
// value that is not changed once it is loaded. A reload makes another one.
type Config struct {
	File    string // path of the configuration file; "" if there is none
	Logging Logging
	HTTP    HTTP
	Monitor Monitor
	NATS    NATS
	Store   Store

	Operators     []JWTRef // none: no JWT can be pushed
	SystemAccount JWTRef   // zero: none is configured

	// ForgetServer is how long a nats-server may be away before it is forgotten, with the changes
	// that it has not acknowledged. At least 1 s; default 72 h.
	ForgetServer time.Duration

	ClaimChecks ClaimChecks // what becomes of claims that nats-server refuses; default ChecksRefuse

	SignSubject string        // NATS subject of the signing service; "" for none
	SignTimeout time.Duration // of its reply; more than 0, at most a day; default 1 s

	Primary            string        // URL of the account server to follow; "" for none
	ReplicationTimeout time.Duration // of its replies; more than 0, at most a day; default 5 s

	// MaxPack is how many accounts a pack over HTTP holds at most. 0 means that there is no pack,
	// less than 0 that there is no limit. Default 10000.
	MaxPack int

	PIDFile string // path of a file for the process id; "" for none
}

// Logging says what log lines look like, which are written, and where. By default they have the
// time, and colours on a terminal, and go to standard error.
type Logging struct {
	logging.Format
	logging.Target
	Audit string // path of the audit file; "" for the log
	// AuditRequired means that a push fails if its audit entry can't be written. Default false.
	AuditRequired bool
}

// HTTP says where the HTTP API is served and to whom. The timeouts bound slow clients.
type HTTP struct {
	Host         string        // name or address; "" for every interface; default localhost
	Port         int           // 0 to 65535; 0 for any free port; default 9090
	ReadTimeout  time.Duration // of a whole request; more than 0, at most a day; default 5 s
	WriteTimeout time.Duration // of a response; more than 0, at most a day; default 5 s
	TLS          HTTPTLS

	// Write has the logins that may push and read, Read those that may only read. A nil list is no
	// restriction: every client may, or every client with a valid certificate if TLS.Verify asks
	// for one. If Read is not nil, Write is not nil either.
	Write, Read []Login
}

// Monitor says where metrics and what is running are served.
type Monitor struct {
	Host string // name or address; "" for HTTP.Host
	Port int    // 0: where HTTP is served, under its rules; below 0: any free port; at most 65535
}

// HTTPTLS says how HTTP is encrypted. Without Cert and Key it is not; they are set together.
type HTTPTLS struct {
	Cert, Key string // paths of PEM files
	Root      string // path of a PEM file with the authorities that sign client certificates
	Verify    Verify // if it is set, Root is set too
}

// Verify says what clients must show.
type Verify int

const (
	VerifyNone    Verify = iota // no certificate
	VerifyGiven                 // a certificate or a password
	VerifyRequire               // a certificate, and a password if logins demand one
)

// Login is a user or a program that may log in. Either User and Hash are set, or Certificate is.
// Hash is compared by package auth; it is never shown.
type Login struct {
	User        string
	Hash        string // bcrypt hash of the password
	Certificate string // a name in a client certificate
}

// NATS says how to connect to NATS, where changes are announced. The user of Credentials must be
// one of the system account for changes to be announced.
type NATS struct {
	Servers        []string      // URLs; none: changes are not announced
	ConnectTimeout time.Duration // of one attempt; more than 0, at most a day; default 5 s
	ReconnectWait  time.Duration // between attempts; at least 100 ms, at most a day; default 1 s
	Credentials    string        // path of a creds file; "" for none
	TLS            NATSTLS
}

// NATSTLS says how the connection to NATS is encrypted. If a field is set, nats-server must use
// TLS. If none is, TLS is used for tls:// URLs and where nats-server demands it.
type NATSTLS struct {
	Root           string // path of a PEM file with trusted authorities; "" for those of the system
	Cert, Key      string // paths of PEM files, set together; "" for no client certificate
	HandshakeFirst bool   // start TLS before nats-server sends its INFO
}

// Store says where JWTs are stored. A reload can't change it.
type Store struct {
	Dir         string // path; "" stores them in memory
	Shard       bool   // a directory for each last two characters of the keys
	AllowOlder  bool   // an older JWT may replace a newer one
	AllowDelete bool   // the operator may delete accounts over NATS; not with ReadOnly

	CleanupInterval time.Duration // how often expired JWTs are deleted; 0 for never

	// ReadOnly means that Dir or NSC is only read, and that nothing can be pushed. If both are
	// empty, there are no accounts.
	ReadOnly bool
	NSC      string // path of a directory of nsc, which is only read; "" for none; not with Dir
	StateDir string // for what a read-only server has announced; "" forgets it at each stop

	CacheSize int // bytes of memory for verified JWTs; 0 for none; default 32 MiB

	KV KV // the bucket that several servers share
}

// KV says which JetStream key-value bucket several account servers share. Without Servers it is
// zero: there is none. All account servers of a cluster have the same values, but for Credentials
// and paths.
type KV struct {
	Servers     []string // NATS URLs of the nats-servers that keep the bucket
	Credentials string   // path of a creds file; "" for none
	TLS         NATSTLS
	Bucket      string        // its name; default ACCOUNT_JWTS
	Replicas    int           // how many nats-servers keep it; 1 to 5, default 3
	History     int           // how many versions of each account it keeps; 1 to 64, default 8
	Timeout     time.Duration // of a commit; 1 s to 1 min, default 8 s
	Sync        KVSync        // of pushes while it is not synced; default KVSyncRequire
}

// KVSync says what becomes of pushes while a nats-server of the bucket does not sync each change.
type KVSync string

// The values of KVSync, as the file has them.
const (
	KVSyncRequire KVSync = "require" // they are refused
	KVSyncWarn    KVSync = "warn"    // they are taken, with a warning in the log
	KVSyncOff     KVSync = "off"     // they are taken, and nothing is asked
)

// ClaimChecks says what becomes of a pushed JWT whose claims nats-server refuses. The zero value is
// no value of the file; it counts as ChecksRefuse.
type ClaimChecks string

// The values of ClaimChecks, as the file has them.
const (
	ChecksRefuse ClaimChecks = "refuse" // it is refused
	ChecksWarn   ClaimChecks = "warn"   // it is taken, with a warning
)

// JWTRef says where a JWT is. At most one field is set. Which one is set follows from the value in
// the file: a key and a JWT can be told from a path.
type JWTRef struct {
	Path  string // of a file, bare or decorated
	Token string // the JWT itself
	Key   string // public key of the system account, whose JWT is in the store
}

// Warning is a problem that does not prevent the server from running. It is one line, as for a
// mistake.
type Warning struct {
	Text   string // begins with file:line:column if the problem is at one place in the file
	Strict bool   // the problem is an error if the configuration is only checked
}

// defaults returns the configuration of an empty file and no flags. conf/full.conf shows them, and
// a test compares both.
func defaults() Config {
	return Config{
		Logging: Logging{Format: logging.Format{Time: true}},
		HTTP: HTTP{
			Host:         "localhost",
			Port:         9090,
			ReadTimeout:  5 * time.Second,
			WriteTimeout: 5 * time.Second,
		},
		NATS: NATS{ConnectTimeout: 5 * time.Second, ReconnectWait: time.Second},
		Store: Store{CacheSize: 32 << 20, KV: KV{
			Bucket:   "ACCOUNT_JWTS",
			Replicas: 3,
			History:  8,
			Timeout:  8 * time.Second,
			Sync:     KVSyncRequire,
		}},
		ForgetServer:       72 * time.Hour,
		ClaimChecks:        ChecksRefuse,
		SignTimeout:        time.Second,
		ReplicationTimeout: 5 * time.Second,
		MaxPack:            10000,
	}
}

// SigningTimeout is how long a request may wait for the signing service. It leaves HTTP enough time
// to answer that this took too long.
func (c Config) SigningTimeout() time.Duration {
	return min(c.SignTimeout, c.HTTP.WriteTimeout*9/10)
}

// Load returns the configuration of the file that the flags name, if any, and of the flags, which
// override the file. An error has a line for every mistake. Warnings are returned with an error
// too. Files that the configuration names are not read: daemon does that.
func Load(f Flags) (Config, []Warning, error) { return load(f).result() }

// Reload is Load for a server that runs with another configuration. What that one has may be
// missing since the file is being written. A loss that would open the server or cut it off is a
// mistake. running is not changed.
func Reload(f Flags, running Config) (Config, []Warning, error) {
	l := load(f)
	l.checkLosses(running)
	return l.result()
}

// load reads and checks the file and the flags.
func load(f Flags) *loader {
	// The order of the steps counts: flags win over the file, and only the result is checked.
	l := &loader{flags: f, draft: defaults(), at: map[string]natsconf.Pos{}}
	l.keys = keys(&l.draft)
	l.readFile()
	l.readFlags()
	l.complete()
	l.check()
	return l
}

// result returns the draft if there is no mistake in it. The mistakes are in the order in which
// they were found.
func (l *loader) result() (Config, []Warning, error) {
	if len(l.mistakes) > 0 {
		return Config{}, l.warnings, errors.Join(l.mistakes...)
	}
	return l.draft, l.warnings, nil
}
