package config

import (
	"maps"
	"slices"
	"strings"

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
	same := func(known string) bool { return strings.EqualFold(known, name) }
	i := slices.IndexFunc(all, func(k key) bool {
		return k.section == section && slices.ContainsFunc(k.names(), same)
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
	// The order decides between two sections that are equally similar.
	for _, s := range slices.Sorted(maps.Keys(sections)) {
		if parent, child := split(s); parent == section {
			known = append(known, child)
		}
	}
	// A name is similar if less than about half of it must be changed.
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
		authorities := []string{"root", "ca_file", "ca", "cacert", "root_ca", "client_ca"}
		similar := func(known string) bool { return suggest.Distance(name, known) <= 1 }
		return strings.HasPrefix(name, "verif") || strings.Contains(name, "pinned") ||
			slices.ContainsFunc(authorities, similar)
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
