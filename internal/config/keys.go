package config

import (
	"slices"
	"strings"
	"time"
)

// key is one key of a section. A file may write its names in any letter case. A row of the table
// looks like {"ReadTimeout", "", timeout(&h.ReadTimeout)}.
type key struct {
	name    string // as error messages and the dump write it
	aliases string // other names, separated by spaces; "" for none
	field          // what the key sets
}

// keys returns every key that has ever had a meaning. Each key sets a field of c. The order of the
// keys is that of the original's dump; in each section, keys that the original does not have come
// last. The table in the manual is generated from it.
func keys(c *Config) []key {
	return []key{
		{"Logging", "", section([]key{
			{"Time", "", boolean(&c.Logging.Time)},
			{"Debug", "", boolean(&c.Logging.Debug)},
			{"Trace", "", boolean(&c.Logging.Trace)},
			{"Colors", "", set(&c.Logging.Colors, parseColors)},
			{"PID", "", boolean(&c.Logging.PID)},
			{"Custom", "", unused()}, // the original accepts it and never uses it
			{"Audit", "", path(&c.Logging.Audit)},
			{"Audit_Required", "", boolean(&c.Logging.AuditRequired)},
			{"Format", "", set(&c.Logging.Encoding, parseEncoding)},
			// The other names are those of nats-server, which has them at the top level.
			{"File", "LogFile Log_File", path(&c.Logging.File)},
			{"Size_Limit", "LogFile_Size_Limit Log_Size_Limit",
				set(&c.Logging.SizeLimit, parseSize)},
			{"Max_Files", "LogFile_Max_Num Log_Max_Num", set(&c.Logging.MaxFiles, parseCount)},
			{"Syslog", "", boolean(&c.Logging.Syslog)},
			{"Remote_Syslog", "", set(&c.Logging.RemoteSyslog, parseText, isSyslog)},
		})},
		{"NATS", "", section([]key{
			{"Servers", "", set(&c.NATS.Servers, parseURLs)},
			// complete replaces 0, and raises a very short wait.
			{"ConnectTimeout", "",
				set(&c.NATS.ConnectTimeout, parseDuration, notNegative, atMostADay)},
			{"ReconnectWait", "",
				set(&c.NATS.ReconnectWait, parseDuration, notNegative, atMostADay)},
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
			{"Host", "", set(&c.HTTP.Host, parseText, isHost)},
			{"Port", "", set(&c.HTTP.Port, parseInt, isPort)},
			{"TLS", "", section([]key{
				{"Key", "Key_File", path(&c.HTTP.TLS.Key)},
				{"Cert", "Cert_File", path(&c.HTTP.TLS.Cert)},
				{"Root", "CA_File", path(&c.HTTP.TLS.Root)},
				{"Verify", "", set(&c.HTTP.TLS.Verify, parseVerify)},
			})},
			{"ReadTimeout", "", timeout(&c.HTTP.ReadTimeout)},
			{"WriteTimeout", "", timeout(&c.HTTP.WriteTimeout)},
			{"Authorization", "", section([]key{
				{"Write", "", dumpedAbove(logins(&c.HTTP.Write))},
				{"Read", "", dumpedAbove(logins(&c.HTTP.Read))},
			})},
			{"Listen", "", listen(&c.HTTP)},
		})},
		{"Store", "", section([]key{
			{"Dir", "", path(&c.Store.Dir)},
			{"Shard", "", boolean(&c.Store.Shard)},
			// A day is no limit here: some servers clean up once a week.
			{"CleanupInterval", "", set(&c.Store.CleanupInterval, parseDuration, notNegative)},
			{"NSC", "", path(&c.Store.NSC)},
			{"ReadOnly", "", boolean(&c.Store.ReadOnly)},
			{"Allow_Older", "", boolean(&c.Store.AllowOlder)},
			{"Allow_Delete", "", boolean(&c.Store.AllowDelete)},
			{"StateDir", "", path(&c.Store.StateDir)},
			{"CacheSize", "", set(&c.Store.CacheSize, parseSize)},
			{"KV", "", shownIf(func() bool { return len(c.Store.KV.Servers) > 0 }, section([]key{
				{"Servers", "", set(&c.Store.KV.Servers, parseURLs)},
				{"UserCredentials", "", path(&c.Store.KV.Credentials)},
				{"TLS", "", section([]key{
					{"Key", "Key_File", path(&c.Store.KV.TLS.Key)},
					{"Cert", "Cert_File", path(&c.Store.KV.TLS.Cert)},
					{"Root", "CA_File", path(&c.Store.KV.TLS.Root)},
					{"Handshake_First", "", boolean(&c.Store.KV.TLS.HandshakeFirst)},
				})},
				{"Bucket", "", set(&c.Store.KV.Bucket, parseText, isBucket)},
				{"Replicas", "", set(&c.Store.KV.Replicas, parseInt, within1(5))},
				{"History", "", set(&c.Store.KV.History, parseInt, within1(64))},
				{"Timeout", "", set(&c.Store.KV.Timeout, parseDuration,
					atLeast(time.Second, "be at least 1 s"), atMost(time.Minute, "a minute"))},
				{"Sync", "", set(&c.Store.KV.Sync, parseKVSync)},
			}))},
		})},
		// Operator, System_Account and System are nats-server's names.
		{"OperatorJWTPath", "Operator", set(&c.Operators, parseOperators)},
		{"SystemAccountJWTPath", "System_Account System", set(&c.SystemAccount, parseSystem)},
		{"SignRequestSubject", "", set(&c.SignSubject, parseText, isSubject)},
		{"SignRequestTimeout", "", timeout(&c.SignTimeout)},
		{"Primary", "", text(&c.Primary)},
		{"ReplicationTimeout", "", timeout(&c.ReplicationTimeout)},
		{"MaxReplicationPack", "", set(&c.MaxPack, parseInt)},
		{"Listen", "", listen(&c.HTTP)}, // where nats-server has it
		// Work is lost when this time ends, so it must not be too short.
		{"ForgetServer", "", set(&c.ForgetServer, parseDuration,
			atLeast(time.Second, "be at least 1 s"))},
		{"ClaimChecks", "", set(&c.ClaimChecks, parseClaimChecks)},
		{"PID_File", "PIDFile", path(&c.PIDFile)},
		{"Monitor", "", section([]key{
			{"Host", "", set(&c.Monitor.Host, parseText, isHost)},
			{"Port", "", set(&c.Monitor.Port, parseInt, isMonitorPort)},
		})},
	}
}

// names returns the name and the aliases.
func (k *key) names() []string { return append([]string{k.name}, strings.Fields(k.aliases)...) }

// find returns the key with a name or alias, in any letter case. It returns nil if there is none.
// There are some dozens of keys, so the list is searched.
func find(keys []key, name string) *key {
	same := func(known string) bool { return strings.EqualFold(known, name) }
	for i := range keys {
		if slices.ContainsFunc(keys[i].names(), same) {
			return &keys[i]
		}
	}
	return nil
}
