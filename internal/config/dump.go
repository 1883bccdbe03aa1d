package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Dump returns the configuration as JSON, with an indent of two spaces and durations in
// milliseconds. It leaves out passwords, and shows only the names of logins.
//
// Each section has the original's fields in the original's order. Fields that the original does not
// have come after them.
func (c *Config) Dump() string {
	text, _ := json.MarshalIndent(object{
		{"Logging", c.Logging.dump()},
		{"NATS", c.NATS.dump()},
		{"HTTP", c.HTTP.dump()},
		{"Store", c.Store.dump()},
		{"OperatorJWTPath", c.Operator.dump()},
		{"SystemAccountJWTPath", c.SystemAccount.dump()},
		{"SignRequestSubject", c.SignSubject},
		{"SignRequestTimeout", c.SignTimeout.Milliseconds()},
		{"Primary", RedactURL(c.Primary)},
		{"ReplicationTimeout", c.ReplicationTimeout.Milliseconds()},
		{"MaxReplicationPack", c.MaxPack},
		{"ForgetServer", c.ForgetServer.Milliseconds()},
	}, "", "  ")
	return string(text)
}

func (l Logging) dump() object {
	return object{
		{"Time", l.Time},
		{"Debug", l.Debug},
		{"Trace", l.Trace},
		{"Colors", l.Colors},
		{"PID", l.PID},
		{"Custom", nil}, // as in the original
		{"Audit", l.Audit},
	}
}

func (n NATS) dump() object {
	var servers []string // null in the dump if there are none
	for _, s := range n.Servers {
		servers = append(servers, RedactURL(s))
	}
	return object{
		{"Servers", servers},
		{"ConnectTimeout", n.ConnectTimeout.Milliseconds()},
		{"ReconnectWait", n.ReconnectWait.Milliseconds()},
		{"MaxReconnects", -1},
		{"TLS", object{{"Key", n.TLS.Key}, {"Cert", n.TLS.Cert}, {"Root", n.TLS.Root}}},
		{"UserCredentials", n.Credentials},
		{"HandshakeFirst", n.TLS.HandshakeFirst},
	}
}

func (h HTTP) dump() object {
	return object{
		{"Host", h.Host},
		{"Port", h.Port},
		{"TLS", object{{"Key", h.TLS.Key}, {"Cert", h.TLS.Cert}, {"Root", h.TLS.Root}}},
		{"ReadTimeout", h.ReadTimeout.Milliseconds()},
		{"WriteTimeout", h.WriteTimeout.Milliseconds()},
		{"Write", loginNames(h.Write)},
		{"Read", loginNames(h.Read)},
	}
}

func (s Store) dump() object {
	return object{
		{"Dir", s.Dir},
		{"Shard", s.Shard},
		{"CleanupInterval", s.CleanupInterval.Milliseconds()},
		{"NSC", s.NSC},
		{"ReadOnly", s.ReadOnly},
		{"AllowOlder", s.AllowOlder},
		{"AllowDelete", s.AllowDelete},
		{"StateDir", s.StateDir},
	}
}

// dump returns where the JWT is. A JWT in the configuration itself is not shown.
func (r JWTRef) dump() string {
	if r.Token != "" {
		return "(in the configuration)"
	}
	return r.Path + r.Key
}

// loginNames returns the user or the certificate of each login.
func loginNames(logins []Login) (all []string) {
	for _, l := range logins {
		all = append(all, l.User+l.Certificate)
	}
	return all
}

// object is a JSON object whose members stay in order.
type object []struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	separator := '{'
	for _, m := range o {
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%c%q:%s", separator, m.name, value)
		separator = ','
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// RedactURL returns a URL without its password. A user without a password is removed too, because
// it is a token. For a URL that can't be read it returns "?", for no URL "".
func RedactURL(text string) string {
	if text == "" {
		return ""
	}
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "?"
	}
	// nats://token@host has a token where other URLs have a user.
	if _, secret := u.User.Password(); secret {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	return u.String()
}
