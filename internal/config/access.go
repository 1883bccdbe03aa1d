package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"nats-account-server/internal/natsconf"
)

// verify takes a boolean, or the word require.
func (k *key) verify(value any) (Verify, error) {
	if s, ok := value.(string); ok && strings.EqualFold(s, "require") {
		return VerifyRequire, nil
	}
	switch given, err := k.bool(value); {
	case err != nil:
		return VerifyNone, fmt.Errorf("error parsing %s option %v, it must be true, false or require", k.name, show(value))
	case given:
		return VerifyGiven, nil
	default:
		return VerifyNone, nil
	}
}

// logins reads one { user, password } or { certificate }, or a list of them. It is never nil: to list nobody does not
// mean everybody.
func (l *loader) logins(v natsconf.Value) []Login {
	all := []Login{}
	list, ok := v.Data.([]natsconf.Value)
	if !ok {
		list = []natsconf.Value{v}
	}
	for _, one := range list {
		var login Login
		if m, ok := one.Data.(*natsconf.Map); ok {
			login = l.login(one.Pos, m)
		} else {
			l.mistake(one.Pos, "this must be { user: …, password: … } or { certificate: … }, or a list of such")
		}
		all = append(all, login)
	}
	return all
}

// login reads one of them.
func (l *loader) login(at natsconf.Pos, m *natsconf.Map) (login Login) {
	before := len(l.mistakes)
	for _, e := range m.Entries {
		if err := login.set(e.Key, e.Value.Data); err != nil {
			l.mistake(e.Value.Pos, "%s", err)
		}
	}
	byPassword := login.User != "" && login.Hash != "" && login.Certificate == ""
	byCertificate := login.User == "" && login.Hash == "" && login.Certificate != ""
	if len(l.mistakes) == before && !byPassword && !byCertificate {
		l.mistake(at, "who may log in has a user and a password, or a certificate")
	}
	return login
}

// set takes one key. No error shows what stands for a password.
func (o *Login) set(key string, value any) error {
	text, ok := value.(string)
	for _, field := range []struct {
		name  string
		into  *string
		check func(string) error
	}{
		{"user", &o.User, checkUser},
		{"password", &o.Hash, checkHash},
		{"certificate", &o.Certificate, checkName},
	} {
		if !strings.EqualFold(key, field.name) {
			continue
		}
		if !ok {
			text = "" // a number, say
		}
		if *field.into != "" {
			return fmt.Errorf("%s is given twice: several users stand in a list, [ {…}, {…} ]", field.name)
		}
		*field.into = text
		return field.check(text)
	}
	return fmt.Errorf("unknown key %q: who may log in has user and password, or certificate", key)
}

// checkUser refuses a name that the scheme Basic can't carry.
func checkUser(name string) error {
	if strings.Contains(name, ":") {
		return errors.New("a user's name can't have a colon")
	}
	return checkName(name)
}

const maxName = 255

func checkName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("a name must be a text that is not empty, of no more than 255 bytes, without control characters")
	}
	return nil
}

// maxCost is the dearest hash that is taken. Each step doubles the time of a login, and nats-server waits for its
// answer no longer than 1.9 s.
const maxCost = 14

// bcryptHash is what nats ($2a$), htpasswd ($2y$) and other tools ($2b$) write; all three mean the same.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

func checkHash(text string) error {
	parts := bcryptHash.FindStringSubmatch(text)
	if parts == nil {
		return errors.New("the password must be a bcrypt hash, as \"nats server passwd\" or \"htpasswd -nBC 11 <user>\" make it")
	}
	if cost, _ := strconv.Atoi(parts[1]); cost < 4 || cost > maxCost {
		return fmt.Errorf("the bcrypt cost of the password is %d, it must be from 4 to %d: a login must not take seconds", cost, maxCost)
	}
	return nil
}

// checkLogins refuses what would leave the door more open than it looks.
func (l *loader) checkLogins() {
	h := l.config.HTTP
	writeAt, readAt := l.httpAt["http.authorization.write"], l.httpAt["http.authorization.read"]
	switch {
	case h.Write == nil && h.Read == nil:
		return
	case h.Write == nil:
		l.mistake(readAt, "http.authorization.read without http.authorization.write would let everybody push")
	case len(h.Write) == 0:
		l.mistake(writeAt, "http.authorization.write names nobody")
	case h.Read != nil && len(h.Read) == 0:
		l.mistake(readAt, "http.authorization.read names nobody")
	}
	l.checkNames(writeAt, slices.Concat(h.Write, h.Read))
}

func (l *loader) checkNames(at natsconf.Pos, all []Login) {
	seen := map[Login]bool{}
	passwords := false
	for _, o := range all {
		if o.Certificate != "" && l.config.HTTP.TLS.Verify == VerifyNone {
			l.mistake(at, "the certificate %q counts only with http.tls.verify", o.Certificate)
		}
		passwords = passwords || o.User != ""
		o.Hash = ""
		if seen[o] && o != (Login{}) {
			l.mistake(at, "%q stands in http.authorization twice", o.User+o.Certificate)
		}
		seen[o] = true
	}
	if passwords && l.config.HTTP.TLS.Cert == "" && !isLocal(l.config.HTTP.Host) {
		l.warn(at, false, "without http.tls passwords travel for everybody on the way to read")
	}
}

// isLocal says whether a host's clients are on this machine.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip.IsLoopback()
}

// checkHTTPTLS refuses what would leave HTTP without the safety that was asked for.
func (l *loader) checkHTTPTLS() {
	t := l.config.HTTP.TLS
	at := func(name string) natsconf.Pos { return l.httpAt["http.tls."+name] }
	switch {
	case t.Cert != "" && t.Key == "":
		l.mistake(at("cert"), "http.tls.cert needs the key that belongs to it: http.tls.key is not set")
	case t.Key != "" && t.Cert == "":
		l.mistake(at("key"), "http.tls.key needs the certificate it belongs to: http.tls.cert is not set")
	case t.Verify != VerifyNone && t.Cert == "":
		l.mistake(at("verify"), "http.tls.verify needs TLS: http.tls.cert and http.tls.key are not set")
	case t.Verify != VerifyNone && t.Root == "":
		l.mistake(at("verify"), "http.tls.verify needs the authorities that may vouch for clients: http.tls.root is not set")
	case t.Verify == VerifyNone && t.Root != "":
		l.warn(at("root"), false, "http.tls.root has no effect without http.tls.verify")
	}
}
