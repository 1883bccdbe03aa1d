package config_test

import (
	"fmt"
	"strings"
	"testing"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
)

// TestSecuritySettingsInAWrongPlaceStopTheStart has places where such a setting has no effect. The
// error names the place, and where the setting belongs.
func TestSecuritySettingsInAWrongPlaceStopTheStart(t *testing.T) {
	const tls = `, did you mean "nats.tls" or "http.tls"?; a security setting is never ignored`
	const users = "; a security setting is never ignored: users are set in http.authorization, " +
		"TLS in http.tls"
	const top = "a.conf:1:1: unknown key "
	for text, want := range map[string]string{
		// as in nats-server's file
		"tls { cert_file: c, key_file: k, verify: true }": top + `"tls" at the top level` + tls,
		"tls {}": `unknown key "tls" at the top level` + tls,
		"authorization { user: a, password: b }": top +
			`"authorization" at the top level, did you ` +
			`mean "http.authorization"?; a security setting is never ignored`,
		"authorization {}":     `unknown key "authorization" at the top level`,
		"users: [{ user: a }]": `unknown key "users" at the top level` + users,
		"user: a":              `unknown key "user" at the top level` + users,
		"username: a":          `unknown key "username" at the top level` + users,
		"password: b":          `unknown key "password" at the top level` + users,
		"token: b":             `unknown key "token" at the top level` + users,
		"verify: true":         `unknown key "verify" at the top level, did you mean "http.tls.verify"?`,
		"verify_and_map: true": `unknown key "verify_and_map" at the top level` + users,
		"cert_file: c":         `did you mean "nats.tls.cert_file" or "http.tls.cert_file"?`,
		"key_file: k":          `did you mean "nats.tls.key_file" or "http.tls.key_file"?`,
		"ca_file: k":           `did you mean "nats.tls.ca_file" or "http.tls.ca_file"?`,
		"read: {}":             `did you mean "http.authorization.read"?`,

		// in other sections
		"http { cert: c, key: k }":          `"cert" in section http, did you mean "http.tls.cert"?`,
		"http { verify: true }":             `"verify" in section http, did you mean "http.tls.verify"?`,
		"http { users: [] }":                `unknown key "users" in section http` + users,
		"http { write: [] }":                `did you mean "http.authorization.write"?`,
		"http { tls { authorization {} } }": `unknown key "authorization" in section http.tls`,
		"http { tls { certificate: c } }": `"certificate" in section http.tls; a security ` +
			`setting is never ignored: the keys here are key, cert, root, verify`,
		"nats { user: a, password: b }": `unknown key "user" in section nats; a security setting is never ` +
			`ignored: a user is set in nats.usercredentials or in the URL of nats.servers`,
		"nats { token: b }":           `unknown key "token" in section nats`,
		"nats { authorization {} }":   `unknown key "authorization" in section nats`,
		"nats { tls { verify: on } }": `unknown key "verify" in section nats.tls`,
		"store { tls {} }":            `unknown key "tls" in section store` + tls,
		"logging { authorization: 1}": `unknown key "authorization" in section logging`,
		`http { basic_auth: "a:b" }`:  `unknown key "basic_auth" in section http` + users,
		"http { htpasswd: f }":        `unknown key "htpasswd" in section http` + users,
		"http { client_auth: on }":    `unknown key "client_auth" in section http` + users,
		"http { credentials: f }":     `unknown key "credentials" in section http` + users,
		"http { Secret: x }":          `unknown key "Secret" in section http` + users,
		"http { allowed_ips: [] }":    `unknown key "allowed_ips" in section http` + users,
		"http { acl {} }":             `unknown key "acl" in section http` + users,
		"http { mutual_tls: on }":     `unknown key "mutual_tls" in section http` + users,
		`http { tls { min_version: "1.3" } }`: `"min_version" in section http.tls; a security setting is ` +
			`never ignored: the keys here are key, cert, root, verify`,
		"http { tls { cipher_suites: [] } }": `unknown key "cipher_suites" in section http.tls; a security`,

		// misspelt, or under another name
		"authorisation {}":              `did you mean "http.authorization"?; a security`,
		"http { authentication {} }":    `did you mean "authorization"?; a security`,
		"http { auth {} }":              `unknown key "auth" in section http` + users,
		"http { ssl {} }":               `unknown key "ssl" in section http` + users,
		"http { tsl {} }":               `unknown key "tsl" in section http` + users,
		"nats { tlss {} }":              `did you mean "tls"?; a security`,
		"http.tls { cert: c }":          `"http.tls" at the top level: write http { tls: … }; a security`,
		"http.tls.verify = true":        `write http { tls { verify: … } }; a security`,
		"htp { tls { cert: c } }":       `a.conf:1:7: "tls" is in section htp, which is unknown; a security`,
		"server { http { users: [] } }": `a.conf:1:17: "users" is in section server.http, which is unknown`,
		"servers: [{ tls {} }]":         `a.conf:1:13: "tls" is in section servers, which is unknown`,
	} {
		if _, _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// A closing brace too many is overlooked, so what was in the section is at the top level.
func TestASecuritySettingAfterASurplusBraceStopsTheStart(t *testing.T) {
	for text, want := range map[string]string{
		"http { port: 1 }\n tls { cert: c }\n}":     `unknown key "tls" at the top level`,
		"http { port: 1 }}\nauthorization: {}":      `unknown key "authorization" at the top level`,
		"http { port: 1 }\n}\nauthorization {}":     "found '{' after a value",
		"http { port: 1 }\n}authorization {}":       `unknown key "}authorization" at the top level`,
		"http { port: 1 }\n} { authorization: {} }": `"authorization" is in section }, which is unknown`,
		"http{authorization {}}":                    `white space must come between the key "http" and '{'`,
		"http{ authorization: {}}": "white space must come " +
			"between the key 'http' and '{'",
		"http{authorization: {}}": `white space must come between the key "http" and '{'`,
	} {
		if _, _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestASecuritySettingMayBeAVariable(t *testing.T) {
	const text = "token: hush, tls: { cert: c, key: k }\nnats { servers: " +
		"$token }, http { tls: $tls }"
	if _, warnings, err := load(t, text); err != nil || len(warnings) > 0 {
		t.Error(warnings, err)
	}
}

// TestSuggestionsNameTheSection has unknown keys of people's files. Most of them are nats-server's,
// or ours in another section. What nothing is like gets no suggestion.
func TestSuggestionsNameTheSection(t *testing.T) {
	for unknown, want := range map[string]string{
		"port": "http.port", "host": "http.host", "http_port": "http.port", "ports": "http.port",
		"debug": "logging.debug", "trace": "logging.trace", "colours": "logging.colors",
		"audit": "logging.audit",
		"dir":   "store.dir", "store_dir": "store.dir", "nsc": "store.nsc",
		"read_only": "store.readonly",
		"servers":   "nats.servers", "nats_servers": "nats.servers",
		"user_credentials":  "nats.usercredentials",
		"reconnecttimewait": "nats.reconnectwait", "readtimeout": "http.readtimeout",
		"operators": "operator", "operator_jwt_path": "operatorjwtpath",
		"systemaccount": "system_account",
		"listening":     "listen", "lisen": "listen", "bind": "", "address": "",
		"server_name": "", "name": "",
		"log_file": "logging.log_file", "pid_files": "pid_file", "jetstream": "", "accounts": "",
		"cluster": "", "leafnodes": "",
		"gateway": "", "websocket": "", "mqtt": "", "resolver": "", "resolver_preload": "",
		"resolver_tls": "", "trusted_keys": "", "max_payload": "", "max_connections": "",
		"no_auth_user": "", "lame_duck_duration": "", "directory": "", "url": "", "timeout": "",
		"version": "", "monitor_port": "monitor.port", "interval": "", "hist": "", "dirs": "",
	} {
		_, warnings, err := load(t, unknown+": {}")
		if err != nil || len(warnings) != 1 {
			t.Errorf("%s: %v, %v", unknown, warnings, err)
			continue
		}
		_, got, _ := strings.Cut(warnings[0].Text, "did you mean ")
		if strings.Trim(got, `"?`) != want {
			t.Errorf("%s: %s, want %s", unknown, warnings[0].Text, want)
		}
	}
	for text, want := range map[string]string{
		"store { host: x }": "http.host", "http { dir: x }": "store.dir",
		"nats { server: x }":  "servers",
		"http { servers: x }": "nats.servers", "logging { level: x }": "", "store { type: x }": "",
	} {
		_, warnings, err := load(t, text)
		if err != nil || len(warnings) != 1 {
			t.Errorf("%s: %v, %v", text, warnings, err)
			continue
		}
		_, got, _ := strings.Cut(warnings[0].Text, "did you mean ")
		if strings.Trim(got, `"?`) != want {
			t.Errorf("%s: %s, want %s", text, warnings[0].Text, want)
		}
	}
}

// The keys of the two TLS sections are not each other's, and a user's nkey is no key of TLS.
func TestASecuritySettingIsNotSoughtWhereItMeansAnotherThing(t *testing.T) {
	const users = "; a security setting is never ignored: a user is set in nats.usercredentials"
	for text, want := range map[string]string{
		"nats { nkey: U }": `unknown key "nkey" in section nats` + users,
		"nats { tls { verify: true }}": `"verify" in section nats.tls; a security setting is ` +
			"never ignored: the keys",
		"http { tls { handshake_first: on }}": `unknown key "handshake_first" in section http.tls`,
	} {
		_, warnings, err := load(t, text)
		got := fmt.Sprint(warnings, err)
		if !strings.Contains(got, want) || strings.Contains(got, "did you mean") {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// TestAnAddressMovesOnlyIfAnotherOneIsGiven, in whatever way.
func TestAnAddressMovesOnlyIfAnotherOneIsGiven(t *testing.T) {
	running, _, err := load(t, "http { host: a, port: 1 }")
	if err != nil {
		t.Fatal(err)
	}
	const end = " any more, and the server would move to "
	for text, want := range map[string]string{
		"listen: localhost:9090":               "",
		"http { listen: \"localhost:9090\"}":   "",
		"http { host: b, port: 2 }":            "",
		"http { host: localhost, port: 9090 }": "",
		"":                                     "http" + end + "localhost:9090",
		"http {}":                              "http.port" + end + "localhost:9090",
		"http { host: a }":                     "http.port" + end + "a:9090",
		"http { port: 1 }":                     "http.host" + end + "localhost:1",
	} {
		file := jwttest.File(t, t.TempDir(), "a.conf", []byte(text))
		_, _, err := config.Reload(config.Flags{Config: file}, running)
		isTaken := err == nil
		if isTaken != (want == "") || !isTaken && !strings.Contains(err.Error(), "has no "+want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
