package config

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// The dump's sections have the original's fields in its order, and behind them ours.
type (
	dump struct {
		Logging                               dumpLogging
		NATS                                  dumpNATS
		HTTP                                  dumpHTTP
		Store                                 dumpStore
		OperatorJWTPath, SystemAccountJWTPath string
		SignRequestSubject                    string
		SignRequestTimeout                    ms
		Primary                               string
		ReplicationTimeout                    ms
		MaxReplicationPack                    int
		ForgetServer                          ms
	}
	dumpLogging struct {
		Time, Debug, Trace, Colors, PID bool
		Custom                          any // the original has it, and it is always null
		Audit                           string
	}
	dumpNATS struct {
		Servers                       []string
		ConnectTimeout, ReconnectWait ms
		MaxReconnects                 int
		TLS                           dumpTLS
		UserCredentials               string
		HandshakeFirst                bool
	}
	dumpHTTP struct {
		Host                      string
		Port                      int
		TLS                       dumpTLS
		ReadTimeout, WriteTimeout ms
		Write, Read               []string // who may
	}
	dumpStore struct {
		Dir                     string
		Shard                   bool
		CleanupInterval         ms
		NSC                     string
		ReadOnly                bool
		AllowOlder, AllowDelete bool
		StateDir                string
	}
	dumpTLS struct{ Key, Cert, Root string }
	ms      int64
)

// Dump is the configuration as JSON, two spaces deep, durations in milliseconds. Passwords in URLs are blanked, and of
// those who may log in only the names are there.
func (c *Config) Dump() string {
	d := dump{
		Logging: dumpLogging{Time: c.Logging.Time, Debug: c.Logging.Debug, Trace: c.Logging.Trace, Colors: c.Logging.Colors,
			PID: c.Logging.PID, Audit: c.Logging.Audit},
		NATS: dumpNATS{ConnectTimeout: in(c.NATS.ConnectTimeout), ReconnectWait: in(c.NATS.ReconnectWait), MaxReconnects: -1,
			TLS:             dumpTLS{Key: c.NATS.TLS.Key, Cert: c.NATS.TLS.Cert, Root: c.NATS.TLS.Root},
			UserCredentials: c.NATS.Credentials, HandshakeFirst: c.NATS.TLS.HandshakeFirst},
		HTTP: dumpHTTP{Host: c.HTTP.Host, Port: c.HTTP.Port,
			TLS:         dumpTLS{Key: c.HTTP.TLS.Key, Cert: c.HTTP.TLS.Cert, Root: c.HTTP.TLS.Root},
			ReadTimeout: in(c.HTTP.ReadTimeout), WriteTimeout: in(c.HTTP.WriteTimeout),
			Write: names(c.HTTP.Write), Read: names(c.HTTP.Read)},
		Store: dumpStore{Dir: c.Store.Dir, Shard: c.Store.Shard, AllowOlder: c.Store.AllowOlder,
			AllowDelete: c.Store.AllowDelete, StateDir: c.Store.StateDir,
			CleanupInterval: in(c.Store.CleanupInterval), NSC: c.Store.NSC, ReadOnly: c.Store.ReadOnly},
		OperatorJWTPath:      c.Operator.shown(),
		SystemAccountJWTPath: c.SystemAccount.shown(),
		SignRequestSubject:   c.SignSubject,
		SignRequestTimeout:   in(c.SignTimeout),
		ReplicationTimeout:   in(c.ReplicationTimeout),
		MaxReplicationPack:   c.MaxPack,
		ForgetServer:         in(c.ForgetServer),
	}
	if c.Primary != "" {
		d.Primary = Blanked(c.Primary)
	}
	for _, s := range c.NATS.Servers {
		d.NATS.Servers = append(d.NATS.Servers, Blanked(s))
	}
	text, _ := json.MarshalIndent(d, "", "  ") // it has nothing that JSON could not say
	return string(text)
}

func in(d time.Duration) ms { return ms(d.Milliseconds()) }

func names(logins []Login) (all []string) {
	for _, l := range logins {
		all = append(all, l.User+l.Certificate)
	}
	return all
}

// shown is where a JWT comes from; it may stand in the configuration itself.
func (r JWTRef) shown() string {
	switch {
	case r.Token != "":
		return "(in the configuration)"
	default:
		return r.Path + r.Key
	}
}

// Blanked is a URL without its password, or its token, which is all that stands before the @. One that can't be read
// says nothing.
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
