package config

import (
	"errors"
	"fmt"
	"strings"

	"nats-account-server/internal/natsconf"
)

// loader reads the file and the flags into a draft. It goes on after a mistake, so that all
// mistakes are reported at once. One loader reads one configuration once.
//
// The steps are readFile, readFlags, complete and check, in this order, see load in config.go. It
// is used by one goroutine and is not kept.
type loader struct {
	flags    Flags
	draft    Config    // may be invalid until check has found no mistake
	keys     []key     // they set the fields of draft
	warnings []Warning // in the order in which they were found
	mistakes []error   // also in that order; each has one line

	// at has the position of each value in the file, by the path of its key or section. If one is
	// given more than once, it is the last position. A value with a mistake is not in it, and so
	// are values that a flag replaces.
	at map[string]natsconf.Pos
}

// mistake adds a mistake at a position. The zero Pos means that it has none. The text begins with
// file:line:column then.
func (l *loader) mistake(at natsconf.Pos, format string, args ...any) {
	l.fail(errors.New(located(at, format, args...)))
}

// fail adds err to the mistakes if it is not nil.
func (l *loader) fail(err error) {
	if err != nil {
		l.mistakes = append(l.mistakes, err)
	}
}

// warn adds a warning at a position. The zero Pos means that it has none. A strict warning is an
// error if the configuration is only checked, with -t.
func (l *loader) warn(at natsconf.Pos, strict bool, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Text: located(at, format, args...), Strict: strict})
}

// isGiven reports whether the file has the key or section with this path, see at. A key that was
// given with its default value is given too. That is how check tells an empty store.dir from none.
func (l *loader) isGiven(path string) bool {
	_, ok := l.at[path]
	return ok
}

// located returns a text that begins with a position, unless that is the zero Pos. Example:
// "server.conf:12:3: http.port must be at most 65535".
func located(at natsconf.Pos, format string, args ...any) string {
	message := fmt.Sprintf(format, args...)
	if at == (natsconf.Pos{}) {
		return message
	}
	return at.String() + ": " + message
}

// readFile reads the configuration file into the draft, if there is one. A file that can't be read
// or parsed is one mistake; the draft then keeps the defaults.
func (l *loader) readFile() {
	if l.flags.Config == "" {
		return
	}
	// An include in the file is relative to the directory of this path.
	l.draft.File = l.absolute(l.flags.Config)
	m, err := natsconf.ParseFile(l.draft.File)
	if err == nil {
		l.section(l.keys, "", m)
		return
	}
	// A mistake in the text has its position instead of this prefix, which is the original's.
	if _, inText := errors.AsType[*natsconf.Error](err); !inText {
		err = fmt.Errorf("error reading configuration file: %w", err)
	}
	l.fail(err)
}

// section reads a section of the file. The file may have it more than once; a later value overrides
// an earlier one. section is its path; "" for the top level. Mistakes are added to l.mistakes. m is
// the map in the file that has the keys. Entries are read in the order of the file, because of two
// values the later one counts.
func (l *loader) section(keys []key, section string, m *natsconf.Map) {
	for _, at := range m.Surplus {
		l.warn(at, false, "nothing is open that '}' closes: it is overlooked, as by nats-server")
	}
	for _, e := range m.Entries {
		// Names with a dot are unknown keys: each section has its own entries.
		k := find(keys, e.Key)
		if k == nil {
			l.unknown(keys, section, e)
			continue
		}
		path := join(section, strings.ToLower(k.name))
		// Files for the original may have a section twice, which is no mistake. A key given twice
		// is probably one, but the original takes the last of them as well. An alias has the path
		// of its key. So a key that is given under both names is found too.
		before, again := l.at[path]
		switch {
		case again && k.keys != nil:
			l.warn(e.Pos, false,
				"the section %q is given again and merged with the one at %s", path, before)
		// With -t the warning is an error, because the first value was perhaps meant.
		case again:
			l.warn(e.Pos, true, "the key %q is given again: this one counts, not the one at %s",
				e.Key, before)
		}
		if err := k.set(l, k.name, path, e.Value); err != nil {
			l.mistake(e.Value.Pos, "%s", err)
			continue
		}
		// A value with a mistake leaves the field at the value before it.
		l.at[path] = e.Value.Pos
	}
}

// join returns the path of a key or a section in a section.
func join(section, name string) string { return strings.TrimPrefix(section+"."+name, ".") }
