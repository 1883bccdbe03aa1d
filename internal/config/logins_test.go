package config_test

import (
	"strings"
	"testing"
)

// The same hash with the prefixes of nats and of htpasswd.
const (
	hash2a = "$2a$04$abcdefghijklmnopqrstuuSGWk3YtYdlKvBfRdq6pDEsvIZHdJ.Cm"
	hash2y = "$2y$04$abcdefghijklmnopqrstuuSGWk3YtYdlKvBfRdq6pDEsvIZHdJ.Cm"
)

func TestMistakesInTheRestrictionOfAccess(t *testing.T) {
	ops := "{ user: ops, password: " + hash2a + " }"
	for _, c := range []struct{ name, text, want string }{
		{"a certificate without its key", "tls { cert: x }",
			"a.conf:1:20: http.tls.cert needs the key that belongs to it: http.tls.key is not set"},
		{"a key without its certificate", "tls { key_file: x }",
			"a.conf:1:24: http.tls.key needs the certificate it belongs to: " +
				"http.tls.cert is not set"},
		{"verification without TLS", "tls { verify: true }",
			"a.conf:1:22: http.tls.verify needs TLS"},
		{"verification without authorities", "tls { cert: c, key: k, verify: require }",
			"a.conf:1:39: http.tls.verify needs the authorities of client certificates: " +
				"http.tls.root is not set"},
		{"a word that is no boolean", "tls { verify: perhaps }",
			"a.conf:1:22: error parsing Verify option perhaps, it must be true, false or require"},
		{"a misspelt key of TLS", "tls { rot: x }",
			`a.conf:1:14: unknown key "rot" in section http.tls, did you mean "root"?`},
		{"nats-server's verify_and_map", "tls { verify_and_map: true }",
			`a.conf:1:14: unknown key "verify_and_map" in section http.tls`},

		{"readers only", "authorization { read: " + ops + " }",
			"a.conf:1:30: http.authorization.read without http.authorization.write would let " +
				"every client push"},
		{"no writers", "authorization { write: [] }",
			"a.conf:1:31: http.authorization.write has no login"},
		{"an empty writer", "authorization { write: {} }",
			"a.conf:1:31: a login has a user and a password, or a certificate"},
		{"no readers", "authorization { write: " + ops + ", read: [] }",
			"http.authorization.read has no login"},
		{"users without a role", "authorization { user: ops, password: x }",
			`a.conf:1:24: unknown key "user" in section http.authorization`},
		{"a misspelt role", "authorization { writer: " + ops + " }",
			`a.conf:1:24: unknown key "writer" in section http.authorization, did you mean "write"?`},
		{"a number for the section", "authorization: 1",
			"a.conf:1:23: struct field Authorization doesn't have a " +
				"matching map in the config file"},
		{"a bare name", "authorization { write: ops }",
			"a.conf:1:31: this must be { user: …, password: … } or { certificate: … }"},
		{"a list of names", "authorization { write: [ops] }",
			"a.conf:1:32: this must be { user: …, password: … }"},
		{"no password", "authorization { write: { user: ops } }",
			"a.conf:1:31: a login has a user and a password, or a certificate"},
		{"no user", "authorization { write: { password: " + hash2a + " } }",
			"a.conf:1:31: a login has a user and a password"},
		{"a password and a certificate", "authorization { write: { user: a, password: " + hash2a +
			", certificate: c } }", "a.conf:1:31: a login has a user and a password"},
		{"a user who can't log in", `authorization { write: { user: "a:b", password: ` + hash2a +
			" } }", "a.conf:1:39: a user's name can't have a colon"},
		{"an empty user", `authorization { write: { user: "", password: ` + hash2a + " } }",
			"a.conf:1:39: a name must be a text that is not empty"},
		{"a user in two lines", `authorization { write: { user: "a\nb", password: ` + hash2a +
			" } }", "a.conf:1:39: a name must be a text that is not empty"},
		{"a number for a user", "authorization { write: { user: 1, password: " + hash2a + " } }",
			"a.conf:1:39: a name must be a text"},
		{"two users in one", "authorization { write: { user: a, user: b, password: " + hash2a +
			" } }", "a.conf:1:48: user is given twice: write several users as a list"},
		{"another key", "authorization { write: { users: [] } }",
			`unknown key "users": a login has user and password, or certificate`},
		{"the same user twice", "authorization { write: " + ops + ", read: " + ops + " }",
			`"ops" is in http.authorization twice`},
		{"a certificate that is not asked for", "authorization { write: { certificate: a } }",
			`the certificate "a" has no effect without http.tls.verify`},
		{"a hash of htpasswd without quotes", "authorization { write: { user: a, password: " +
			hash2y + " } }", "a.conf:1:52: a bcrypt hash that begins with $2y$ must be in quotes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, "http { "+c.text+" }")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), hash2a[10:]) {
				t.Errorf("the error shows the hash: %v", err)
			}
		})
	}
}

func TestAPasswordMustBeAHash(t *testing.T) {
	good := hash2a
	for _, bad := range []string{
		"", "hush", "$1$abc$hush", "$2x$" + good[4:], "$2$" + good[4:], good[:59], good + "x",
		good[:20] + "!" + good[21:],
		"$2a$03" + good[6:], "$2a$15" + good[6:], "$2a$31" + good[6:],
		"$2a$99" + good[6:], " " + good,
	} {
		_, _, err := load(t, `http { authorization { write: { user: ops, password: "`+bad+`" } } }`)
		if err == nil || !strings.Contains(err.Error(), "a.conf:1:54: the ") ||
			(bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, _, err := load(t, `http { authorization { write: { user: ops, password: 4711 } } }`)
	if err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("a number: %v", err)
	}
}

func TestWarningsAboutTheRestrictionOfAccess(t *testing.T) {
	users := "authorization { write: { user: ops, password: " + hash2a + " } }"
	for _, c := range []struct{ text, want string }{
		{users, ""},
		{users + ", host: 127.0.0.2", ""},
		{users + `, host: "::1"`, ""},
		{users + `, host: ""`, "without http.tls, passwords are sent unencrypted"},
		{users + ", host: 192.0.2.1", "without http.tls, passwords are sent unencrypted"},
		{users + ", host: 192.0.2.1, tls { cert: c, key: k }", ""},
		{"tls { cert: c, key: k, root: r }",
			"a.conf:1:37: http.tls.root has no effect without http.tls.verify"},
	} {
		_, warnings, err := load(t, "http { "+c.text+" }")
		if err != nil {
			t.Error(err)
			continue
		}
		if (c.want == "") != (len(warnings) == 0) || c.want != "" &&
			!strings.Contains(warnings[0].Text, c.want) {
			t.Errorf("%s: %v", c.text, warnings)
		}
	}
}
