package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"nats-account-server/internal/jwttest"
)

const anyPort = "http { host: \"127.0.0.1\", port: 0 }\n"

func configurationLanguage(t *testing.T) []behaviour {
	k := newParityEnv(t)
	if err := os.Mkdir(filepath.Join(k.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, k.dir, "part.conf", []byte("connecttimeout: 111"))
	jwttest.File(t, filepath.Join(k.dir, "sub"), "part.conf", []byte("connecttimeout: 222"))
	jwttest.File(t, filepath.Join(k.dir, "sub"), "whole.conf",
		[]byte(anyPort+"nats { include part.conf }"))
	return []behaviour{
		row("it is nats-server's language",
			shownBy("TestTheCorpusMeansTheSameToNatsServer",
				"TestRandomTextsMeanTheSameToNatsServer")),
		row("key: value, key = value, key value; comments; lines, commas and semicolons",
			k.dumps(anyPort+`
			# a comment
			nats { connecttimeout: 1001; reconnectwait = 1002, // another one
			usercredentials x.creds }`, nil, "NATS.ConnectTimeout", "1001",
				"NATS.ReconnectWait", "1002",
				"NATS.UserCredentials", `"$WORK/x.creds"`)),
		row("sections, includes and booleans in other words, where the original loses some",
			shownBy("TestSectionsGivenTwiceLoseNothing", "TestIncludesAreRelativeToTheirFile",
				"TestTextsForBooleans")),
		row("JSON", k.dumps(`{"http": {"host": "127.0.0.1", "port": 0},
			"nats": {"servers": ["nats://127.0.0.1:1"], "connecttimeout": 1003}}`, nil,
			"NATS.ConnectTimeout", "1003")),
		row("5k is 5000, and 1m a million",
			k.dumps(anyPort+"maxreplicationpack: 5k, nats { connecttimeout: 1m }", nil,
				"MaxReplicationPack", "5000", "NATS.ConnectTimeout", "1000000")),
		row("yes, no, on, off, true and false",
			k.dumps(anyPort+"logging { debug: on, trace: yes, colors: no, pid: true }", nil,
				"Logging.Debug", "true", "Logging.Trace", "true", "Logging.Colors",
				"false", "Logging.PID",
				"true")),
		row("a variable is a key of the file",
			k.dumps(anyPort+"DD: /tmp/x\nnats { usercredentials: $DD }", nil,
				"NATS.UserCredentials",
				`"/tmp/x"`)),
		row("a variable is read from the environment as configuration text",
			k.dumps(anyPort+"maxreplicationpack: $PARITY", nil, "MaxReplicationPack", "43")),
		row("a quoted variable is text", k.dumps(anyPort+`nats { usercredentials: "$PARITY" }`, nil,
			"NATS.UserCredentials", `"$WORK/$PARITY"`)),
		row("a missing variable", k.refuses("\nstore { dir: $NOSUCHVAR }",
			".conf:2:14: variable reference for 'NOSUCHVAR' can not be found")),
		row("a variable whose value is no configuration text", shownBy("TestEnvironmentErrors")),
		row("HOME is the only other variable that counts",
			shownBy("TestAVariableComesFromTheEnvironment")),
		row("an include is relative to the file it stands in, where the original takes the "+
			"working directory",
			k.dumps("", flags("-c sub/whole.conf"), "NATS.ConnectTimeout", "222")),
		row("a missing include", k.refuses("include \"nofile.conf\"",
			"nofile.conf: no such file or directory")),
		row("a key given twice: there is a warning",
			k.warns("maxreplicationpack: 1\nMaxReplicationPack: 2",
				`the key "MaxReplicationPack" is given again: this one counts`)),
		row("a key given twice: the last one counts, in whatever case",
			k.dumps(anyPort+"maxreplicationpack: 1\nmaxreplicationpack: 2", nil,
				"MaxReplicationPack", "2")),
		row("sections given twice are merged, where the original forgets the first",
			k.dumps("http { host: \"127.0.0.1\", port: 1 }\nhttp { port: 0 }", nil, "HTTP.Host",
				`"127.0.0.1"`, "HTTP.Port", "0")),
		row("a dotted key is an unknown key",
			k.dumps(anyPort+"store.dir = x", nil, "Store.Dir", `""`)),
		row("a syntax error says the line",
			k.refuses("http {\n  port: 1\n",
				".conf:3:1: the map opened at line 1 is never closed")),
		row("a closing brace too many is overlooked, with a warning",
			k.ends(0, flags("-t -c", k.file(t, "store { dir: x }\n}\n")),
				"parity", ":2:1: nothing is open that '}' closes: it is overlooked", "is valid")),
		row("an unfinished value is an error, where 0.8.4 panics",
			k.refuses("store { dir: ", "!goroutine", ".conf:1:")),
		row("an empty file is all defaults", k.ends(0, flags("-t -c", k.file(t, "")), "is valid")),
	}
}

func configurationKeys(t *testing.T) []behaviour {
	k := newParityEnv(t)
	return append(append([]behaviour{
		row("keys in any letter case", k.dumps("HTTP { Host: \"127.0.0.1\", PORT: 0 }\nNats { "+
			"ConnectTimeout: 1004 }", nil, "NATS.ConnectTimeout", "1004")),
		row("unknown keys are ignored at every level, with a warning",
			k.warns("bogus: 1\nnats { bogus: 2, tls { bogus: 3 } }\nhttp { tls { timeout: 2 } }\n"+
				"logging { custom: x }",
				`unknown key "bogus" at the top level`, `unknown key "bogus" in section nats`,
				`unknown key "bogus" in section nats.tls`,
				`unknown key "timeout" in section http.tls`,
				`!"custom"`)),
		row("unknown keys that encrypt or restrict access stop the start, where "+
			"the original ignores them",
			k.ends(1, flags("-c",
				k.file(t, anyPort+"tls { cert_file: c }\nauthorization { user: a }")),
				`parity`, `:2:1: unknown key "tls" at the top level, did you mean "nats.tls" or "http.tls"?`,
				`:3:1: unknown key "authorization" at the top level`, "!listening")),
		row("nats-server's listen, which the original ignores", k.dumps("listen: 127.0.0.1:0", nil,
			"HTTP.Host", `"127.0.0.1"`, "HTTP.Port", "0")),
		row("unknown keys change nothing",
			k.dumps(anyPort+"bogus: 1\nlogging { custom: x, nonsense: y }",
				nil, "Logging.Custom", "null")),
		row("the texts yes, on and 1 are true, where the original takes them for false",
			k.dumps(anyPort+`logging { debug: "yes", trace: "on", pid: "1" }`, nil,
				"Logging.Debug", "true", "Logging.Trace", "true", "Logging.PID", "true")),
		row("the text true in any case is true",
			k.dumps(anyPort+`logging { debug: "TRUE", time: "false" }`, nil,
				"Logging.Debug", "true", "Logging.Time", "false")),
		row("a number is no boolean",
			k.refuses("logging { pid: 1 }", "error parsing PID option 1")),
		row("a decimal text is an integer",
			k.dumps(anyPort+`maxreplicationpack: "77"`, nil, "MaxReplicationPack", "77")),
		row("a text that is neither true nor false is no boolean, where the "+
			"original takes it for false",
			k.refuses("logging { debug: abc }",
				"error parsing Debug option abc, it must be true or false")),
		row("a cleanupinterval may be a week",
			k.dumps(anyPort+"store { dir: mine, cleanupinterval: 604800000 }", nil,
				"Store.CleanupInterval", "604800000")),
		row("another time may be a day at most",
			k.refuses("nats { connecttimeout: 86400001 }",
				"nats.connecttimeout must be at most a day")),
		row("~ is the home directory in every path",
			k.dumps(anyPort+
				"operatorjwtpath: \"~/op.jwt\", systemaccountjwtpath: \"~/sys.jwt\"", nil,
				"OperatorJWTPath", `"$WORK/op.jwt"`, "SystemAccountJWTPath", `"$WORK/sys.jwt"`)),
		row("a word is no integer", k.refuses("http { port: abc }",
			"unable to parse integer abc for key Port")),
		row("a fraction is no integer", k.refuses("http { port: 19010.5 }",
			"unable to parse integer 19010.5 for key Port")),
		row("not even 3.0", k.refuses("nats { maxreconnects: 3.0 }",
			"unable to parse integer 3 for key MaxReconnects")),
		row("a boolean is no integer", k.refuses("nats { maxreconnects: true }",
			"unable to parse integer true for key MaxReconnects")),
		row("a time may be a duration, which the original refuses",
			k.dumps("http { host: \"127.0.0.1\", port: 0, readtimeout: 10s }",
				nil, "HTTP.ReadTimeout", "10000")),
		row("a number is no text",
			k.refuses("http { host: 127 }", "error parsing Host option 127")),
		row("a list of operators, where the original takes one text",
			k.dumps(anyPort+"operatorjwtpath: [op.jwt, op.jwt]", nil, "OperatorJWTPath",
				`["$WORK/op.jwt","$WORK/op.jwt"]`)),
		row("a list of operators without any",
			k.refuses("operatorjwtpath: []", "error parsing OperatorJWTPath option")),
		row("one text is a list of servers",
			k.dumps(anyPort+"nats { servers: \"nats://127.0.0.1:1\" }", nil, "NATS.Servers",
				`["nats://127.0.0.1:1"]`)),
		row("a text with commas is several servers",
			k.dumps(anyPort+"nats { servers: \"nats://127.0.0.1:1,nats://127.0.0.1:2\" }", nil,
				"NATS.Servers", `["nats://127.0.0.1:1","nats://127.0.0.1:2"]`)),
		row("an integer is no server, where the original makes a character of it",
			k.refuses("nats { servers: 65 }", "error parsing Servers option 65")),
		row("a boolean among the servers", k.refuses("nats { servers: [true] }",
			"error parsing Servers option [true], contents are not convertable")),
		row("a map for the servers", k.refuses("nats { servers: {a: b} }",
			"error parsing Servers option map[a:b], single element is not convertable")),
		row("a section that is none", k.refuses("http: 3",
			"struct field HTTP doesn't have a matching map in the config file")),
		row("a store that is null", k.refuses("store: null",
			"struct field Store doesn't have a matching map in the config file")),
		row("a port out of range is an error at once, where the original goes on until it is used",
			k.refuses("http { port: 70000 }", "http.port 70000 is not between 0 and 65535")),
		row("a negative port",
			k.refuses("http { port: -1 }", "http.port -1 is not between 0 and 65535")),
		row("no time to connect is the default, with a warning",
			k.warns("nats { connecttimeout: 0 }", "nats.connecttimeout 0 has no effect: it is 5s")),
		row("no time at all", k.refuses("http { readtimeout: 0 }",
			"http.readtimeout must be more than 0")),
		row("a negative wait, with which the original panics",
			k.refuses("nats { reconnectwait: -1 }", "nats.reconnectwait must not be negative")),
		row("a negative interval, with which the original panics",
			k.refuses("store { dir: mine, cleanupinterval: -5 }",
				"store.cleanupinterval must not be negative")),

		row("the defaults", k.dumps("store { }", flags("-hp 127.0.0.1:0"),
			"OperatorJWTPath", `""`, "SystemAccountJWTPath", `""`, "SignRequestSubject", `""`,
			"SignRequestTimeout", "1000",
			"Primary", `""`, "ReplicationTimeout", "5000", "MaxReplicationPack", "10000",
			"Logging.Time", "true", "Logging.Debug", "false", "Logging.Trace",
			"false", "Logging.Colors",
			"true", "Logging.PID", "false",
			"HTTP.ReadTimeout", "5000", "HTTP.WriteTimeout", "5000",
			"HTTP.TLS", `{"Cert":"","Key":"","Root":""}`,
			"NATS.Servers", "null", "NATS.ConnectTimeout", "5000", "NATS.ReconnectWait", "1000",
			"NATS.MaxReconnects", "-1",
			"NATS.UserCredentials", `""`,
			"NATS.TLS", `{"Cert":"","Key":"","Root":""}`,
			"Store.Dir", `""`, "Store.Shard", "false", "Store.ReadOnly", "false", "Store.NSC", `""`,
			"Store.CleanupInterval", "0")),
		row("the default address is localhost:9090", shownBy("TestAnEmptyFileGivesTheDefaults")),
		row("every key is taken", k.dumps(anyPort+`
			operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
			signrequestsubject: sign.me, signrequesttimeout: 1100
			replicationtimeout: 1200, maxreplicationpack: -1
			nats {
				servers: ["nats://127.0.0.1:1"], usercredentials: sys.creds
				connecttimeout: 1300, reconnectwait: 1400, maxreconnects: -1
			}
			store { dir: mine, shard: true, cleanupinterval: 1500, readonly: false, nsc: "" }`, nil,
			"OperatorJWTPath", `"$WORK/op.jwt"`, "SystemAccountJWTPath", `"$WORK/sys.jwt"`,
			"SignRequestSubject", `"sign.me"`, "SignRequestTimeout", "1100",
			"ReplicationTimeout", "1200", "MaxReplicationPack", "-1", "NATS.ConnectTimeout", "1300",
			"NATS.ReconnectWait", "1400",
			"NATS.UserCredentials", `"$WORK/sys.creds"`, "Store.Dir", `"$WORK/mine"`,
			"Store.Shard", "true",
			"Store.CleanupInterval", "1500")),
		row("-dump has the original's sections and fields, and shows no password",
			shownBy("TestTheDumpHasTheOriginalsFieldsInOrderAndNoSecret")),
		row("maxreconnects has no effect, where the original exits when they are used up",
			shownBy("TestItDialsAgainForEverAndTellsAsTheOriginal")),
		row("reconnecttimewait, as the original's documents spell it, is "+
			"an unknown key with a hint",
			k.refuses("nats { reconnecttimewait: 5 }",
				`unknown key "reconnecttimewait" in section nats, did you mean "reconnectwait"?`)),
		row("an empty host is every interface, and port 0 is any",
			k.dumps("http { host: \"\", port: 0 }", nil, "HTTP.Host", `""`)),
		row("dir wins over nsc in the file",
			k.dumps(anyPort+"operatorjwtpath: op.jwt, store { dir: mine, nsc: \"other\" }", nil,
				"Store.Dir", `"$WORK/mine"`, "Store.NSC", `""`)),
		row("the operator is found in nsc's folder from the file too, where "+
			"the original wants it named",
			shownBy("TestTheOperatorIsFoundInADirectoryOfNSC")),
	}, tlsKeys(k)...), natsTLSKeys()...)
}

func tlsKeys(k *parityEnv) []behaviour {
	return []behaviour{
		row("TLS of HTTP: 1.2 or later, HTTP/1.1, no client certificate "+
			"asked for unless configured",
			shownBy("TestTLSOfHTTP")),
		row("a certificate without its key",
			k.refuses("http { tls { cert: /nope } }", "http.tls.cert needs the key")),
		row("a key without its certificate, where the original serves without TLS",
			k.refuses("http { tls { key: /nope } }", "http.tls.key needs the certificate")),
		row("a certificate that is not there",
			k.refuses("http { tls { cert: /nope, key: /nope } }",
				"error loading X509 certificate/key pair: open /nope: no such file or directory")),
		row("a key of another certificate, and HTTP at a port with TLS",
			shownBy("TestTLSOfHTTP", "TestUnusableAccessFilesStopTheStart")),
	}
}

func natsTLSKeys() []behaviour {
	return []behaviour{
		row("TLS of NATS: root, and cert with key; tls:// without a section",
			shownBy("TestHandshakesThatSucceedOrAreExplained",
				"TestOneURLWithTLSAsksForItEverywhere")),
		row("a root file that is not there is an error at the start, where "+
			"the original tries for ever",
			shownBy("TestMisconfiguredTLSForNATSIsAnErrorAtStart")),
	}
}
