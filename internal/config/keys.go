package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/natsconf"
	"nats-account-server/internal/suggest"
)

// key is one key of the configuration file. A file may write its names in any letter case.
type key struct {
	section string // "" for the top level, "nats.tls" for a section in a section
	name    string // as error messages write it
	aliases string // other names, separated by spaces
	set     setter
}

// keys returns every key that has ever had a meaning. Each key sets a field of c.
func keys(c *Config) []key {
	return []key{
		{"", "OperatorJWTPath", "Operator", operatorJWT(&c.Operator)},
		{"", "SystemAccountJWTPath", "System_Account System", systemJWT(&c.SystemAccount)},
		{"", "SignRequestSubject", "", subject(&c.SignSubject)},
		{"", "SignRequestTimeout", "", timeout(&c.SignTimeout)},
		{"", "Primary", "", text(&c.Primary)},
		{"", "ReplicationTimeout", "", timeout(&c.ReplicationTimeout)},
		{"", "MaxReplicationPack", "", integer(&c.MaxPack)},
		{"", "ForgetServer", "", forgetTime(&c.ForgetServer)},

		{"logging", "Time", "", boolean(&c.Logging.Time)},
		{"logging", "Debug", "", boolean(&c.Logging.Debug)},
		{"logging", "Trace", "", boolean(&c.Logging.Trace)},
		{"logging", "Colors", "", boolean(&c.Logging.Colors)},
		{"logging", "PID", "", boolean(&c.Logging.PID)},
		{"logging", "Audit", "", path(&c.Logging.Audit)},

		{"http", "Host", "", text(&c.HTTP.Host)},
		{"http", "Port", "", port(&c.HTTP.Port)},
		{"http", "ReadTimeout", "", timeout(&c.HTTP.ReadTimeout)},
		{"http", "WriteTimeout", "", timeout(&c.HTTP.WriteTimeout)},
		{"http.tls", "Cert", "Cert_File", path(&c.HTTP.TLS.Cert)},
		{"http.tls", "Key", "Key_File", path(&c.HTTP.TLS.Key)},
		{"http.tls", "Root", "CA_File", path(&c.HTTP.TLS.Root)},
		{"http.tls", "Verify", "", verify(&c.HTTP.TLS.Verify)},
		{"http.authorization", "Write", "", logins(&c.HTTP.Write)},
		{"http.authorization", "Read", "", logins(&c.HTTP.Read)},

		{"nats", "Servers", "", urls(&c.NATS.Servers)},
		{"nats", "ConnectTimeout", "", timeout(&c.NATS.ConnectTimeout)},
		{"nats", "ReconnectWait", "", reconnectWait(&c.NATS.ReconnectWait)},
		{"nats", "MaxReconnects", "", maxReconnects()},
		{"nats", "UserCredentials", "", path(&c.NATS.Credentials)},
		{"nats.tls", "Root", "CA_File", path(&c.NATS.TLS.Root)},
		{"nats.tls", "Cert", "Cert_File", path(&c.NATS.TLS.Cert)},
		{"nats.tls", "Key", "Key_File", path(&c.NATS.TLS.Key)},
		{"nats.tls", "Handshake_First", "", boolean(&c.NATS.TLS.HandshakeFirst)},

		{"store", "Dir", "", path(&c.Store.Dir)},
		{"store", "Shard", "", boolean(&c.Store.Shard)},
		{"store", "Allow_Older", "", boolean(&c.Store.AllowOlder)},
		{"store", "ReadOnly", "", boolean(&c.Store.ReadOnly)},
		{"store", "NSC", "", path(&c.Store.NSC)},
		{"store", "StateDir", "", path(&c.Store.StateDir)},
		{"store", "CleanupInterval", "", interval(&c.Store.CleanupInterval)},
		{"store", "Allow_Delete", "", boolean(&c.Store.AllowDelete)},
	}
}

// sections has the sections, with their names in the original's error messages.
var sections = map[string]string{
	"logging":            "Logging",
	"http":               "HTTP",
	"http.tls":           "TLS",
	"http.authorization": "Authorization",
	"nats":               "NATS",
	"nats.tls":           "TLS",
	"store":              "Store",
}

// ignored has the keys that the original accepts and never uses.
var ignored = map[string]bool{"logging.custom": true}

// path returns the full name of the key, such as "http.tls.cert".
func (k *key) path() string { return join(k.section, strings.ToLower(k.name)) }

// names returns the name and the aliases.
func (k *key) names() []string { return append([]string{k.name}, strings.Fields(k.aliases)...) }

// find returns the key of a section with a name or alias. It returns nil if there is none.
func find(all []key, section, name string) *key {
	i := slices.IndexFunc(all, func(k key) bool {
		return k.section == section &&
			slices.ContainsFunc(k.names(), func(n string) bool { return strings.EqualFold(n, name) })
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

// nearest returns the name in a section that is most similar to an unknown one, in lower case. It
// returns "" if none is similar.
func nearest(all []key, section, name string) string {
	var known []string
	for _, k := range all {
		if k.section == section {
			known = append(known, k.names()...)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(sections)) {
		if parent, child := split(s); parent == section {
			known = append(known, child)
		}
	}
	best, least := "", len(name)/2+2
	for _, candidate := range known {
		if d := suggest.Distance(name, candidate); d < least {
			best, least = strings.ToLower(candidate), d
		}
	}
	return best
}

// restricts reports whether an unknown key is probably meant to restrict access. Such a key is an
// error. Files that were written for the original may have any other unknown key.
func restricts(section, name string) bool {
	name = strings.ToLower(name)
	switch section {
	case "http.authorization":
		return true
	case "http.tls":
		return strings.HasPrefix(name, "verif") || strings.Contains(name, "pinned") ||
			slices.ContainsFunc(
				[]string{"root", "ca_file", "ca", "cacert", "root_ca", "client_ca"},
				func(known string) bool { return suggest.Distance(name, known) <= 1 })
	default:
		return false
	}
}

// split takes the last name off the path of a section.
func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// join is the inverse of split.
func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// A setter reads the value of an entry and stores it in a field. An error is a mistake in the
// value.
type setter func(l *loader, k *key, e natsconf.Entry) error

// set returns a setter for a value that needs no more than to be parsed.
func set[T any](into *T, parse func(name string, value any) (T, error)) setter {
	return func(_ *loader, k *key, e natsconf.Entry) (err error) {
		v, err := parse(k.name, e.Value.Data)
		if err == nil {
			*into = v
		}
		return err
	}
}

func boolean(into *bool) setter       { return set(into, parseBool) }
func integer(into *int) setter        { return set(into, parseInt) }
func text(into *string) setter        { return set(into, parseText) }
func path(into *string) setter        { return set(into, parsePath) }
func urls(into *[]string) setter      { return set(into, parseURLs) }
func verify(into *Verify) setter      { return set(into, parseVerify) }
func operatorJWT(into *JWTRef) setter { return set(into, parseOperator) }
func systemJWT(into *JWTRef) setter   { return set(into, parseSystem) }

// port sets a TCP port.
func port(into *int) setter {
	return func(l *loader, k *key, e natsconf.Entry) error {
		if err := integer(into)(l, k, e); err != nil {
			return err
		}
		if err := checkPort(*into); err != nil {
			return fmt.Errorf("%s.%w", k.section, err)
		}
		return nil
	}
}

// subject sets a NATS subject.
func subject(into *string) setter {
	return func(l *loader, k *key, e natsconf.Entry) error {
		if err := text(into)(l, k, e); err != nil {
			return err
		}
		if *into != "" && !isSubject(*into) {
			return fmt.Errorf("%s %q is no subject to publish on", k.path(), *into)
		}
		return nil
	}
}

const (
	minReconnectWait = 100 * time.Millisecond
	minForgetTime    = time.Second
	maxTimeout       = 24 * time.Hour // a longer one probably has a wrong unit
)

// timeout sets a duration of more than 0 and at most maxTimeout.
func timeout(into *time.Duration) setter { return between(into, 1, maxTimeout) }

// interval sets a duration that may be 0 and very long.
func interval(into *time.Duration) setter { return between(into, 0, math.MaxInt64) }

// between sets a duration with a least and a greatest value. least is 0, or 1 for any duration
// above.
func between(into *time.Duration, least, most time.Duration) setter {
	return func(_ *loader, k *key, e natsconf.Entry) error {
		d, err := parseDuration(k.name, e.Value.Data)
		switch {
		case err != nil:
			return err
		case d < least && least > 0:
			return fmt.Errorf("%s must be more than 0", k.path())
		case d < least:
			return fmt.Errorf("%s must not be negative", k.path())
		case d > most:
			return fmt.Errorf("%s must be at most a day, not %s", k.path(), d)
		}
		*into = d
		return nil
	}
}

// reconnectWait sets a wait, which it raises to minReconnectWait.
func reconnectWait(into *time.Duration) setter {
	return func(l *loader, k *key, e natsconf.Entry) error {
		if err := between(into, 0, maxTimeout)(l, k, e); err != nil {
			return err
		}
		if *into < minReconnectWait {
			*into = minReconnectWait
			l.warn(e.Value.Pos, false, "%s is raised to 100 ms", k.path())
		}
		return nil
	}
}

// forgetTime sets a duration of at least minForgetTime.
func forgetTime(into *time.Duration) setter {
	return func(_ *loader, k *key, e natsconf.Entry) error {
		d, err := parseDuration(k.name, e.Value.Data)
		if err == nil && d < minForgetTime {
			err = fmt.Errorf("%s must be at least 1 s, not %s", k.path(), d)
		}
		if err == nil {
			*into = d
		}
		return err
	}
}

// maxReconnects reads a key of the original that has no effect.
func maxReconnects() setter {
	return func(l *loader, k *key, e natsconf.Entry) error {
		n, err := parseInt(k.name, e.Value.Data)
		if err == nil && n != -1 {
			l.warn(e.Pos, false, "maxreconnects has no effect: reconnecting never ends")
		}
		return err
	}
}
