package config

import (
	"maps"
	"slices"
	"strings"

	"nats-account-server/internal/suggest"
)

// kind is what a key's value is.
type kind string

const (
	boolean  kind = "boolean"
	integer  kind = "integer"
	duration kind = "duration" // an integer is milliseconds
	text     kind = "text"
	path     kind = "path"
	urls     kind = "list of URLs"
	jwtRef   kind = "JWT"
	verify   kind = "boolean or `require`"
	logins   kind = "list of users"
	section  kind = "section"
)

// Key is one key of the configuration file.
type Key struct {
	Section string // "" for the top level, "nats.tls" for a section in a section
	Name    string // as error messages spell it; a file may use any letter case
	Aliases []string
	Kind    string
	Default string
	Doc     string
}

// key is a Key and where its value goes.
type key struct {
	section, name string
	aliases       []string
	kind          kind
	def           string
	doc           string
	into          func(*Config) any // a pointer to the field
}

// keys is every key of every version of the original, and our own.
var keys = []key{
	{"", "OperatorJWTPath", []string{"Operator"}, jwtRef, "", "operator JWT: a file, bare or decorated, or the JWT itself", func(c *Config) any { return &c.Operator }},
	{"", "SystemAccountJWTPath", []string{"System_Account", "System"}, jwtRef, "", "system account JWT, served while the store has none: a file, the JWT itself, or only the account's public key", func(c *Config) any { return &c.SystemAccount }},
	{"", "SignRequestSubject", nil, text, "", "NATS subject of a signing service, which signs what an account has signed itself", func(c *Config) any { return &c.SignSubject }},
	{"", "SignRequestTimeout", nil, duration, "1000", "of its answer; looking up an unknown account over NATS takes no longer either", func(c *Config) any { return &c.SignTimeout }},
	{"", "Primary", nil, text, "", "URL of the account server that this one follows: what it has is served here, and pushes go there", func(c *Config) any { return &c.Primary }},
	{"", "ReplicationTimeout", nil, duration, "5000", "of the primary's answers", func(c *Config) any { return &c.ReplicationTimeout }},
	{"", "MaxReplicationPack", nil, integer, "10000", "how many accounts `GET /jwt/v1/pack` gives at most, and a primary is asked for at the start; below 0 there is no limit, with 0 there is no pack", func(c *Config) any { return &c.MaxPack }},
	{"", "ForgetServer", nil, duration, "72h", "how long a nats-server may be away before it is forgotten, with what it is owed", func(c *Config) any { return &c.ForgetServer }},

	{"logging", "Time", nil, boolean, "true", "date and time in each line", func(c *Config) any { return &c.Logging.Time }},
	{"logging", "Debug", nil, boolean, "false", "lines for debugging", func(c *Config) any { return &c.Logging.Debug }},
	{"logging", "Trace", nil, boolean, "false", "a line for each request", func(c *Config) any { return &c.Logging.Trace }},
	{"logging", "Colors", nil, boolean, "true", "colour the level, also when the output is no terminal", func(c *Config) any { return &c.Logging.Colors }},
	{"logging", "PID", nil, boolean, "false", "the process id in each line", func(c *Config) any { return &c.Logging.PID }},
	{"logging", "Audit", nil, path, "", "file of the audit lines; without it they are in the log", func(c *Config) any { return &c.Logging.Audit }},

	{"http", "Host", nil, text, "localhost", "name or address to listen on; `\"\"` is every interface", func(c *Config) any { return &c.HTTP.Host }},
	{"http", "Port", nil, integer, "9090", "0 is any free port", func(c *Config) any { return &c.HTTP.Port }},
	{"http", "ReadTimeout", nil, duration, "5000", "of a whole request; also how long an idle connection is kept", func(c *Config) any { return &c.HTTP.ReadTimeout }},
	{"http", "WriteTimeout", nil, duration, "5000", "of an answer", func(c *Config) any { return &c.HTTP.WriteTimeout }},
	{"http.tls", "Cert", []string{"Cert_File"}, path, "", "PEM file of the certificate, intermediate ones behind it; turns TLS on", func(c *Config) any { return &c.HTTP.TLS.Cert }},
	{"http.tls", "Key", []string{"Key_File"}, path, "", "PEM file of the key that belongs to `cert`", func(c *Config) any { return &c.HTTP.TLS.Key }},
	{"http.tls", "Root", []string{"CA_File"}, path, "", "PEM file of the authorities that may vouch for clients", func(c *Config) any { return &c.HTTP.TLS.Root }},
	{"http.tls", "Verify", nil, verify, "false", "`true`: a client shows a certificate or a password; `require`: always a certificate", func(c *Config) any { return &c.HTTP.TLS.Verify }},
	{"http.authorization", "Write", nil, logins, "", "who may push, and read; without it everybody", func(c *Config) any { return &c.HTTP.Write }},
	{"http.authorization", "Read", nil, logins, "", "who else may read; without it everybody", func(c *Config) any { return &c.HTTP.Read }},

	{"nats", "Servers", nil, urls, "", "where changes are announced; one text may hold several URLs, separated by commas", func(c *Config) any { return &c.NATS.Servers }},
	{"nats", "ConnectTimeout", nil, duration, "5000", "of one attempt", func(c *Config) any { return &c.NATS.ConnectTimeout }},
	{"nats", "ReconnectWait", nil, duration, "1000", "between attempts; at least 100 ms", func(c *Config) any { return &c.NATS.ReconnectWait }},
	{"nats", "MaxReconnects", nil, integer, "-1", "known, and without effect: reconnecting never ends", func(*Config) any { return new(int) }},
	{"nats", "UserCredentials", nil, path, "", "creds file of a user of the system account", func(c *Config) any { return &c.NATS.Credentials }},
	{"nats.tls", "Root", []string{"CA_File"}, path, "", "PEM file of the authorities that may vouch for nats-server; without it those that the system trusts", func(c *Config) any { return &c.NATS.TLS.Root }},
	{"nats.tls", "Cert", []string{"Cert_File"}, path, "", "PEM file of our certificate, where nats-server asks for one", func(c *Config) any { return &c.NATS.TLS.Cert }},
	{"nats.tls", "Key", []string{"Key_File"}, path, "", "PEM file of the key that belongs to `cert`", func(c *Config) any { return &c.NATS.TLS.Key }},
	{"nats.tls", "Handshake_First", nil, boolean, "false", "TLS before nats-server has said a word, as its own `handshake_first` asks for", func(c *Config) any { return &c.NATS.TLS.HandshakeFirst }},

	{"store", "Dir", nil, path, "", "directory of the JWTs; without it they are kept in memory and forgotten", func(c *Config) any { return &c.Store.Dir }},
	{"store", "Shard", nil, boolean, "false", "one directory per last two characters of the keys", func(c *Config) any { return &c.Store.Shard }},
	{"store", "Allow_Older", nil, boolean, "false", "let an older JWT replace a newer one, for restores", func(c *Config) any { return &c.Store.AllowOlder }},
	{"store", "ReadOnly", nil, boolean, "false", "take no pushes: serve what somebody else puts into `dir`, and announce what changes there", func(c *Config) any { return &c.Store.ReadOnly }},
	{"store", "NSC", nil, path, "", "folder in which nsc keeps an operator, served like a read-only directory; `dir` wins", func(c *Config) any { return &c.Store.NSC }},
	{"store", "StateDir", nil, path, "", "where a read-only server remembers what it has announced, outside of what it reads; without it each start announces everything", func(c *Config) any { return &c.Store.StateDir }},
	{"store", "CleanupInterval", nil, duration, "0", "how often accounts whose JWT has expired are deleted; 0 is never", func(c *Config) any { return &c.Store.CleanupInterval }},
	{"store", "Allow_Delete", nil, boolean, "false", "let the operator delete accounts over NATS, as `nsc push --prune` and `nsc push -R` do", func(c *Config) any { return &c.Store.AllowDelete }},
}

// sections are the sections and how the original's error messages spell them.
var sections = map[string]string{
	"logging": "Logging", "http": "HTTP", "nats": "NATS", "store": "Store",
	"http.tls": "TLS", "nats.tls": "TLS", "http.authorization": "Authorization",
}

// guards says whether a key that nobody knows may be a slip in what was to keep people out. Files that were written for the original
// may have any other one.
func guards(section, name string) bool {
	name = strings.ToLower(name)
	switch section {
	case "http.authorization":
		return true
	case "http.tls":
		return strings.HasPrefix(name, "verif") || strings.Contains(name, "pinned") ||
			slices.ContainsFunc([]string{"root", "ca_file", "ca", "cacert", "root_ca", "client_ca"}, func(guard string) bool {
				return suggest.Distance(name, guard) <= 1
			})
	default:
		return false
	}
}

// ignored are keys that the original's structure has and nobody ever used.
var ignored = map[string]bool{"logging.custom": true}

// Keys returns every key in the order of the reference.
func Keys() []Key {
	all := make([]Key, len(keys))
	for i, k := range keys {
		all[i] = Key{k.section, k.name, k.aliases, string(k.kind), k.def, k.doc}
	}
	return all
}

// find returns the key of a section that a file spells name, nil if there is none.
func find(section, name string) *key {
	for i := range keys {
		if keys[i].section == section && keys[i].spells(name) {
			return &keys[i]
		}
	}
	return nil
}

func (k *key) spells(name string) bool {
	if strings.EqualFold(k.name, name) {
		return true
	}
	for _, a := range k.aliases {
		if strings.EqualFold(a, name) {
			return true
		}
	}
	return false
}

// nearest returns the name of a section that is spelled most like name, "" if nothing is like it.
func nearest(section, name string) string {
	best, least := "", len(name)/2+2
	consider := func(candidate string) {
		if d := suggest.Distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	for _, k := range keys {
		if k.section == section {
			consider(strings.ToLower(k.name))
			for _, a := range k.aliases {
				consider(strings.ToLower(a))
			}
		}
	}
	for _, s := range slices.Sorted(maps.Keys(sections)) {
		if parent, child := split(s); parent == section {
			consider(child)
		}
	}
	return best
}

// split takes the last name off a section's path.
func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}
