package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"nats-account-server/internal/logging"
)

// Dump returns the configuration as JSON, with an indent of two spaces and durations in
// milliseconds. It leaves out passwords, and shows only the names of logins.
//
// Each section has the original's fields in the original's order, under the original's names.
// Fields that the original does not have come after them, under the names of their keys without
// underscores. Programs read these names: they never change. It is what --dump logs; nothing reads
// it back.
func (c Config) Dump() string {
	text, _ := json.MarshalIndent(dump(keys(&c)), "", "  ")
	return string(text)
}

// shown returns a value as the dump shows it. The type of a value says how, so that no key can be
// forgotten. A type that is not listed here is shown as it is.
func shown(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return v.Milliseconds()
	case string:
		// Any text that looks like a URL may have a password.
		if strings.Contains(v, "://") {
			return RedactURL(v)
		}
	case []string: // URLs
		return each(v, RedactURL)
	case Verify: // it is only shown if it is set: the original's TLS objects have three members
		return []any{VerifyNone: omitted{}, VerifyGiven: true, VerifyRequire: "require"}[v]
	case logging.Encoding:
		return []string{logging.Text: "text", logging.JSON: "json"}[v]
	case logging.Colors: // as in the original, true if it is not set
		return v != logging.ColorsNever
	case JWTRef:
		return v.shown()
	case []JWTRef: // one text as in the original, unless there are several
		switch len(v) {
		case 0:
			return ""
		case 1:
			return v[0].shown()
		}
		return each(v, JWTRef.shown)
	case []Login:
		return each(v, func(l Login) string { return l.User + l.Certificate })
	}
	return value
}

// shown returns where a JWT is. The JWT itself is not shown: it could have a password in it.
func (r JWTRef) shown() string {
	if r.Token != "" {
		return "(in the configuration)"
	}
	return r.Path + r.Key
}

// each returns a text for each element of a list. For an empty list it is nil, which JSON has as
// null.
func each[T any](list []T, text func(T) string) (all []string) {
	for _, v := range list {
		all = append(all, text(v))
	}
	return all
}

// omitted is the value of a key that the dump leaves out.
type omitted struct{}

// dump is the part of the dump for the keys of one section: a JSON object whose members are in the
// order of the keys. The keys are those of keys(), so that a new key is in the dump without more.
type dump []key

// members returns the keys that are shown in this object: those of the section, and after them
// those that its subsections show above themselves.
func (d dump) members() []key {
	var own, others []key
	for _, k := range d {
		for _, sub := range k.keys {
			if sub.above {
				others = append(others, sub)
			}
		}
		isEmpty := k.keys != nil && len(dump(k.keys).members()) == 0 // all are shown here
		if _, isOmitted := k.show().(omitted); !isOmitted && !isEmpty && !k.above {
			// A key that is shown above its section is not shown in it too.
			own = append(own, k)
		}
	}
	return append(own, others...)
}

// MarshalJSON implements json.Marshaler.
func (d dump) MarshalJSON() ([]byte, error) {
	var all []string
	for _, k := range d.members() {
		value, err := json.Marshal(k.show()) // a section shows another dump
		if err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprintf("%q:%s", strings.ReplaceAll(k.name, "_", ""), value))
	}
	return []byte("{" + strings.Join(all, ",") + "}"), nil
}

// RedactURL returns a URL without its password. A user without a password is removed too, because
// it is a token. For a URL that can't be read it returns "?", for no URL "". Example:
// "nats://host:4222" for "nats://user:secret@host:4222".
func RedactURL(text string) string {
	if text == "" {
		return ""
	}
	// Like the NATS client, take a URL without a scheme for a NATS URL.
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "?"
	}
	// nats://token@host has a token where other URLs have a user.
	if _, secret := u.User.Password(); secret {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	return u.String()
}
