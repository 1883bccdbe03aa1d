package config_test

import (
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
			tls { root: /ca.pem }
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
			Servers       []string
			MaxReconnects int
			TLS           struct{ Root string }
		}
		HTTP struct {
			WriteTimeout  int
			TLS           struct{ Verify string }
			Authorization struct{ Write []string }
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
		strings.Join(d.HTTP.Authorization.Write, "") != "ops" {
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
