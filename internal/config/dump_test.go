package config_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestTheDumpHasTheOriginalsFieldsInOrderAndNoSecret(t *testing.T) {
	c, _, err := load(t, `
		operator: eyJ0eXAiOiJKV1QifQ.hush.hush
		signrequesttimeout: 1500
		nats {
			servers: ["nats://ops:hush@a:4222", "hush@b:4222", "nats://c", "ops:hush@d"]
			usercredentials: /x.creds
			tls { root: /ca.pem, handshake_first: true }
		}
		http {
			host: h, port: 1, writetimeout: 2s
			tls { cert: /c, key: /k, root: /r, verify: require }
			authorization { write: {
				user: ops, password: "$2a$10$7EqJtq98hPqEX7fNZaFWoO3hush3hush3hush3hush3hush3hush3"
			} }
		}
		store { dir: /d, shard: true, allow_delete: true }`)
	if err != nil {
		t.Fatal(err)
	}
	text := c.Dump()
	if strings.Contains(text, "hush") || strings.Contains(text, "$2a$") {
		t.Errorf("it shows a secret:\n%s", text)
	}
	var d struct {
		NATS struct {
			Servers        []string
			MaxReconnects  int
			TLS            struct{ Root string }
			HandshakeFirst bool
		}
		HTTP struct {
			WriteTimeout int
			TLS          struct{ Verify string }
			Write        []string
		}
		Store              struct{ Dir string }
		SignRequestTimeout int
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	const servers = "nats://ops@a:4222 nats://b:4222 nats://c nats://ops@d"
	if got := strings.Join(d.NATS.Servers, " "); got != servers {
		t.Errorf("servers: %s", got)
	}
	if d.NATS.MaxReconnects != -1 || d.NATS.TLS.Root != "/ca.pem" || d.HTTP.WriteTimeout != 2000 ||
		d.HTTP.TLS.Verify != "require" || d.Store.Dir != "/d" || d.SignRequestTimeout != 1500 ||
		!d.NATS.HandshakeFirst || strings.Join(d.HTTP.Write, "") != "ops" {
		t.Errorf("it says:\n%s", text)
	}
	at := 0
	for _, field := range []string{
		"Logging", "Time", "Debug", "Trace", "Colors", "PID", "Custom", "NATS", "Servers",
		"ConnectTimeout", "ReconnectWait", "MaxReconnects",
		"TLS", "Key", "Cert", "Root", "UserCredentials", "HTTP", "Host", "Port", "TLS", "Key",
		"Cert", "Root", "ReadTimeout", "WriteTimeout",
		"Store", "Dir", "Shard", "CleanupInterval", "NSC", "ReadOnly", "OperatorJWTPath",
		"SystemAccountJWTPath", "SignRequestSubject",
		"SignRequestTimeout", "Primary", "ReplicationTimeout", "MaxReplicationPack",
	} {
		i := strings.Index(text[at:], `"`+field+`":`)
		if i < 0 {
			t.Fatalf("no %s behind the last one:\n%s", field, text)
		}
		at += i
	}
	c, _, err = load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if text := c.Dump(); !strings.Contains(text, `"Servers": null`) ||
		!strings.Contains(text, "\n  \"Logging\": {\n    \"Time\": true,") {
		t.Errorf("the default is\n%s", text)
	}
}

// TestTheNamesInTheDump: programs may read them, so a name, its place and the order never change.
func TestTheNamesInTheDump(t *testing.T) {
	for _, c := range []struct{ name, text, httpTLS string }{
		{"the defaults", "", "Key Cert Root"},
		{"verify is only shown where it is set",
			"http { tls { verify: true, root: r, cert: c, key: k } }", "Key Cert Root Verify"},
	} {
		conf, _, err := load(t, c.text)
		if err != nil {
			t.Fatal(err)
		}
		var d map[string]json.RawMessage
		if err := json.Unmarshal([]byte(conf.Dump()), &d); err != nil {
			t.Fatal(err)
		}
		var nats, http struct{ TLS json.RawMessage }
		if json.Unmarshal(d["NATS"], &nats) != nil || json.Unmarshal(d["HTTP"], &http) != nil {
			t.Fatal(conf.Dump())
		}
		for _, object := range []struct {
			name string
			json json.RawMessage
			want string
		}{
			{"all", json.RawMessage(conf.Dump()), "Logging NATS HTTP Store OperatorJWTPath " +
				"SystemAccountJWTPath SignRequestSubject SignRequestTimeout Primary " +
				"ReplicationTimeout MaxReplicationPack ForgetServer ClaimChecks PIDFile Monitor"},
			{"Logging", d["Logging"], "Time Debug Trace Colors PID Custom Audit " +
				"AuditRequired Format File SizeLimit MaxFiles Syslog RemoteSyslog"},
			{"NATS", d["NATS"],
				"Servers ConnectTimeout ReconnectWait MaxReconnects TLS UserCredentials " +
					"HandshakeFirst"},
			{"NATS.TLS", nats.TLS, "Key Cert Root"},
			{"HTTP", d["HTTP"], "Host Port TLS ReadTimeout WriteTimeout Write Read"},
			{"HTTP.TLS", http.TLS, c.httpTLS},
			{"Store", d["Store"],
				"Dir Shard CleanupInterval NSC ReadOnly AllowOlder AllowDelete StateDir CacheSize"},
		} {
			if got := strings.Join(members(t, object.json), " "); got != object.want {
				t.Errorf("%s: %s has %s, want %s", c.name, object.name, got, object.want)
			}
		}
	}
}

// members returns the names of the members of a JSON object in their order.
func members(t *testing.T, object json.RawMessage) (names []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			t.Fatalf("%v in %s", err, object)
		}
		names = append(names, name.(string))
	}
	return names
}

func TestTheDumpShowsOneOperatorAsATextAndSeveralAsAList(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   `""`,
		`operator: /a.jwt`:                   `"/a.jwt"`,
		`operator: [/a.jwt]`:                 `"/a.jwt"`,
		`operator: [/a.jwt, eyJ0.hush.hush]`: `["/a.jwt","(in the configuration)"]`,
	} {
		c, _, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		var dump struct{ OperatorJWTPath json.RawMessage }
		var got bytes.Buffer
		if err := json.Unmarshal([]byte(c.Dump()), &dump); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&got, dump.OperatorJWTPath); err != nil || got.String() != want {
			t.Errorf("%s: %s, want %s; %v", text, &got, want, err)
		}
	}
}
