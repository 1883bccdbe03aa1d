package config

import (
	"time"

	"nats-account-server/internal/natsconf"
)

// Config is a valid configuration: durations, absolute paths, and combinations that make sense.
type Config struct {
	File          string // absolute path of the configuration file, "" without one
	Logging       Logging
	HTTP          HTTP
	NATS          NATS
	Store         Store
	Operator      JWTRef        // the zero value means no operator: nothing can be pushed
	SystemAccount JWTRef        // the zero value means that none is configured
	ForgetServer  time.Duration // how long what a nats-server misses is kept while it is away; default 72 h, at least 1 s
	SignSubject   string        // NATS subject of the signing service, "" for none
	SignTimeout   time.Duration // of its answer; default 1 s, 0 is refused, at most a day
	Primary       string        // URL of the account server that this one follows, "" for none
	// ReplicationTimeout is of the primary's answers; default 5 s, 0 is refused, at most a day.
	ReplicationTimeout time.Duration
	MaxPack            int // accounts that one pack gives over HTTP at most; default 10000, below 0 there is no limit
}

// Logging says what the log looks like.
type Logging struct {
	Time   bool   // date and time in each line; default true
	Debug  bool   // lines for debugging; default false
	Trace  bool   // a line for each request; default false
	Colors bool   // colour the level, also when the output is no terminal; default true
	PID    bool   // the process id in each line; default false
	Audit  string // absolute path of the file of the audit, "" for the log
}

// HTTP says where the API is served.
type HTTP struct {
	Host         string        // name or address to listen on; default localhost, "" is every interface
	Port         int           // 0 to 65535; default 9090, 0 is any free port
	ReadTimeout  time.Duration // of a whole request; default 5 s, 0 is refused, at most a day
	WriteTimeout time.Duration // of an answer; default 5 s, 0 is refused, at most a day
	TLS          HTTPTLS
	Write        []Login // who may push, and read; nil: everybody, or every client certificate if TLS.Verify asks for one
	Read         []Login // who else may read; nil: everybody, or every client certificate if TLS.Verify asks for one
}

// HTTPTLS says how HTTP is made safe. Cert and Key are set both or neither; neither is plain HTTP.
type HTTPTLS struct {
	Cert, Key string // paths of PEM files
	Root      string // path of the PEM file of the authorities that may vouch for clients; set if Verify is
	Verify    Verify
}

// Verify says what is asked of clients.
type Verify int

const (
	VerifyNone    Verify = iota // no certificate
	VerifyGiven                 // a certificate or a password
	VerifyRequire               // a certificate, whatever else
)

// Login is one who may log in: User and Hash are set, or Certificate is.
type Login struct {
	User        string
	Hash        string // bcrypt
	Certificate string // a name in a client certificate
}

// NATS says where changes are announced.
type NATS struct {
	Servers        []string      // URLs; none means that changes are not announced
	ConnectTimeout time.Duration // of one attempt; default 5 s, 0 is refused, at most a day
	ReconnectWait  time.Duration // between attempts; default 1 s, less than 100 ms is raised to that, at most a day
	Credentials    string        // path of a creds file, "" for none
	TLS            NATSTLS
}

// NATSTLS says how the connection to NATS is made safe. If any field is set, a nats-server without TLS is refused; if
// none is, TLS is used where a tls:// URL or nats-server asks for it. Cert and Key are set both or neither.
type NATSTLS struct {
	Root           string // path of the trusted authorities' PEM file, "" for those of the system
	Cert, Key      string // paths of our certificate and its key, "" for none
	HandshakeFirst bool   // do not wait for nats-server's INFO; default false
}

// Store says where JWTs are kept.
type Store struct {
	Dir        string // "" keeps them in memory only
	Shard      bool   // one directory per last two characters of the keys; default false
	AllowOlder bool   // an older JWT may replace a newer one, for restores; default false

	AllowDelete bool // the operator may delete accounts over NATS; default false

	CleanupInterval time.Duration // how often expired JWTs are deleted; default 0, never

	ReadOnly bool   // nothing is let in but what somebody puts into Dir, which is only read; without Dir nothing at all
	NSC      string // folder of nsc, which is only read; "" for none. Dir is "" then
	StateDir string // where a server that only reads remembers what it has announced; "" forgets it at each stop
}

// JWTRef says where a JWT is found. At most one field is set.
type JWTRef struct {
	Path  string // of a file, bare or decorated
	Token string // the JWT itself
	Key   string // of the system account only: its public key, its JWT is in the store
}

// Warning is something that should be mended but keeps nothing from running.
type Warning struct {
	Text   string // begins with file:line:column where there is such a place
	Strict bool   // an error when the configuration is only checked
}

// defaults is what holds before the file and the flags are read.
func defaults() Config {
	return Config{
		Logging:      Logging{Time: true, Colors: true},
		HTTP:         HTTP{Host: "localhost", Port: 9090, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second},
		NATS:         NATS{ConnectTimeout: 5 * time.Second, ReconnectWait: time.Second},
		ForgetServer: 72 * time.Hour,
		SignTimeout:  time.Second,

		ReplicationTimeout: 5 * time.Second,
		MaxPack:            10000,
	}
}

// Load gives the configuration of the file that the flags name, if any, and the flags, which win. The error names
// every mistake, one a line.
func Load(f Flags) (Config, []Warning, error) {
	l := loader{config: defaults(), httpAt: map[string]natsconf.Pos{}}
	if f.Config != "" {
		l.readFile(f.Config)
	}
	l.readFlags(f)
	l.checkDir()
	l.settleStore()
	l.settlePrimary()
	l.checkNATSTLS()
	l.checkHTTPTLS()
	l.checkLogins()
	return l.config, l.warnings, l.err()
}
