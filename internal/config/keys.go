package config

import (
	"regexp"
	"slices"
	"strings"

	"nats-account-server/internal/suggest"
)

// key is one key of a section. A file may write its names in any letter case.
type key struct {
	name    string // as error messages and the dump write it
	aliases string // other names, separated by spaces; "" for none
	field          // what the key sets
}

// keys returns every key that has ever had a meaning. Each key sets a field of c. The order of the
// keys is that of the original's dump; in each section, keys that the original does not have come
// last.
func keys(c *Config) []key {
	return []key{
		{"Logging", "", section([]key{
			{"Time", "", boolean(&c.Logging.Time)},
			{"Debug", "", boolean(&c.Logging.Debug)},
			{"Trace", "", boolean(&c.Logging.Trace)},
			{"Colors", "", boolean(&c.Logging.Colors)},
			{"PID", "", boolean(&c.Logging.PID)},
			{"Custom", "", unused()}, // the original accepts it and never uses it
			{"Audit", "", path(&c.Logging.Audit)},
			{"Audit_Required", "", boolean(&c.Logging.AuditRequired)},
		})},
		{"NATS", "", section([]key{
			{"Servers", "", urls(&c.NATS.Servers)},
			{"ConnectTimeout", "", timeout(&c.NATS.ConnectTimeout)},
			{"ReconnectWait", "", wait(&c.NATS.ReconnectWait)},
			{"MaxReconnects", "", maxReconnects()}, // no field of c
			{"TLS", "", section([]key{
				// The other names are those of nats-server's own tls section.
				{"Key", "Key_File", path(&c.NATS.TLS.Key)},
				{"Cert", "Cert_File", path(&c.NATS.TLS.Cert)},
				{"Root", "CA_File", path(&c.NATS.TLS.Root)},
				{"Handshake_First", "", dumpedAbove(boolean(&c.NATS.TLS.HandshakeFirst))},
			})},
			{"UserCredentials", "", path(&c.NATS.Credentials)},
		})},
		{"HTTP", "", section([]key{
			{"Host", "", text(&c.HTTP.Host)},
			{"Port", "", port(&c.HTTP.Port)},
			{"TLS", "", section([]key{
				{"Key", "Key_File", path(&c.HTTP.TLS.Key)},
				{"Cert", "Cert_File", path(&c.HTTP.TLS.Cert)},
				{"Root", "CA_File", path(&c.HTTP.TLS.Root)},
				{"Verify", "", verify(&c.HTTP.TLS.Verify)},
			})},
			{"ReadTimeout", "", timeout(&c.HTTP.ReadTimeout)},
			{"WriteTimeout", "", timeout(&c.HTTP.WriteTimeout)},
			{"Authorization", "", section([]key{
				{"Write", "", dumpedAbove(logins(&c.HTTP.Write))},
				{"Read", "", dumpedAbove(logins(&c.HTTP.Read))},
			})},
		})},
		{"Store", "", section([]key{
			{"Dir", "", path(&c.Store.Dir)},
			{"Shard", "", boolean(&c.Store.Shard)},
			// A day is no limit here: some servers clean up once a week.
			{"CleanupInterval", "", interval(&c.Store.CleanupInterval)},
			{"NSC", "", path(&c.Store.NSC)},
			{"ReadOnly", "", boolean(&c.Store.ReadOnly)},
			{"Allow_Older", "", boolean(&c.Store.AllowOlder)},
			{"Allow_Delete", "", boolean(&c.Store.AllowDelete)},
			{"StateDir", "", path(&c.Store.StateDir)},
		})},
		// Operator, System_Account and System are nats-server's names.
		{"OperatorJWTPath", "Operator", operatorJWT(&c.Operator)},
		{"SystemAccountJWTPath", "System_Account System", systemJWT(&c.SystemAccount)},
		{"SignRequestSubject", "", subject(&c.SignSubject)},
		{"SignRequestTimeout", "", timeout(&c.SignTimeout)},
		{"Primary", "", text(&c.Primary)},
		{"ReplicationTimeout", "", timeout(&c.ReplicationTimeout)},
		{"MaxReplicationPack", "", integer(&c.MaxPack)},
		{"ForgetServer", "", forgetTime(&c.ForgetServer)},
	}
}

// names returns the name and the aliases.
func (k *key) names() []string { return append([]string{k.name}, strings.Fields(k.aliases)...) }

// find returns the key with a name or alias, in any letter case. It returns nil if there is none.
func find(keys []key, name string) *key {
	same := func(known string) bool { return strings.EqualFold(known, name) }
	for i := range keys {
		if slices.ContainsFunc(keys[i].names(), same) {
			return &keys[i]
		}
	}
	return nil
}

// nearest returns the name that is most similar to an unknown one, in lower case. It returns "" if
// none is similar. Of equally similar names it takes the first.
func nearest(keys []key, unknown string) string {
	// A name is similar if less than about half of it must be changed.
	best, least := "", len(unknown)/2+2
	for _, k := range keys {
		for _, name := range k.names() {
			if d := suggest.Distance(unknown, name); d < least {
				best, least = strings.ToLower(name), d
			}
		}
	}
	return best
}

// aboutClients matches unknown keys of http.tls that are probably about client certificates, such
// as nats-server's verify_and_map and pinned_certs, and misspelt or other names of root.
var aboutClients = regexp.MustCompile(`(?i)^verif|pinned|^roo?t|^ca|ca$`)

// restricts reports whether an unknown key is probably meant to restrict access. Such a key is an
// error. Files that were written for the original may have any other unknown key.
func restricts(section, name string) bool {
	return section == "http.authorization" || section == "http.tls" && aboutClients.MatchString(name)
}
