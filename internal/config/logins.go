package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"nats-account-server/internal/natsconf"
)

// logins sets a list of logins, given as a list of maps or as one map. The list is never nil,
// because a nil list means that every client may. It reports each mistake where it is. Example: [ {
// user: "ci", password: "$2a$11$…" }, { certificate: "ops" } ].
func logins(into *[]Login) field {
	read := func(l *loader, _, _ string, v natsconf.Value) error {
		// One login needs no brackets.
		list, ok := v.Data.([]natsconf.Value)
		if !ok {
			list = []natsconf.Value{v}
		}
		*into = []Login{} // an empty list is not nil, and a mistake
		for _, v := range list {
			*into = append(*into, l.login(v))
		}
		return nil
	}
	// The dump shows the names only.
	return field{set: read, show: func() any { return shown(*into) }}
}

// login reads one { user, password } or { certificate }. After a mistake it returns what could be
// read; the draft is not used then. Exactly one of the two forms must be whole.
func (l *loader) login(v natsconf.Value) (login Login) {
	m, ok := v.Data.(*natsconf.Map)
	if !ok {
		l.mistake(v.Pos,
			"this must be { user: …, password: … } or { certificate: … }, or a list of such")
		return login
	}
	// A missing field is reported only if every given one is right.
	before := len(l.mistakes)
	for _, e := range m.Entries {
		if err := login.set(e.Key, e.Value.Data); err != nil {
			l.mistake(e.Value.Pos, "%s", err)
		}
	}
	// A login has exactly one of two forms.
	byPassword := login.User != "" && login.Hash != "" && login.Certificate == ""
	byCertificate := login.User == "" && login.Hash == "" && login.Certificate != ""
	if len(l.mistakes) == before && !byPassword && !byCertificate {
		l.mistake(v.Pos, "a login has a user and a password, or a certificate")
	}
	return login
}

// set sets one field by its key, in any letter case. An error does not show the value, which may be
// a password.
func (o *Login) set(key string, value any) error {
	var into *string
	check := checkName
	switch key = strings.ToLower(key); key {
	case "user":
		into, check = &o.User, checkUser
	case "password":
		into, check = &o.Hash, checkHash
	case "certificate":
		into = &o.Certificate
	default:
		return fmt.Errorf("unknown key %q: a login has user and password, or certificate", key)
	}
	// An earlier value in the same login is probably one of another user.
	if *into != "" {
		return fmt.Errorf("%s is given twice: write several users as a list, [ {…}, {…} ]", key)
	}
	*into, _ = value.(string) // "" for a number or a list, which the checks refuse
	return check(*into)
}

// checkUser returns an error for a name that HTTP Basic authentication can't transport. RFC 7617
// separates user and password by the first colon, so a name has none.
func checkUser(name string) error {
	// In the header a colon ends the name.
	if strings.Contains(name, ":") {
		return errors.New("a user's name can't have a colon")
	}
	return checkName(name)
}

// maxNameBytes is the most bytes of a user's name or a name in a certificate. No real name is
// longer, and a log line must be able to show it.
const maxNameBytes = 255

// checkName returns an error for a name that is empty, too long or not printable in one line.
func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("a name must be a text that is not empty, of no more than 255 bytes, " +
			"without control characters")
	}
	return nil
}

// minCost is the least cost of a bcrypt hash. Each step above it doubles the time of a login.
// maxCost keeps that below 1.9 s, which is how long nats-server waits for its account.
const minCost, maxCost = 4, 14

// bcryptHash matches what nats ($2a$), htpasswd ($2y$) and other tools ($2b$) write. The three
// prefixes have the same meaning.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// checkHash returns an error for a password that is not a bcrypt hash of a permitted cost. The
// error does not show the text, which may be the password itself. "nats server passwd" and
// "htpasswd -B" make them.
func checkHash(text string) error {
	parts := bcryptHash.FindStringSubmatch(text)
	if parts == nil {
		return errors.New("the password must be a bcrypt hash, as \"nats server passwd\" or " +
			"\"htpasswd -nBC 11 <user>\" make it")
	}
	if cost, _ := strconv.Atoi(parts[1]); cost < minCost || cost > maxCost {
		return fmt.Errorf("the bcrypt cost of the password is %d, it must be from %d to %d: "+
			"a login must not take seconds", cost, minCost, maxCost)
	}
	return nil
}
