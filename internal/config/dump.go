package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Dump returns the configuration as JSON, with an indent of two spaces and durations in
// milliseconds. It leaves out passwords, and shows only the names of logins.
//
// Each section has the original's fields in the original's order, under the original's names.
// Fields that the original does not have come after them, under the names of their keys.
func (c Config) Dump() string {
	text, _ := json.MarshalIndent(dump(keys(&c)), "", "  ")
	return string(text)
}

// shown returns a value as the dump shows it. A type that is not listed here is shown as it is.
func shown(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return v.Milliseconds()
	case string:
		// Any text that looks like a URL may have a password.
		if strings.Contains(v, "://") {
			return RedactURL(v)
		}
	case []string: // URLs; null if there are none
		var all []string
		for _, url := range v {
			all = append(all, RedactURL(url))
		}
		return all
	case Verify:
		return []any{VerifyNone: false, VerifyGiven: true, VerifyRequire: "require"}[v]
	case JWTRef:
		if v.Token != "" {
			return "(in the configuration)"
		}
		return v.Path + v.Key
	case []Login:
		var all []string
		for _, l := range v {
			all = append(all, l.User+l.Certificate)
		}
		return all
	}
	return value
}

// dump is the part of the dump for the keys of one section: a JSON object whose members are in the
// order of the keys.
type dump []key

// MarshalJSON implements json.Marshaler.
func (d dump) MarshalJSON() ([]byte, error) {
	var all []string
	for _, k := range d {
		value, err := json.Marshal(k.show()) // a section shows another dump
		if err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprintf("%q:%s", k.name, value))
	}
	return []byte("{" + strings.Join(all, ",") + "}"), nil
}

// RedactURL returns a URL without its password. A user without a password is removed too, because
// it is a token. For a URL that can't be read it returns "?", for no URL "".
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
