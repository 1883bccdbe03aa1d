package config

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// Each section of the dump has the original's fields in the original's order. Fields that the
// original does not have come after them.
type (
	dump struct {
		Logging              dumpLogging
		NATS                 dumpNATS
		HTTP                 dumpHTTP
		Store                dumpStore
		OperatorJWTPath      string
		SystemAccountJWTPath string
		SignRequestSubject   string
		SignRequestTimeout   milliseconds
		Primary              string
		ReplicationTimeout   milliseconds
		MaxReplicationPack   int
		ForgetServer         milliseconds
	}
	dumpLogging struct {
		Time, Debug, Trace, Colors, PID bool

		Custom any // always null, as in the original
		Audit  string
	}
	dumpNATS struct {
		Servers                       []string
		ConnectTimeout, ReconnectWait milliseconds
		MaxReconnects                 int
		TLS                           dumpTLS
		UserCredentials               string
		HandshakeFirst                bool
	}
	dumpHTTP struct {
		Host                      string
		Port                      int
		TLS                       dumpTLS
		ReadTimeout, WriteTimeout milliseconds
		Write, Read               []string // the names of the logins
	}
	dumpStore struct {
		Dir                     string
		Shard                   bool
		CleanupInterval         milliseconds
		NSC                     string
		ReadOnly                bool
		AllowOlder, AllowDelete bool
		StateDir                string
	}
	dumpTLS      struct{ Key, Cert, Root string }
	milliseconds int64
)

// Dump returns the configuration as JSON, with an indent of two spaces and durations in
// milliseconds. It leaves out passwords, and shows only the names of logins.
func (c *Config) Dump() string {
	d := dump{
		Logging:              c.Logging.dump(),
		NATS:                 c.NATS.dump(),
		HTTP:                 c.HTTP.dump(),
		Store:                c.Store.dump(),
		OperatorJWTPath:      c.Operator.dump(),
		SystemAccountJWTPath: c.SystemAccount.dump(),
		SignRequestSubject:   c.SignSubject,
		SignRequestTimeout:   inMilliseconds(c.SignTimeout),
		ReplicationTimeout:   inMilliseconds(c.ReplicationTimeout),
		MaxReplicationPack:   c.MaxPack,
		ForgetServer:         inMilliseconds(c.ForgetServer),
	}
	if c.Primary != "" {
		d.Primary = Blanked(c.Primary)
	}
	text, _ := json.MarshalIndent(d, "", "  ") // fails for no value of these types
	return string(text)
}

func (l Logging) dump() dumpLogging {
	return dumpLogging{
		Time: l.Time, Debug: l.Debug, Trace: l.Trace, Colors: l.Colors, PID: l.PID,
		Audit: l.Audit,
	}
}

func (n NATS) dump() dumpNATS {
	d := dumpNATS{
		ConnectTimeout:  inMilliseconds(n.ConnectTimeout),
		ReconnectWait:   inMilliseconds(n.ReconnectWait),
		MaxReconnects:   -1,
		TLS:             dumpTLS{Key: n.TLS.Key, Cert: n.TLS.Cert, Root: n.TLS.Root},
		UserCredentials: n.Credentials,
		HandshakeFirst:  n.TLS.HandshakeFirst,
	}
	for _, s := range n.Servers {
		d.Servers = append(d.Servers, Blanked(s))
	}
	return d
}

func (h HTTP) dump() dumpHTTP {
	return dumpHTTP{
		Host:         h.Host,
		Port:         h.Port,
		TLS:          dumpTLS{Key: h.TLS.Key, Cert: h.TLS.Cert, Root: h.TLS.Root},
		ReadTimeout:  inMilliseconds(h.ReadTimeout),
		WriteTimeout: inMilliseconds(h.WriteTimeout),
		Write:        loginNames(h.Write),
		Read:         loginNames(h.Read),
	}
}

func (s Store) dump() dumpStore {
	return dumpStore{
		Dir:             s.Dir,
		Shard:           s.Shard,
		CleanupInterval: inMilliseconds(s.CleanupInterval),
		NSC:             s.NSC,
		ReadOnly:        s.ReadOnly,
		AllowOlder:      s.AllowOlder,
		AllowDelete:     s.AllowDelete,
		StateDir:        s.StateDir,
	}
}

// dump returns where the JWT is. A JWT in the configuration itself is not shown.
func (r JWTRef) dump() string {
	if r.Token != "" {
		return "(in the configuration)"
	}
	return r.Path + r.Key
}

func inMilliseconds(d time.Duration) milliseconds { return milliseconds(d.Milliseconds()) }

// loginNames returns the user or the certificate of each login.
func loginNames(logins []Login) (all []string) {
	for _, l := range logins {
		all = append(all, l.User+l.Certificate)
	}
	return all
}

// Blanked returns a URL without its password. A user without a password is removed too, because it
// is a token. For a URL that can't be read it returns "?".
func Blanked(text string) string {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "?"
	}
	if _, secret := u.User.Password(); secret {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	return u.String()
}
