package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconf"
)

// A field is what a key sets, or a section. It is made for one field of one draft, to which it has
// a pointer.
//
// A field is no value. set and show have the same pointer in their closures, so show returns what
// set has put there, or the default. Dump makes a table of its own for the Config that it shows.
type field struct {
	// set reads a value. name and path are those of the key, such as Cert and http.tls.cert. An
	// error is a mistake in the value; the field is then unchanged.
	set func(l *loader, name, path string, v natsconf.Value) error

	show func() any // what the dump shows; nil is shown as null, omitted not at all
	keys []key      // of the section; nil if the field is no section

	// above means that the dump shows the key in the section above, after the keys of that one.
	above bool
}

// set returns a field for values that parse understands and that pass each check. parse gets the
// name of the key, for errors in the original's words; a check gets its path, for errors in ours.
//
// The order is parse, then the checks as they are given, then the assignment. The first error ends
// it, and there is one mistake for each value.
func set[T any](
	into *T,
	parse func(name string, value any) (T, error),
	checks ...func(path string, v T) error,
) field {
	// The draft is changed only by a value that is right. So later checks see no half of one.
	read := func(_ *loader, name, path string, value natsconf.Value) error {
		v, err := parse(name, value.Data)
		for _, check := range checks {
			if err == nil {
				err = check(path, v)
			}
		}
		if err == nil {
			*into = v
		}
		return err
	}
	// show looks at the field when it is called, also if set was never called.
	return field{set: read, show: func() any { return shown(*into) }}
}

// section is for a section with these keys. Mistakes within it are reported where they are, so set
// returns an error only if the value is no section at all. Keys that are not in the list are
// reported by unknown.
func section(keys []key) field {
	read := func(l *loader, name, path string, v natsconf.Value) error {
		// The text of the error is the original's.
		m, ok := v.Data.(*natsconf.Map)
		if !ok {
			return fmt.Errorf("struct field %s doesn't have a matching map in the config file",
				name)
		}
		// Keys that are given are set, and all others keep what they have. So a section that is
		// given twice is merged.
		l.section(keys, path, m)
		return nil
	}
	// The dump is made when it is shown, so it has the values of that moment.
	return field{set: read, show: func() any { return dump(keys) }, keys: keys}
}

// shownIf returns a field that the dump shows only if it is in use. used is asked when the dump is
// made, not when the table is.
func shownIf(used func() bool, f field) field {
	show := f.show
	f.show = func() any {
		if !used() {
			return omitted{}
		}
		return show()
	}
	return f
}

// dumpedAbove returns a field that the dump shows in the section above, see field.above.
func dumpedAbove(f field) field {
	f.above = true
	return f
}

// The kinds of values that several keys have. The manual names them in the same way.

func boolean(into *bool) field { return set(into, parseBool) }
func text(into *string) field  { return set(into, parseText) }
func path(into *string) field  { return set(into, parsePath) }

// timeout is for a time that may neither be 0, which would be no limit, nor very long. A very long
// one has probably the wrong unit. Numbers without a unit are milliseconds, as in the original.
func timeout(into *time.Duration) field {
	return set(into, parseDuration, atLeast(1, "be more than 0"), atMostADay)
}

// listen is for host and port in one text, as in nats-server. The dump shows the two. Example:
// "127.0.0.1:9090".
func listen(into *HTTP) field {
	read := func(_ *loader, name, _ string, v natsconf.Value) error {
		text, err := parseText(name, v.Data)
		if err != nil {
			return fmt.Errorf("%w, it must be host:port", err)
		}
		host, port, err := parseHostPort(text)
		if err != nil {
			return fmt.Errorf("error parsing %s option: %w, it must be host:port", name, err)
		}
		// Both are set at once. A host or port from an earlier line of the file is replaced.
		into.Host, into.Port = host, port
		return nil
	}
	return field{set: read, show: func() any { return omitted{} }}
}

// maxReconnects is for a key of the original that has no effect here. The dump shows -1, which
// means for ever in the original. A number that is not -1 gets a warning that is not strict: files
// for the original have it.
func maxReconnects() field {
	read := func(l *loader, name, _ string, v natsconf.Value) error {
		n, err := parseInt(name, v.Data)
		if err == nil && n != -1 {
			l.warn(v.Pos, false, "maxreconnects has no effect: reconnecting never ends")
		}
		return err
	}
	return field{set: read, show: func() any { return -1 }}
}

// unused is for a key that the original accepts and never uses. Any value will do.
func unused() field {
	read := func(*loader, string, string, natsconf.Value) error { return nil }
	return field{set: read, show: func() any { return nil }}
}

// notNegative is a check for durations that may be 0.
var notNegative = atLeast(0, "not be negative")

// atLeast returns a check for durations. rule says in words that least is the least one. The text
// is for the error.
func atLeast(least time.Duration, rule string) func(path string, d time.Duration) error {
	return func(path string, d time.Duration) error {
		if d < least {
			return fmt.Errorf("%s must %s; it is %s", path, rule, d)
		}
		return nil
	}
}

// atMostADay is a check for durations.
var atMostADay = atMost(24*time.Hour, "a day")

// atMost returns a check for durations. limit is the most in words.
func atMost(most time.Duration, limit string) func(path string, d time.Duration) error {
	return func(path string, d time.Duration) error {
		if d > most {
			return fmt.Errorf("%s must be at most %s, not %s", path, limit, d)
		}
		return nil
	}
}

// within1 returns a check for numbers from 1 to most.
func within1(most int) func(path string, n int) error {
	return func(path string, n int) error {
		if n < 1 || n > most {
			return fmt.Errorf("%s must be from 1 to %d; it is %d", path, most, n)
		}
		return nil
	}
}

// isBucket is a check for the name of a bucket, which is a part of subjects. JetStream allows
// letters, digits, "-" and "_". The empty name is refused too: defaults gives one, so it was
// written into the file.
func isBucket(path, name string) error {
	isOther := func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') &&
			(r < 'a' || r > 'z')
	}
	if name == "" || strings.ContainsFunc(name, isOther) {
		return fmt.Errorf("%s %q must be a name of letters, digits, dashes and underscores",
			path, name)
	}
	return nil
}

// isHost is a check for the host to listen on: a name, an address or "". A host is not looked up. A
// name that does not exist is found when the server listens.
func isHost(path, host string) error {
	if _, err := netip.ParseAddr(host); err == nil || !strings.ContainsAny(host, "*:/[]@, \t") {
		return nil
	}
	return fmt.Errorf("%s %q must be a name or an address alone, without brackets: "+
		"the port is set in http.port, and \"\" is every interface", path, host)
}

// isPort is a check for the port to listen on. 0 is any free port.
func isPort(path string, n int) error {
	if !validPort(n) {
		return fmt.Errorf("%s %d is not between 0 and 65535", path, n)
	}
	return nil
}

// isMonitorPort is a check for the port of the monitor: as in nats-server, -1 is any free port.
func isMonitorPort(path string, n int) error {
	if n == -1 {
		return nil
	}
	return isPort(path, n)
}

// isSyslog is a check for the URL of a syslog, or "" for none. Nothing is dialled: a syslog that
// does not answer does not prevent a start. The text stays as it is: the dump shows it, and
// logging.Target.Open reads it again.
func isSyslog(path string, text string) error {
	if text == "" {
		return nil
	}
	if err := logging.CheckSyslog(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// isSubject is a check for a subject to publish on, or "" for none. Such a subject has no wildcard,
// no white space and no empty token. Example: "sign.accounts".
func isSubject(path string, subject string) error {
	if subject == "" {
		return nil
	}
	// White space and control characters would break the protocol's lines.
	isBad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || token == "*" || token == ">" || strings.ContainsFunc(token, isBad) {
			return fmt.Errorf("%s %q is no subject to publish on", path, subject)
		}
	}
	return nil
}
