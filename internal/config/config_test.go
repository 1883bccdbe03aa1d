package config_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
)

// load reads a configuration text in a directory of its own.
func load(t *testing.T, text string, flags ...string) (config.Config, []config.Warning, error) {
	t.Helper()
	file := jwttest.File(t, t.TempDir(), "a.conf", []byte(text))
	f, err := config.ParseFlags(append([]string{"-c", file}, flags...), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return config.Load(f)
}

func abs(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func home(t *testing.T, rest string) string {
	t.Helper()
	h, err := os.UserHomeDir()
	if err != nil {
		t.Skip("there is no home directory")
	}
	return filepath.Join(h, rest)
}

// files are operators in files.
func files(paths ...string) (all []config.JWTRef) {
	for _, path := range paths {
		all = append(all, config.JWTRef{Path: path})
	}
	return all
}

// operatorPath is the file of the only operator; "" if there is none.
func operatorPath(c config.Config) string {
	if len(c.Operators) == 0 {
		return ""
	}
	return c.Operators[0].Path
}

func TestAnEmptyFileGivesTheDefaults(t *testing.T) {
	c, warnings, err := load(t, "")
	want := config.Config{
		File:    c.File,
		Logging: config.Logging{Format: logging.Format{Time: true}},
		HTTP: config.HTTP{Host: "localhost", Port: 9090, ReadTimeout: 5 * time.Second,
			WriteTimeout: 5 * time.Second},
		NATS: config.NATS{ConnectTimeout: 5 * time.Second, ReconnectWait: time.Second},

		Store: config.Store{CacheSize: 32 << 20},

		ForgetServer: 72 * time.Hour,
		ClaimChecks:  config.ChecksRefuse,
		SignTimeout:  time.Second,

		ReplicationTimeout: 5 * time.Second,
		MaxPack:            10000,
	}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, %v, %v", c, warnings, err)
	}
	if !filepath.IsAbs(c.File) {
		t.Errorf("File is %q", c.File)
	}
}

// TestEveryKeySetsItsField has one row for each key and each way to write it. want changes the
// defaults.
func TestEveryKeySetsItsField(t *testing.T) {
	key := jwttest.NewAccount(t).ID
	for _, c := range []struct {
		text string
		want func(*config.Config)
	}{
		{`operatorjwtpath: "/a/op.jwt"`, func(c *config.Config) {
			c.Operators = files("/a/op.jwt")
		}},
		{`OPERATORJWTPATH = /a/op.jwt`, func(c *config.Config) {
			c.Operators = files("/a/op.jwt")
		}},
		{`operator: /a/op.jwt`, func(c *config.Config) { c.Operators = files("/a/op.jwt") }},
		{`operator: [/a/op.jwt]`, func(c *config.Config) { c.Operators = files("/a/op.jwt") }},
		{`operatorjwtpath: [/a/op.jwt, eyJ0.e30.x]`, func(c *config.Config) {
			c.Operators = []config.JWTRef{{Path: "/a/op.jwt"}, {Token: "eyJ0.e30.x"}}
		}},
		{`operator: [b.jwt, "/a b/op.jwt"]`, func(c *config.Config) {
			c.Operators = files(abs(t, "b.jwt"), "/a b/op.jwt")
		}},
		{`operator: ""`, func(*config.Config) {}},
		{`operator: op.jwt`, func(c *config.Config) { c.Operators = files(abs(t, "op.jwt")) }},
		{`operator: ~/op.jwt`, func(c *config.Config) { c.Operators = files(home(t, "op.jwt")) }},
		{`operator: eyJ0.e30.x`,
			func(c *config.Config) { c.Operators = []config.JWTRef{{Token: "eyJ0.e30.x"}} }},
		{`SystemAccountJWTPath: /a/sys.jwt`,
			func(c *config.Config) { c.SystemAccount.Path = "/a/sys.jwt" }},
		{`system_account: ` + key, func(c *config.Config) { c.SystemAccount.Key = key }},
		{`system: /a/sys.jwt`, func(c *config.Config) { c.SystemAccount.Path = "/a/sys.jwt" }},
		{`logging { time: false, debug: true, trace: true, colors: off, pid: yes }`,
			func(c *config.Config) {
				c.Logging = config.Logging{Format: logging.Format{Colors: logging.ColorsNever,
					Debug: true, Trace: true, PID: true}}
			}},
		{`logging { colors: true }`,
			func(c *config.Config) { c.Logging.Colors = logging.ColorsAlways }},
		{`logging { custom: x }`, func(*config.Config) {}},
		{`http { host: "", port: 0 }`, func(c *config.Config) { c.HTTP.Host, c.HTTP.Port = "", 0 }},
		{`http { host: "::1" }`, func(c *config.Config) { c.HTTP.Host = "::1" }},
		{`http { host: "fe80::1%eth0" }`, func(c *config.Config) { c.HTTP.Host = "fe80::1%eth0" }},
		{`listen: 0.0.0.0:80`, func(c *config.Config) { c.HTTP.Host, c.HTTP.Port = "0.0.0.0", 80 }},
		{`http { listen: "[::]:80" }`, func(c *config.Config) {
			c.HTTP.Host, c.HTTP.Port = "::", 80
		}},
		{`http { Listen = ":80" }`, func(c *config.Config) { c.HTTP.Host, c.HTTP.Port = "", 80 }},
		{`operator: /o, nats { servers: "nats://u:p@a" }`, func(c *config.Config) {
			c.Operators, c.NATS.Servers = files("/o"), []string{"nats://u:p@a"}
		}},
		{`operator: /o, nats { servers: a, tls { cert: /c, key: /k } }`, func(c *config.Config) {
			c.Operators, c.NATS.Servers = files("/o"), []string{"a"}
			c.NATS.TLS = config.NATSTLS{Cert: "/c", Key: "/k"}
		}},
		{`monitor { host: a, port: 8222 }`, func(c *config.Config) {
			c.Monitor = config.Monitor{Host: "a", Port: 8222}
		}},
		{`monitor { port: -1 }`, func(c *config.Config) { c.Monitor.Port = -1 }},
		{`http { port: "8080" }`, func(c *config.Config) { c.HTTP.Port = 8080 }},
		{`http { readtimeout: 100, writetimeout: "7s" }`, func(c *config.Config) {
			c.HTTP.ReadTimeout, c.HTTP.WriteTimeout = 100*time.Millisecond, 7*time.Second
		}},
		{`http { readtimeout: 1m30s, writetimeout: "250" }`, func(c *config.Config) {
			c.HTTP.ReadTimeout, c.HTTP.WriteTimeout = 90*time.Second, 250*time.Millisecond
		}},
		{`http { tls { key: "", cert: "", root: "", verify: false } }`, func(*config.Config) {}},
		{`http { tls { cert: c, key: ~/k } }`,
			func(c *config.Config) {
				c.HTTP.TLS = config.HTTPTLS{Cert: abs(t, "c"), Key: home(t, "k")}
			}},
		{`http { tls { cert_file: /c, key_file: /k, ca_file: /r, verify: true } }`,
			func(c *config.Config) {
				c.HTTP.TLS = config.HTTPTLS{Cert: "/c", Key: "/k", Root: "/r",
					Verify: config.VerifyGiven}
			}},
		{`http { tls { cert: /c, key: /k, root: /r, verify: Require } }`, func(c *config.Config) {
			c.HTTP.TLS = config.HTTPTLS{Cert: "/c", Key: "/k", Root: "/r",
				Verify: config.VerifyRequire}
		}},
		{"http { authorization { write: { user: ops, password: " + hash2a + " } } }",
			func(c *config.Config) {
				c.HTTP.Write = []config.Login{{User: "ops", Hash: hash2a}}
			}},
		{"P: \"" + hash2y + "\"\nhttp { Authorization { Write { USER = ops, Password = $P }, " +
			"read: [ { user: a, password: '" + hash2y + "' }, { user: b, password: \"" + hash2y +
			"\" } ] } }", func(c *config.Config) {
			c.HTTP.Write = []config.Login{{User: "ops", Hash: hash2y}}
			c.HTTP.Read = []config.Login{{User: "a", Hash: hash2y}, {User: "b", Hash: hash2y}}
		}},
		{`http { tls { cert: /c, key: /k, root: /r, verify: true }, authorization { write: [{ ` +
			`certificate: "spiffe://a/b" }] } }`, func(c *config.Config) {
			c.HTTP.TLS = config.HTTPTLS{Cert: "/c", Key: "/k", Root: "/r",
				Verify: config.VerifyGiven}
			c.HTTP.Write = []config.Login{{Certificate: "spiffe://a/b"}}
		}},
		{`nats { servers: [nats://a:4222, "tls://b"] }`,
			func(c *config.Config) { c.NATS.Servers = []string{"nats://a:4222", "tls://b"} }},
		{`nats { servers: "nats://a:4222, nats://b:4222" }`,
			func(c *config.Config) { c.NATS.Servers = []string{"nats://a:4222", "nats://b:4222"} }},
		{`nats { servers: localhost:4222 }`,
			func(c *config.Config) { c.NATS.Servers = []string{"localhost:4222"} }},
		{`nats { servers: [] }`, func(*config.Config) {}},
		{`nats { connecttimeout: 250, reconnectwait: 2s, usercredentials: ~/x.creds, ` +
			`maxreconnects: -1 }`, func(c *config.Config) {
			c.NATS.ConnectTimeout, c.NATS.ReconnectWait = 250*time.Millisecond, 2*time.Second
			c.NATS.Credentials = home(t, "x.creds")
		}},
		{`nats { tls { root: r, cert: c, key: ~/k, handshake_first: true } }`,
			func(c *config.Config) {
				c.NATS.TLS = config.NATSTLS{Root: abs(t, "r"), Cert: abs(t, "c"), Key: home(t, "k"),
					HandshakeFirst: true}
			}},
		{`nats { tls { ca_file: /r, cert_file: /c, key_file: /k } }`, func(c *config.Config) {
			c.NATS.TLS = config.NATSTLS{Root: "/r", Cert: "/c", Key: "/k"}
		}},
		{`nats { tls { root: "", cert: "", key: "" } }`, func(*config.Config) {}},
		{`store { dir: "/tmp/as", shard: true, readonly: false, allow_older: on, nsc: "", ` +
			`cleanupinterval: 0, cachesize: 0 }`, func(c *config.Config) {
			c.Store = config.Store{Dir: "/tmp/as", Shard: true, AllowOlder: true}
		}},
		{`store { cachesize: 1048576 }`, func(c *config.Config) { c.Store.CacheSize = 1 << 20 }},
		{`store { cachesize: 2MiB }`, func(c *config.Config) { c.Store.CacheSize = 2 << 20 }},
		{`store { cachesize: "3mb" }`, func(c *config.Config) { c.Store.CacheSize = 3 << 20 }},
		{`signrequestsubject: sign.me, signrequesttimeout: 2500`,
			func(c *config.Config) {
				c.SignSubject, c.SignTimeout = "sign.me", 2500*time.Millisecond
			}},
		{`store { allow_delete: true }, maxreplicationpack: -1`,
			func(c *config.Config) { c.Store.AllowDelete, c.MaxPack = true, -1 }},
		{`store { dir: /d, kv { servers: ["nats://a", "b"], usercredentials: /c, bucket: B, replicas: 1, ` +
			`history: 64, timeout: "1m", sync: off, tls { root: /r, handshake_first: true } } }`,
			func(c *config.Config) {
				c.Store.Dir = "/d"
				c.Store.KV = config.KV{Servers: []string{"nats://a", "b"}, Credentials: "/c", Bucket: "B",
					Replicas: 1, History: 64, Timeout: time.Minute, Sync: config.KVSyncOff,
					TLS: config.NATSTLS{Root: "/r", HandshakeFirst: true}}
			}},
		{`store { dir: /d, kv { servers: x } }`, func(c *config.Config) {
			c.Store.Dir = "/d"
			c.Store.KV = config.KV{Servers: []string{"x"}, Bucket: "ACCOUNT_JWTS", Replicas: 3,
				History: 8, Timeout: 8 * time.Second, Sync: config.KVSyncRequire}
		}},
		{`store { dir: /d, readonly: true, statedir: /s }`,
			func(c *config.Config) {
				c.Store = config.Store{Dir: "/d", ReadOnly: true, StateDir: "/s", CacheSize: 32 << 20}
			}},
		{`store { dir: /d, cleanupinterval: 60000 }`,
			func(c *config.Config) {
				c.Store = config.Store{Dir: "/d", CleanupInterval: time.Minute, CacheSize: 32 << 20}
			}},
		{`operator: /o, primary: "http://p:9090/", replicationtimeout: 1s`, func(c *config.Config) {
			c.Operators, c.Primary = files("/o"), "http://p:9090/"
			c.ReplicationTimeout = time.Second
		}},
		{`store { readonly: true }`, func(c *config.Config) { c.Store.ReadOnly = true }},
		{`operator: /op.jwt, store { nsc: /n/OP }`, func(c *config.Config) {
			c.Store = config.Store{NSC: "/n/OP", ReadOnly: true, CacheSize: 32 << 20}
			c.Operators = files("/op.jwt")
		}},
		{`claimchecks: Warn`, func(c *config.Config) { c.ClaimChecks = config.ChecksWarn }},
		{`claimchecks: refuse`, func(*config.Config) {}},
		{`store { dir: as }`, func(c *config.Config) { c.Store.Dir = abs(t, "as") }},
		{`signrequesttimeout: 1000, replicationtimeout: 5000, maxreplicationpack: 10000, ` +
			`primary: ""`, func(*config.Config) {}},
		{"D: /tmp/x\nstore { dir: $D }", func(c *config.Config) { c.Store.Dir = "/tmp/x" }},
	} {
		t.Run(c.text, func(t *testing.T) {
			want, _, _ := load(t, "")
			c.want(&want)
			got, warnings, err := load(t, c.text)
			want.File = got.File
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%v, %v", warnings, err)
			}
			if len(got.NATS.Servers) == 0 {
				got.NATS.Servers = nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("\ngot  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMistakesAreErrorsWithTheirPosition(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "http {", "/a.conf:1:7: the map opened at line 1 is never closed"},
		{"a boolean of other words", "\nstore { shard: perhaps }",
			"a.conf:2:16: error parsing Shard option perhaps"},
		{"a word that claimchecks does not have", "\nclaimchecks: off",
			"a.conf:2:14: error parsing ClaimChecks option false, it must be refuse or warn"},
		{"a number for a boolean", "logging { pid: 1 }", "error parsing PID option 1"},
		{"a word for a number", "http { port: abc }",
			"a.conf:1:14: unable to parse integer abc for key Port"},
		{"a fraction", "http { port: 19010.5 }", "unable to parse integer 19010.5 for key Port"},
		{"a boolean for a number", "nats { maxreconnects: true }",
			"unable to parse integer true for key MaxReconnects"},
		{"an unknown unit", "http { readtimeout: 10x }",
			"unable to parse integer 10x for key ReadTimeout"},
		{"a number for a text", "http { host: 127 }", "error parsing Host option 127"},
		{"an empty list of operators", "operator: []",
			"a.conf:1:11: error parsing OperatorJWTPath option: the list is empty"},
		{"no name in a list of operators", `operator: [a, ""]`,
			"error parsing OperatorJWTPath option: an operator in the list is empty"},
		{"a number in a list of operators", "operator: [a, 1]",
			"error parsing OperatorJWTPath option 1"},
		{"two system accounts", "system_account: [a, b]", "exactly one is supported"},
		{"a list for a path", "store { dir: [a, b] }", "error parsing Dir option [a b]"},
		{"an integer for a server", "nats { servers: 65 }", "error parsing Servers option 65"},
		{"a boolean in the list", "nats { servers: [true] }",
			"error parsing Servers option [true], contents are not convertable"},
		{"a map for servers", "nats { servers: {a: b} }",
			"error parsing Servers option map[a:b], single element is not convertable"},
		{"a URL with a wrong scheme", "nats { servers: [http://a] }", `the URL scheme "http"`},
		{"a number for a section", "http: 3",
			"a.conf:1:7: struct field HTTP doesn't have a matching map in the config file"},
		{"a port out of range", "http { port: 70000 }",
			"a.conf:1:14: http.port 70000 is not between 0 and 65535"},
		{"a negative wait", "nats { reconnectwait: -1 }",
			"a.conf:1:23: nats.reconnectwait must not be negative"},
		{"a negative port", "http { port: -1 }", "http.port -1 is not between 0 and 65535"},
		{"a timeout of 0", "http { readtimeout: 0 }",
			"a.conf:1:21: http.readtimeout must be more than 0"},
		{"a negative timeout", `http { writetimeout: "-5s" }`,
			"a.conf:1:22: http.writetimeout must be more than 0"},
		{"less than no time to connect", "nats { connecttimeout: -1 }",
			"a.conf:1:24: nats.connecttimeout must not be negative"},
		{"a port in the host", `http { host: "localhost:9090" }`, `a.conf:1:14: http.host ` +
			`"localhost:9090" must be a name or an address alone, without brackets: the port is set in ` +
			`http.port`},
		{"brackets in the host", `http { host: "[::1]" }`, `http.host "[::1]" must be a name`},
		{"a URL for a host", `http { host: "http://localhost" }`,
			`"http://localhost" must be a name`},
		{"a star for every interface", `http { host: "*" }`, `http.host "*" must be a name`},
		{"a star to listen on", `listen: "*:80"`,
			`"*" is no name and no address; leave it out for every ` +
				`interface, as in :80`},
		{"a port alone to listen on", "listen: 9090",
			"a.conf:1:9: error parsing Listen option 9090, it must be host:port"},
		{"an address without a port", "http { listen: localhost }",
			"a.conf:1:16: error parsing Listen option: error parsing hostport: address " +
				"localhost: missing port in address, it must be host:port"},
		{"servers forgotten too soon", "forgetserver: 72",
			"a.conf:1:15: forgetserver must be at least 1 s; it is 72ms"},
		{"an absurd time", "nats { reconnectwait: 25h }",
			"a.conf:1:23: nats.reconnectwait must be at most a day, not 25h0m0s"},
		{"a duration that overflows", "http { readtimeout: 99999999999999999 }",
			"for key ReadTimeout: it is too large"},
		{"a port of a server out of range", "nats { servers: [nats://a:99999] }",
			"port 99999 is not between 0 and 65535"},
		{"a brace without white space", "http{port: 1}",
			"a.conf:1:1: white space must come between the " +
				`key "http" and '{'`},
		{"an empty directory", `store { dir: "" }`, "a.conf:1:14: store directory is required"},
		{"a missing variable", "store { dir: $NOSUCHVAR }",
			"a.conf:1:14: variable reference for 'NOSUCHVAR' can not be found"},
		{"a missing include", "include nofile.conf", "nofile.conf: no such file or directory"},
		{"a certificate for NATS without its key", "nats { tls { cert: x } }",
			"a.conf:1:20: nats.tls.cert needs the key"},
		{"a key for NATS without its certificate", "nats { tls { root: x, key_file: x } }",
			"a.conf:1:33: nats.tls.key needs the certificate"},
		{"TLS for NATS and a URL without", `nats { servers: ["ws://a"], tls { root: x } }`,
			"a.conf:1:17: nats.tls is set, but a ws:// URL"},
		{"a read-only store that deletes", "store { dir: x, readonly: true, allow_delete: true }",
			"a.conf:1:47: store.allow_delete is not for a server that is read-only"},
		{"a bucket without a directory", "store { kv { servers: x } }",
			"a.conf:1:12: store.kv needs store.dir"},
		{"a bucket of a read-only server", "store { dir: x, readonly: true, kv { servers: x } }",
			"store.kv is not for a server that is read-only"},
		{"a bucket of a replica", "operator: o, primary: \"http://h:1\", store { dir: x, kv { servers: x } }",
			"store.kv is not for a server with a primary"},
		{"a bucket whose servers are missing", "store { dir: x, kv { servers: [] } }",
			"a.conf:1:31: store.kv.servers is empty"},
		{"a bucket with a wildcard", "store { dir: x, kv { servers: x, bucket: \"a.>\" } }",
			"store.kv.bucket \"a.>\" must be a name"},
		{"a bucket with too many replicas", "store { dir: x, kv { servers: x, replicas: 6 } }",
			"store.kv.replicas must be from 1 to 5; it is 6"},
		{"a bucket without a history", "store { dir: x, kv { servers: x, history: 0 } }",
			"store.kv.history must be from 1 to 64; it is 0"},
		{"a bucket with a short timeout", "store { dir: x, kv { servers: x, timeout: 10 } }",
			"store.kv.timeout must be at least 1 s"},
		{"a bucket with a long timeout", "store { dir: x, kv { servers: x, timeout: \"2h\" } }",
			"store.kv.timeout must be at most a minute"},
		{"a bucket that is synced now and then", "store { dir: x, kv { servers: x, sync: sometimes } }",
			"it must be require, warn or off"},
		{"a password of a bucket", "store { dir: x, kv { servers: x, password: p } }",
			"a security setting is never ignored"},
		{"a certificate for a bucket alone", "store { dir: x, kv { servers: x, tls { cert: c } } }",
			"store.kv.tls.key is not set"},
		{"a state directory of a store in memory", "store { statedir: y }",
			"a.conf:1:19: store.statedir is for a directory or an nsc folder"},
		{"a state directory inside the store's", "store { dir: x, statedir: \"x/y\" }",
			"store.statedir must be another directory"},
		{"a state directory inside the read-only one",
			"store { dir: x, statedir: \"x/y/z\", readonly: true }",
			"store.statedir must be another directory"},
		{"a state directory that is the read-only one",
			"store { dir: x, statedir: x, readonly: true }",
			"store.statedir must be another directory"},
		{"a read-only store of other words", "store { readonly: perhaps }",
			"a.conf:1:19: error parsing ReadOnly option perhaps"},
		{"a cache that is less than none", "store { cachesize: -1 }",
			"a.conf:1:20: error parsing CacheSize option -1, it must be a number of bytes"},
		{"a cache of other words", `store { cachesize: "much" }`,
			"error parsing CacheSize option much, it must be a number of bytes, or a size such as 32MiB"},
		{"the cleanup interval", "store { cleanupinterval: -5 }",
			"store.cleanupinterval must not be negative"},
		{"a signing subject with a wildcard", `signrequestsubject: "x.*"`,
			"a.conf:1:21: signrequestsubject \"x.*\" is no subject to publish on"},
		{"a signing subject with a space", `signrequestsubject: "x y"`,
			"signrequestsubject \"x y\" is no subject"},
		{"a signing subject with an empty token", `signrequestsubject: "x."`,
			"is no subject to publish on"},
		{"no time for signing", "signrequesttimeout: 0", "signrequesttimeout must be more than 0"},
		{"a primary that is no URL", "operator: /o, primary: x",
			"a.conf:1:24: primary is not the URL of an account server"},
		{"a primary of another kind", "operator: /o, primary: nats://x", "primary is not the URL"},
		{"no time for the primary", "replicationtimeout: 0",
			"replicationtimeout must be more than 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := load(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
		})
	}
}

func TestAllMistakesAreNamedAtOnce(t *testing.T) {
	_, _, err := load(t, "http { port: abc, host: 1 }\nstore { shard: 3 }")
	if n := strings.Count(err.Error(), "a.conf:"); n != 3 {
		t.Errorf("%d mistakes named:\n%v", n, err)
	}
}

func TestMistakesAreNamedInTheOrderOfTheFile(t *testing.T) {
	const text = "http { readtimeout: 0, writetimeout: 0, port: -1 }\nnats { connecttimeout: -1 " +
		"}\nstore { dir: \"\" }"
	_, _, err := load(t, text, "-hp", "1234")
	if err == nil {
		t.Fatal("no mistake was found")
	}
	want := []string{":1:21: ", ":1:38: ", ":1:47: ", ":2:24: ", "hostport", ":3:14: "}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i, w := range want {
		if !strings.Contains(lines[i], w) {
			t.Errorf("line %d is %s, want %s", i, lines[i], w)
		}
	}
}

func TestErrorsShowNoPassword(t *testing.T) {
	for _, servers := range []string{
		`"nats://u:hush@"`, `"http://u:hush@h"`, `"nats://u:hush@h:x:y"`, `"nats://u:hush%zz@h"`,
		`"nats://u:hush@h:99999"`,
		`["nats://u:hush@h", true]`, `["nats://u:hu@sh@h", 65]`, `{ url: "nats://u:hush@h" }`,
		`[{ url: x, password: hush }]`,
	} {
		_, _, err := load(t, "nats { servers: "+servers+" }")
		if err == nil || strings.Contains(err.Error(), "hu") ||
			strings.Contains(err.Error(), "sh@") {
			t.Errorf("%s: %v", servers, err)
		}
	}
	if _, _, err := load(t, "", "-nats", "nats://u:hush@"); err == nil ||
		strings.Contains(err.Error(), "hush") {
		t.Errorf("-nats: %v", err)
	}
	if _, _, err := load(t, `http { port: "nats://u:hush@h" }`); err == nil ||
		strings.Contains(err.Error(), "hush") {
		t.Errorf("a URL in the wrong place: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		strict           bool
	}{
		{"an unknown key with a near one", "nats {\n  reconnecttimewait: 5 }",
			`a.conf:2:3: unknown key "reconnecttimewait" in section nats, did you mean ` +
				`"reconnectwait"?`, true},
		{"an unknown key at the top", "operatorjwt: x",
			`unknown key "operatorjwt" at the top level, did you mean "operator"?`, true},
		{"an unknown section", "htp { port: 1 }",
			`unknown key "htp" at the top level, did you mean "http"?`, true},
		{"nothing is like it", "resolver_preload { }",
			`unknown key "resolver_preload" at the top level`, true},
		{"a dotted key", "store.dir = x", `unknown key "store.dir"`, true},
		{"a dotted key of another section", "http.port: 1",
			`unknown key "http.port" at the top level: write http { port: … }`, true},
		{"a doubled key", "http { port: 1, port: 2 }",
			`a.conf:1:17: the key "port" is given again: this one counts, not the one at `, true},
		{"a key doubled in another case", "http { port: 1, PORT: 2 }",
			`the key "PORT" is given again`, true},
		{"a brace too many", "store { dir: x }}\n",
			"a.conf:1:17: nothing is open that '}' closes: it is " +
				"overlooked", false},
		{"a brace too many at the end", "store { dir: x }\n}\n",
			"a.conf:2:1: nothing is open that '}'", false},
		{"a brace that takes the next key", "store { dir: x }\n}\noperator:o",
			`a.conf:2:1: unknown key ` +
				`"}" at the top level`, true},
		{"a key and its alias", "operatorjwtpath: a, operator: b",
			`the key "operator" is given again`, true},
		{"a key doubled over two sections", "http { port: 1 }\nhttp { port: 2 }",
			`the key "port" is given again`, true},
		{"a section given twice", "http { port: 1 }\nhttp { host: a }",
			`a.conf:2:1: the section "http" is given again and merged`, false},
		{"a misspelt key of TLS", "nats { tls { rot: x } }",
			`unknown key "rot" in section nats.tls, did you mean "root"?`, true},
		{"an unknown key of TLS that restricts no access", "http { tls { timeout: 2 } }",
			`a.conf:1:14: unknown key "timeout" in section http.tls`, true},
		{"a folder of nsc beside a directory", "operator: o, store { dir: x, nsc: y }",
			"a.conf:1:35: store.nsc has no effect: store.dir wins", false},
		{"a folder of nsc without its operator", "store { nsc: y }", "there is no operator JWT in ",
			true},
		{"expired accounts of a read-only server",
			"store { dir: x, readonly: true, cleanupinterval: 5 }",
			"a.conf:1:50: store.cleanupinterval has no effect", false},
		{"too short a wait", "nats { reconnectwait: 99 }", "nats.reconnectwait is raised to 100 ms",
			false},
		{"reconnecting has no end", "nats { maxreconnects: 5 }",
			"maxreconnects has no effect", false},
		{"no time to connect", "nats { connecttimeout: 0 }",
			"a.conf:1:24: nats.connecttimeout 0 has no effect: it is 5s", false},
		{"an address and a host", `http { listen: "a:1", host: b }`,
			"a.conf:1:16: http.listen and http.host are given: the last one in the file counts",
			true},
		{"two addresses", `http { listen: "a:1" }, listen: "b:1"`,
			"listen and http.listen are given", true},
		{"no user for NATS", "operator: o, nats { servers: x }",
			"a.conf:1:30: nats.servers is set " +
				"without a user: set nats.usercredentials to the creds file of a " +
				"user of the system account",
			true},
		{"no wait at all", "nats { reconnectwait: 0 }",
			"a.conf:1:23: nats.reconnectwait is raised to 100 ms", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, warnings, err := load(t, c.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				if strings.Contains(w.Text, c.want) && w.Strict == c.strict {
					return
				}
			}
			t.Errorf("warnings %+v\nwant     %s", warnings, c.want)
		})
	}
}

func TestSectionsGivenTwiceLoseNothing(t *testing.T) {
	c, _, err := load(t, "http { host: a, port: 1 }\nhttp { port: 2 }")
	if err != nil || c.HTTP.Host != "a" || c.HTTP.Port != 2 {
		t.Errorf("%+v, %v", c.HTTP, err)
	}
}

func TestIncludesAreRelativeToTheirFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, filepath.Join(dir, "sub"), "http.conf", []byte("http { port: 7 }"))
	jwttest.File(t, filepath.Join(dir, "sub"), "all.conf", []byte("include http.conf"))
	file := jwttest.File(t, dir, "main.conf", []byte("include sub/all.conf"))
	c, warnings, err := config.Load(config.Flags{Config: file})
	if err != nil || len(warnings) > 0 || c.HTTP.Port != 7 {
		t.Errorf("%+v, %v, %v", c.HTTP, warnings, err)
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	file := `operator: /a, store { dir: /b, shard: true, allow_older: true }, nats { servers: ` +
		`[x, y], usercredentials: /c }, http { host: h, port: 1 }`
	for _, c := range []struct {
		flags []string
		want  func(*config.Config)
	}{
		{[]string{"-dir", "~/d"}, func(c *config.Config) {
			c.Store = config.Store{Dir: home(t, "d"), CacheSize: 32 << 20}
		}},
		{[]string{"--operator=/o"}, func(c *config.Config) { c.Operators = files("/o") }},
		{[]string{"-nats", "nats://n:1"},
			func(c *config.Config) { c.NATS.Servers = []string{"nats://n:1"} }},
		{[]string{"-creds", "x.creds"}, func(c *config.Config) {
			c.NATS.Credentials = abs(t,
				"x.creds")
		}},
		{[]string{"-hp", ":9091"}, func(c *config.Config) { c.HTTP.Host, c.HTTP.Port = "", 9091 }},
		{[]string{"-hp", "[::1]:0"}, func(c *config.Config) {
			c.HTTP.Host, c.HTTP.Port = "::1", 0
		}},
		{[]string{"-a", "::1"}, func(c *config.Config) { c.HTTP.Host = "::1" }},
		{[]string{"--port", "7"}, func(c *config.Config) { c.HTTP.Port = 7 }},
		{[]string{"-p", "-1"}, func(c *config.Config) { c.HTTP.Port = 0 }},
		{[]string{"-m", "8222"}, func(c *config.Config) { c.Monitor.Port = 8222 }},
		{[]string{"--http_port", "-1"}, func(c *config.Config) { c.Monitor.Port = -1 }},
		{[]string{"-p", "7", "--addr", "b", "-hp", "a:6"}, func(c *config.Config) {
			c.HTTP.Host, c.HTTP.Port = "b", 7
		}},
		{[]string{"-P", "/p"}, func(c *config.Config) { c.PIDFile = "/p" }},
		{[]string{"-l", "/l", "--log_size_limit", "10MB"}, func(c *config.Config) {
			c.Logging.File, c.Logging.SizeLimit = "/l", 10<<20
		}},
		{[]string{"-s"}, func(c *config.Config) { c.Logging.File, c.Logging.Syslog = "", true }},
		{[]string{"-r", "udp://h:514"}, func(c *config.Config) {
			c.Logging.File, c.Logging.RemoteSyslog = "", "udp://h:514"
		}},
		{[]string{"-D"}, func(c *config.Config) { c.Logging.Debug = true }},
		{[]string{"-V"}, func(c *config.Config) { c.Logging.Trace = true }},
		{[]string{"-DV"}, func(c *config.Config) { c.Logging.Debug, c.Logging.Trace = true, true }},
	} {
		want, _, err := load(t, file)
		if err != nil {
			t.Fatal(err)
		}
		c.want(&want)
		got, _, err := load(t, file, c.flags...)
		want.File = got.File
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v\ngot  %+v\nwant %+v", c.flags, err, got, want)
		}
	}
}

func TestADirectoryFlagReplacesAnEmptyDirectory(t *testing.T) {
	if c, _, err := load(t, `store { dir: "" }`, "-dir", "/d"); err != nil || c.Store.Dir != "/d" {
		t.Errorf("%+v, %v", c.Store, err)
	}
}

func TestEveryFlagSetsItsField(t *testing.T) {
	got, err := config.ParseFlags(strings.Fields(
		"-c a -dir b -nsc c -operator d -nats e -creds f -primary g -hp h -ro -D -V -DV -dump -t "+
			"--version --net i --port j --log k --log_size_limit l --syslog --remote_syslog m "+
			"--pid n --signal o"), &bytes.Buffer{})
	want := config.Flags{
		Config: "a", Dir: "b", NSC: "c", Operator: "d", NATS: "e", Creds: "f", Primary: "g",
		HostPort: "h", Host: "i", Port: "j", Log: "k", LogSizeLimit: "l", Syslog: true,
		RemoteSyslog: "m", PIDFile: "n", Signal: "o",
		ReadOnly: true, Debug: true, Trace: true, Both: true, Dump: true, Test: true, Version: true,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if f, err := config.ParseFlags([]string{"-v"}, &bytes.Buffer{}); err != nil || !f.Version {
		t.Errorf("-v gives %+v, %v", f, err)
	}
}

func TestAVariableComesFromTheEnvironment(t *testing.T) {
	t.Setenv("AS_PORT", "8088")
	if c, _, err := load(t, "http { port: $AS_PORT }"); err != nil || c.HTTP.Port != 8088 {
		t.Errorf("%+v, %v", c.HTTP, err)
	}
}

// The original takes every text but "true" for false.
func TestTextsForBooleans(t *testing.T) {
	for word, want := range map[string]bool{
		`"yes"`: true, `"on"`: true, `"1"`: true, `"TRUE"`: true, `"Yes"`: true, `true`: true,
		`"no"`: false, `"off"`: false, `"0"`: false, `"False"`: false,
		`"OFF"`: false, `false`: false,
	} {
		if c, _, err := load(t, "store { dir: x, shard: "+word+" }"); err != nil ||
			c.Store.Shard != want {
			t.Errorf("%s: %v, %v", word, c.Store.Shard, err)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"-hp", "1234"}, "error parsing hostport: address 1234: missing port in address"},
		{[]string{"-hp", "127.0.0.1:abc"},
			`error parsing hostport: strconv.Atoi: parsing "abc": invalid syntax`},
		{[]string{"-hp", "127.0.0.1:70000"},
			"error creating listener: listen tcp: address 70000: invalid port"},
		{[]string{"-hp", "127.0.0.1:-1"},
			"error creating listener: listen tcp: address -1: invalid port"},
		{[]string{"-primary", "x"}, "primary is not the URL of an account server"},
		{[]string{"-primary", "http://x"}, "a replica needs an operator"},
		{[]string{"-primary", "http://x", "-operator", "o", "-dir", "d", "-ro"},
			"replica mode cannot be used in read-only mode, but will not allow POST operations"},
		{[]string{"-primary", "http://x", "-nsc", "n"}, "replicas cannot be run in NSC mode"},
		{[]string{"-p", "x"}, "-p: unable to parse integer x for key Port"},
		{[]string{"-p", "70000"}, "-p: http.port 70000 is not between 0 and 65535"},
		{[]string{"-a", "h:1"}, `-a: http.host "h:1" must be a name or an address alone`},
		{[]string{"-r", "syslog"}, `-r: logging.remote_syslog: "syslog" is no address of a syslog`},
		{[]string{"--log_size_limit", "much"},
			"--log_size_limit: error parsing Size_Limit option much, it must be a number of bytes"},
		{[]string{"--log_size_limit", "-1"}, "it must be a number of bytes"},
		{[]string{"-nats", "http://x"}, "-nats: error parsing Servers option: the URL scheme"},
	} {
		if _, _, err := load(t, "", c.flags...); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.flags, err, c.want)
		}
	}
	var usage bytes.Buffer
	if _, err := config.ParseFlags([]string{"-bogus"}, &usage); err == nil ||
		!strings.Contains(usage.String(), "flag provided but not defined: -bogus") {
		t.Errorf("%v: %s", err, &usage)
	}
	for _, args := range []string{
		"server.conf", "-t server.conf", "-c a.conf b.conf", "-D false -c a.conf", "-t -- x",
	} {
		usage.Reset()
		if _, err := config.ParseFlags(strings.Fields(args), &usage); err == nil ||
			usage.String() != err.Error()+"\n" ||
			!strings.Contains(err.Error(), "belongs to no flag") {
			t.Errorf("%s: %v: %s", args, err, &usage)
		}
	}
	if _, err := config.ParseFlags([]string{"-h"}, &usage); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h gives %v", err)
	}
	if _, _, err := config.Load(config.Flags{Config: "/nonexist.conf"}); err == nil ||
		err.Error() != "error reading configuration file: open /nonexist.conf: no such file or "+
			"directory" {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestFullConfHasTheDefaults(t *testing.T) {
	got, _, err := config.Load(config.Flags{Config: "../../conf/full.conf"})
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want.File = got.File
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %+v\nwant %+v", got, want)
	}
}

// The table in the manual has the type and the default of a key after its name.
func TestTheManualHasTheDefaults(t *testing.T) {
	manual, err := os.ReadFile("../manual/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range config.Keys() {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(name) +
			"` \\| [^|]+ \\|(?: `([^`]+)`)? \\|")
		cells := row.FindStringSubmatch(string(manual))
		if cells == nil {
			t.Errorf("the manual has no row for %s", name)
			continue
		}
		if cells[1] != "" {
			sections := strings.Split(name, ".")
			key := sections[len(sections)-1] + ": " + cells[1]
			for _, section := range slices.Backward(sections[:len(sections)-1]) {
				key = section + " { " + key + " }"
			}
			text.WriteString(key + "\n")
		}
	}
	got, _, err := load(t, text.String())
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := load(t, "")
	want.File = got.File
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\ngot  %+v\nwant %+v", text.String(), got, want)
	}
}

func TestTheShippedFilesAreValid(t *testing.T) {
	files, err := filepath.Glob("../../conf/*.conf")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "nats-server") {
			continue // nats-server loads it, in the tests of the program
		}
		if _, warnings, err := config.Load(config.Flags{Config: f}); err != nil ||
			len(warnings) > 0 {
			t.Errorf("%s: %v, %v", f, warnings, err)
		}
	}
}

func TestTheManualAndFullConfHaveEveryKey(t *testing.T) {
	manual, err := os.ReadFile("../manual/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.ReadFile("../../conf/full.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range config.Keys() {
		if row := "| `" + name + "` |"; !strings.Contains(string(manual), row) {
			t.Errorf("the manual lacks %s", row)
		}
		if !strings.Contains(string(full), name[strings.LastIndexByte(name, '.')+1:]+":") {
			t.Errorf("conf/full.conf lacks %s", name)
		}
	}
}

func TestALinkDoesNotHideWhereAStateDirectoryIs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	for state, bad := range map[string]bool{
		"link":         true,
		"link/new":     true,
		"../elsewhere": false,
		"..beside":     true,
	} {
		_, _, err := load(t, fmt.Sprintf("store { dir: %q, readonly: true, statedir: %q }", dir,
			filepath.Join(dir, state)))
		if (err != nil) != bad {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// nsc keeps each operator in a folder below ~/.local/share/nats/nsc/stores.
func TestAFolderNearThatOfAnOperatorNamesIt(t *testing.T) {
	data := t.TempDir()
	stores := filepath.Join(data, "nats", "nsc", "stores")
	a, b := filepath.Join(stores, "A"), filepath.Join(stores, "My B")
	for _, operator := range []string{a, b} {
		if err := os.MkdirAll(filepath.Join(operator, "accounts", "SYS", "users"), 0o700); err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, operator, ".nsc", []byte("{}"))
		jwttest.File(t, operator, filepath.Base(operator)+".jwt", nil)
	}
	// An early nsc had a directory of this name in the home.
	copied := filepath.Join(data, "home", "copied")
	for _, dir := range []string{copied, filepath.Join(data, "home", ".nsc")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	both := "which has a file .nsc: take " + a + " or " + b
	for dir, want := range map[string]string{
		a: "", b: "", data: "", copied: "",
		stores: both, filepath.Dir(stores): both, filepath.Join(data, "nats"): both,
		filepath.Join(a, "accounts"): "take " + a,

		filepath.Join(a, "accounts", "SYS"):          "take " + a,
		filepath.Join(a, "accounts", "SYS", "users"): "take " + a,
	} {
		_, _, byFlag := config.Load(config.Flags{NSC: dir})
		_, _, byKey := load(t, fmt.Sprintf("operator: o, store { nsc: %q }", dir))
		for _, err := range []error{byFlag, byKey} {
			if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: %v", dir, err)
			}
		}
		if want != "" && (byKey == nil || !strings.Contains(byKey.Error(), "a.conf:1:27: ")) {
			t.Errorf("%s: %v", dir, byKey)
		}
	}
}

// The operator's JWT has the name of the directory, with spaces or underscores, or is the only JWT
// in it.
func TestTheOperatorIsFoundInADirectoryOfNSC(t *testing.T) {
	for folder, files := range map[string][]string{
		"OP":    {"OP.jwt", "other.jwt"},
		"My OP": {"My_OP.jwt", "other.jwt"},
		"My_OP": {"My OP.jwt", "other.jwt"},
		"mnt":   {"OP.jwt"},
		"empty": {},
		"many":  {"A.jwt", "B.jwt"},
	} {
		dir := filepath.Join(t.TempDir(), folder)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			jwttest.File(t, dir, name, nil)
		}
		want, byFlag := "", filepath.Join(dir, folder+".jwt")
		if folder != "empty" && folder != "many" {
			want = filepath.Join(dir, files[0])
			byFlag = want
		}
		c, warnings, err := load(t, fmt.Sprintf("store { nsc: %q }", dir))
		if err != nil || operatorPath(c) != want || (len(warnings) > 0) != (want == "") {
			t.Errorf("%s: %q, %v, %v", folder, operatorPath(c), warnings, err)
		}
		if c, _, err = config.Load(config.Flags{NSC: dir}); err != nil ||
			operatorPath(c) != byFlag {
			t.Errorf("%s with the flag: %q, %v", folder, operatorPath(c), err)
		}
	}
}
