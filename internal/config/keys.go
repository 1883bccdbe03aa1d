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
//
// A row has up to three parts that a reader has to know: where the value goes, how it is parsed,
// and which checks come after that. The parser knows the kind of value only, and the checks the
// range. What two keys must be to each other is in rules (check.go). A row with section has the
// keys of that section, to any depth. The range that a row allows is said at the field of Config as
// well.
func keys(c *Config) []key {
	return []key{
		{"Logging", "", section([]key{
			// The format of a line. These keys have the meaning that nats-server's flags give them.
			{"Time", "", boolean(&c.Logging.Time)},
			{"Debug", "", boolean(&c.Logging.Debug)},
			{"Trace", "", boolean(&c.Logging.Trace)},
			// Without the key a terminal decides: lines have colours on one and none in a file.
			{"Colors", "", set(&c.Logging.Colors, parseColors)},
			{"PID", "", boolean(&c.Logging.PID)},
			{"Custom", "", unused()}, // the original accepts it and never uses it
			// "" writes the entries into the log. With Audit_Required no push is
			// answered with 200 without its entry.
			{"Audit", "", path(&c.Logging.Audit)},
			{"Audit_Required", "", boolean(&c.Logging.AuditRequired)},
			// It is the form of a line, text or json, and is named Encoding in Config.
			{"Format", "", set(&c.Logging.Encoding, parseEncoding)},
			// The other names are those of nats-server, which has them at the top level.
			{"File", "LogFile Log_File", path(&c.Logging.File)},
			// SizeLimit is in bytes and MaxFiles counts the current file too. 0 is no limit for
			// both.
			{"Size_Limit", "LogFile_Size_Limit Log_Size_Limit",
				set(&c.Logging.SizeLimit, parseSize)},
			{"Max_Files", "LogFile_Max_Num Log_Max_Num", set(&c.Logging.MaxFiles, parseCount)},
			// The file wins over both syslogs, see complete. Only a syslog that is named by a URL
			// is checked here: it begins with udp://, tcp:// or unix://.
			{"Syslog", "", boolean(&c.Logging.Syslog)},
			{"Remote_Syslog", "", set(&c.Logging.RemoteSyslog, parseText, isSyslog)},
		})},
		// An empty or absent list of servers means that this server announces nothing.
		{"NATS", "", section([]key{
			{"Servers", "", set(&c.NATS.Servers, parseURLs)},
			// complete replaces 0, and raises a very short wait.
			{"ConnectTimeout", "",
				set(&c.NATS.ConnectTimeout, parseDuration, notNegative, atMostADay)},
			{"ReconnectWait", "",
				set(&c.NATS.ReconnectWait, parseDuration, notNegative, atMostADay)},
			{"MaxReconnects", "", maxReconnects()}, // no field of c
			// The original's dump has a TLS object of three members, so Handshake_First is shown in
			// the section NATS.
			{"TLS", "", section(tlsKeys(&c.NATS.TLS.Key, &c.NATS.TLS.Cert, &c.NATS.TLS.Root,
				key{"Handshake_First", "", dumpedAbove(boolean(&c.NATS.TLS.HandshakeFirst))}))},
			// It is the path of a creds file. The file is read with each connection, and not here.
			{"UserCredentials", "", path(&c.NATS.Credentials)},
		})},
		{"HTTP", "", section([]key{
			// Host and Port are one way to give the address, and Listen is the other. Of two ways
			// the later one in the file wins, see warnListen.
			{"Host", "", set(&c.HTTP.Host, parseText, isHost)},
			{"Port", "", set(&c.HTTP.Port, parseInt, isPort)},
			// The value of Verify is true, false or "require". Root must be set with the first and
			// the last.
			{"TLS", "", section(tlsKeys(&c.HTTP.TLS.Key, &c.HTTP.TLS.Cert, &c.HTTP.TLS.Root,
				key{"Verify", "", set(&c.HTTP.TLS.Verify, parseVerify)}))},
			// Both times are more than 0, since a client without a limit would keep its connection
			// for ever.
			{"ReadTimeout", "", timeout(&c.HTTP.ReadTimeout)},
			{"WriteTimeout", "", timeout(&c.HTTP.WriteTimeout)},
			{"Authorization", "", section([]key{
				// A list that is not there and a list that is empty differ: the first lets every
				// client in, and the second is a mistake.
				{"Write", "", dumpedAbove(logins(&c.HTTP.Write))},
				{"Read", "", dumpedAbove(logins(&c.HTTP.Read))},
			})},
			{"Listen", "", listen(&c.HTTP)},
		})},
		{"Store", "", section([]key{
			// An empty path stores in memory. rules refuses one that the file gives, unless nothing
			// is written.
			{"Dir", "", path(&c.Store.Dir)},
			{"Shard", "", boolean(&c.Store.Shard)},
			// A day is no limit here: some servers clean up once a week.
			{"CleanupInterval", "", set(&c.Store.CleanupInterval, parseDuration, notNegative)},
			{"NSC", "", path(&c.Store.NSC)},
			// Nothing can be pushed then. With a directory or NSC, another program writes there.
			{"ReadOnly", "", boolean(&c.Store.ReadOnly)},
			{"Allow_Older", "", boolean(&c.Store.AllowOlder)},
			{"Allow_Delete", "", boolean(&c.Store.AllowDelete)},
			// The directory must be another one than Dir and NSC, and neither may be in the other.
			{"StateDir", "", path(&c.Store.StateDir)},
			// The size is in bytes, or has a suffix such as 32MiB. 0 turns the cache off.
			{"CacheSize", "", set(&c.Store.CacheSize, parseSize)},
			// The section counts only with servers in it. complete makes it zero otherwise, and the
			// dump leaves it out.
			{"KV", "", shownIf(func() bool { return len(c.Store.KV.Servers) > 0 }, section([]key{
				{"Servers", "", set(&c.Store.KV.Servers, parseURLs)},
				{"UserCredentials", "", path(&c.Store.KV.Credentials)},
				{"TLS", "", section(tlsKeys(
					&c.Store.KV.TLS.Key, &c.Store.KV.TLS.Cert, &c.Store.KV.TLS.Root,
					key{"Handshake_First", "", boolean(&c.Store.KV.TLS.HandshakeFirst)}))},
				{"Bucket", "", set(&c.Store.KV.Bucket, parseText, isBucket)},
				// The limits are those of JetStream: a stream has at most 5 replicas, and a bucket
				// at most 64 versions of a key.
				{"Replicas", "", set(&c.Store.KV.Replicas, parseInt, within1(5))},
				{"History", "", set(&c.Store.KV.History, parseInt, within1(64))},
				// A client whose commit takes longer is not told whether the JWT is stored. A
				// number is milliseconds, so 8 is refused: 8000 or "8s" was probably meant.
				{"Timeout", "", set(&c.Store.KV.Timeout, parseDuration,
					atLeast(time.Second, "be at least 1 s"), atMost(time.Minute, "a minute"))},
				// The value is "require", "warn" or "off". natsconf reads off without quotes as
				// false.
				{"Sync", "", set(&c.Store.KV.Sync, parseKVSync)},
			}))},
		})},
		// Operator, System_Account and System are nats-server's names. The value is a path or a
		// JWT, and Operator may be a list of them. The system account may be given by its public
		// key as well.
		{"OperatorJWTPath", "Operator", set(&c.Operators, parseOperators)},
		{"SystemAccountJWTPath", "System_Account System", set(&c.SystemAccount, parseSystem)},
		// An empty subject turns the signing service off. SigningTimeout shortens the timeout so
		// that HTTP can still answer.
		{"SignRequestSubject", "", set(&c.SignSubject, parseText, isSubject)},
		{"SignRequestTimeout", "", timeout(&c.SignTimeout)},
		// The text is the URL of an account server, without /jwt/v1. rules checks it, so that no
		// error shows its password.
		{"Primary", "", text(&c.Primary)},
		{"ReplicationTimeout", "", timeout(&c.ReplicationTimeout)},
		// Any integer is valid: 0 is no pack, and a negative number is no limit.
		{"MaxReplicationPack", "", set(&c.MaxPack, parseInt)},
		{"Listen", "", listen(&c.HTTP)}, // where nats-server has it
		// Work is lost when this time ends, so it must not be too short.
		{"ForgetServer", "", set(&c.ForgetServer, parseDuration,
			atLeast(time.Second, "be at least 1 s"))},
		// The value is "refuse" or "warn".
		{"ClaimChecks", "", set(&c.ClaimChecks, parseClaimChecks)},
		{"PID_File", "PIDFile", path(&c.PIDFile)},
		// Port 0, the default, leaves the monitor where HTTP is served. -1 is any free port of its
		// own.
		{"Monitor", "", section([]key{
			{"Host", "", set(&c.Monitor.Host, parseText, isHost)},
			{"Port", "", set(&c.Monitor.Port, parseInt, isMonitorPort)},
		})},
	}
}

// tlsKeys returns the keys of a section TLS: those of the files, and one more. The other names of
// the files are those of nats-server's own tls sections.
func tlsKeys(keyFile, cert, root *string, more key) []key {
	return []key{
		{"Key", "Key_File", path(keyFile)},
		{"Cert", "Cert_File", path(cert)},
		{"Root", "CA_File", path(root)},
		more,
	}
}

// names returns the name and the aliases.
func (k *key) names() []string { return append([]string{k.name}, strings.Fields(k.aliases)...) }

// find returns the key with a name or alias, in any letter case. It returns nil if there is none.
// There are some dozens of keys, so the list is searched. The result is an element of the list,
// which the caller must not change.
func find(keys []key, name string) *key {
	same := func(known string) bool { return strings.EqualFold(known, name) }
	for i := range keys {
		if slices.ContainsFunc(keys[i].names(), same) {
			return &keys[i]
		}
	}
	return nil
}

// findPath returns the key at a path, such as "nats.servers". It returns nil if there is none.
func findPath(keys []key, path string) *key {
	section, rest, isInside := strings.Cut(path, ".")
	k := find(keys, section)
	if k == nil || !isInside {
		return k
	}
	return findPath(k.keys, rest)
}
