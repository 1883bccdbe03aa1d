package config_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"nats-account-server/internal/config"
)

var update = flag.Bool("update", false, "write the table of the keys into the manual")

// described is a row of the table of the keys in the manual. The other names of the key come from keys.go.
type described struct {
	key, kind, standard string // standard: the default as a file would have it; "" for none
	meaning             string
}

// descriptions are in the order of the manual.
var descriptions = []described{
	{"operatorjwtpath", "JWT or list", "",
		"operator JWT: a file, bare or decorated, or the JWT itself; or a list of them, " +
			"see [Several operators](operating.md#several-operators)"},
	{"systemaccountjwtpath", "JWT", "",
		"system account JWT, served while the store has none that is good: a file, the JWT " +
			"itself, or only the account's public key"},
	{"signrequestsubject", "text", "",
		"NATS subject of a signing service, which signs what an account has signed itself"},
	{"signrequesttimeout", "duration", "1000",
		"time for its reply; also the most time for the lookup of an unknown account over " +
			"NATS"},
	{"primary", "text", "",
		"URL of the account server to follow: this server serves what that one has, and " +
			"pushes go there"},
	{"replicationtimeout", "duration", "5000",
		"time for the primary's replies"},
	{"maxreplicationpack", "integer", "10000",
		"the most accounts that `GET /jwt/v1/pack` returns, and that a replica asks for " +
			"when it starts; less than 0 is no limit, 0 is no pack"},
	{"forgetserver", "duration", "72h",
		"how long a nats-server may be away before it is forgotten, with the changes that " +
			"it has not acknowledged; at least 1 s"},
	{"listen", "text", "",
		"as `http.listen`: nats-server has this key at the top level"},
	{"claimchecks", "`refuse` or `warn`", "refuse",
		"what becomes of a pushed JWT whose claims nats-server refuses, see [What " +
			"nats-server refuses](rules.md#what-nats-server-refuses)"},
	{"pid_file", "path", "",
		"file for the process id; it is removed at a stop"},
	{"logging.time", "boolean", "true",
		"date and time in each line"},
	{"logging.debug", "boolean", "false",
		"lines for debugging"},
	{"logging.trace", "boolean", "false",
		"a line for each request"},
	{"logging.colors", "boolean", "",
		"colour the level; without it only if standard error is a terminal, `NO_COLOR` is " +
			"not set and `TERM` is not `dumb`"},
	{"logging.pid", "boolean", "false",
		"the process id in each line"},
	{"logging.format", "`text` or `json`", "text",
		"form of the lines, see [The log](monitoring.md#the-log)"},
	{"logging.file", "path", "",
		"file for the log, instead of standard error"},
	{"logging.size_limit", "integer", "0",
		"bytes, such as `100MB`, at which the file is renamed and begins anew; 0 is no " +
			"limit"},
	{"logging.max_files", "integer", "0",
		"how many log files are kept, the current one among them; 0 is all"},
	{"logging.syslog", "boolean", "false",
		"log to the syslog of this system"},
	{"logging.remote_syslog", "text", "",
		"log to another syslog: `udp://host:514`, `tcp://host:514`, `unix:///path`"},
	{"logging.audit", "path", "",
		"file for the audit; without it the audit is in the log"},
	{"logging.audit_required", "boolean", "false",
		"a push whose line in the audit can't be written is answered with 503 although it " +
			"is stored, and a deletion with an error"},
	{"http.host", "text", "localhost",
		"name or address to listen on; `\"\"` is every interface"},
	{"http.port", "integer", "9090",
		"0 is any free port"},
	{"monitor.host", "text", "",
		"where `monitor.port` listens; `\"\"` is `http.host`"},
	{"monitor.port", "integer", "0",
		"port for metrics and what is running, see [Watching " +
			"it](monitoring.md#watching-it); 0: they are where HTTP is, -1: any free port"},
	{"http.listen", "text", "",
		"`host:port`, both in one"},
	{"http.readtimeout", "duration", "5000",
		"time for a whole request; also how long an idle connection is kept"},
	{"http.writetimeout", "duration", "5000",
		"time for a response"},
	{"http.tls.cert", "path", "",
		"PEM file of the certificate, with intermediate certificates after it; turns TLS " +
			"on"},
	{"http.tls.key", "path", "",
		"PEM file of the key that belongs to `cert`"},
	{"http.tls.root", "path", "",
		"PEM file of the authorities that sign client certificates"},
	{"http.tls.verify", "boolean or `require`", "false",
		"`true`: a client needs a certificate or a password; `require`: always a " +
			"certificate"},
	{"http.authorization.write", "list of users", "",
		"who may push and read; without it everyone may, or with `verify` every client " +
			"with a certificate"},
	{"http.authorization.read", "list of users", "",
		"who may only read; without it everyone may, or with `verify` every client with a " +
			"certificate or a password"},
	{"nats.servers", "list of URLs", "",
		"where changes are announced; one text may hold several URLs, separated by commas"},
	{"nats.connecttimeout", "duration", "5000",
		"time for one attempt to connect; 0 is the default"},
	{"nats.reconnectwait", "duration", "1000",
		"time between attempts; at least 100 ms"},
	{"nats.maxreconnects", "integer", "-1",
		"has no effect: reconnecting never ends"},
	{"nats.usercredentials", "path", "",
		"creds file of a user of the system account"},
	{"nats.tls.root", "path", "",
		"PEM file of the authorities that sign nats-server's certificate; without it those " +
			"of the system"},
	{"nats.tls.cert", "path", "",
		"PEM file of our certificate, if nats-server asks for one"},
	{"nats.tls.key", "path", "",
		"PEM file of the key that belongs to `cert`"},
	{"nats.tls.handshake_first", "boolean", "false",
		"start TLS before nats-server sends anything, if nats-server is configured with " +
			"`handshake_first`"},
	{"store.dir", "path", "",
		"directory of the JWTs; without it they are in memory and lost at each stop"},
	{"store.shard", "boolean", "false",
		"a directory for each last two characters of the keys"},
	{"store.allow_older", "boolean", "false",
		"an older JWT may replace a newer one, to restore a backup"},
	{"store.readonly", "boolean", "false",
		"accept no pushes: serve what other programs put into `dir`, and announce what " +
			"changes there"},
	{"store.nsc", "path", "",
		"folder of an operator in nsc, served like a read-only directory; `dir` overrides " +
			"it"},
	{"store.statedir", "path", "",
		"directory for the index, if it is not to be beside the journal. A read-only " +
			"server has a store of its own there, with the JWTs that it serves and what it has " +
			"announced; without it each start announces everything"},
	{"store.kv.servers", "list of URLs", "",
		"nats-servers that keep the bucket which several account servers share; needs " +
			"`store.dir`; see [Many machines](machines.md#one-bucket)"},
	{"store.kv.usercredentials", "path", "",
		"creds file of a user of the account that has the bucket; a user and a password " +
			"may be in the URLs instead"},
	{"store.kv.tls.root", "path", "",
		"PEM file of the authorities that sign their certificates"},
	{"store.kv.tls.cert", "path", "",
		"PEM file of our certificate, if they ask for one"},
	{"store.kv.tls.key", "path", "",
		"PEM file of its key"},
	{"store.kv.tls.handshake_first", "boolean", "false",
		"start TLS before nats-server sends anything"},
	{"store.kv.bucket", "text", "ACCOUNT_JWTS",
		"name of the bucket, which is made if it is missing"},
	{"store.kv.replicas", "integer", "3",
		"how many nats-servers keep it; 1 to 5"},
	{"store.kv.history", "integer", "8",
		"how many versions of each account it keeps; 1 to 64"},
	{"store.kv.timeout", "duration", "8s",
		"how long a push may take until the bucket has it; 1 s to a minute"},
	{"store.kv.sync", "`require`, `warn` or `off`", "require",
		"what becomes of pushes while a nats-server of the bucket is known not to sync " +
			"each change"},
	{"store.cachesize", "bytes", "32MiB",
		"memory for verified JWTs that are asked for, some 1.3 KB each; more are read and " +
			"looked up in the index again; 0 is none"},
	{"store.cleanupinterval", "duration", "0",
		"how often accounts whose JWT has expired are deleted; 0 is never"},
	{"store.allow_delete", "boolean", "false",
		"the operator may delete accounts over NATS, as `nsc push --prune` and `nsc push " +
			"-R` do"},
}

// row returns the row with the key's other names.
func (d described) row() string {
	standard := ""
	if d.standard != "" {
		standard = "`" + d.standard + "`"
	}
	row := "| `" + d.key + "` | " + d.kind + " | " + standard + " | " + d.meaning
	if names := config.Aliases(d.key); len(names) > 0 {
		row += "; also spelled `" + strings.Join(names, "`, `") + "`"
	}
	return strings.ReplaceAll(row, " |  | ", " | | ") + " |\n"
}

// The table of the keys is made from the keys. With -update, this test writes it.
func TestTheManualHasTheKeysThatThereAre(t *testing.T) {
	const page, head, end = "../manual/configuration.md", "|---|---|---|---|\n", "\n\n"
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), head)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("the page has no table")
	}
	var table strings.Builder
	var keys []string
	for _, d := range descriptions {
		keys = append(keys, d.key)
		table.WriteString(d.row())
	}
	known := config.Keys()
	for _, key := range known {
		if !slices.Contains(keys, key) {
			t.Errorf("%s has no description", key)
		}
	}
	for _, key := range keys {
		if !slices.Contains(known, key) {
			t.Errorf("there is no key %s", key)
		}
	}
	made := strings.TrimSuffix(table.String(), "\n")
	if *update {
		if err := os.WriteFile(page, []byte(before+head+made+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if made != old {
		t.Error("the table is another one: run make generate")
	}
}
