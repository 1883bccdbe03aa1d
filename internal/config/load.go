package config

import (
	"errors"
	"fmt"
	"strings"

	"nats-account-server/internal/natsconf"
)

// loader reads the file and the flags into a draft. It goes on after a mistake, so that all
// mistakes are reported at once.
type loader struct {
	flags    Flags
	draft    Config
	keys     []key // they set the fields of draft
	warnings []Warning
	mistakes []error

	// at has the position of each value in the file, by the path of its key. By the path of a
	// section it has the position of the last value in that section.
	at map[string]natsconf.Pos
}

func newLoader(f Flags) *loader {
	l := &loader{flags: f, draft: defaults(), at: map[string]natsconf.Pos{}}
	l.keys = keys(&l.draft)
	return l
}

// err returns all mistakes, or nil.
func (l *loader) err() error { return errors.Join(l.mistakes...) }

// mistake adds a mistake at a position. The zero Pos means that it has none.
func (l *loader) mistake(at natsconf.Pos, format string, args ...any) {
	l.fail(errors.New(located(at, format, args...)))
}

// fail adds err to the mistakes if it is not nil.
func (l *loader) fail(err error) {
	if err != nil {
		l.mistakes = append(l.mistakes, err)
	}
}

// warn adds a warning at a position. The zero Pos means that it has none.
func (l *loader) warn(at natsconf.Pos, strict bool, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Text: located(at, format, args...), Strict: strict})
}

// nowhere is the position of a problem that is at no single place in the file.
var nowhere natsconf.Pos

// located returns a text that begins with a position, unless that is the zero Pos.
func located(at natsconf.Pos, format string, args ...any) string {
	message := fmt.Sprintf(format, args...)
	if at == nowhere {
		return message
	}
	return at.String() + ": " + message
}

// readFile reads the configuration file into the draft, if there is one.
func (l *loader) readFile() {
	if l.flags.Config == "" {
		return
	}
	name, err := absolute(l.flags.Config)
	if err != nil {
		l.fail(err)
		return
	}
	l.draft.File = name
	m, err := natsconf.ParseFile(name)
	if _, ok := errors.AsType[*natsconf.Error](err); err != nil && !ok {
		err = fmt.Errorf("error reading configuration file: %w", err)
	}
	if err != nil {
		l.fail(err)
		return
	}
	l.section("", []*natsconf.Map{m})
}

// section reads a section. A file may have it more than once; a later value overrides an earlier
// one.
func (l *loader) section(name string, maps []*natsconf.Map) {
	given := map[*key]natsconf.Pos{} // where each key was given last
	inner := map[string][]*natsconf.Map{}
	var order []string // of the sections in inner
	// Inner sections are read after the keys, when all of their parts are known.
	for _, m := range maps {
		for _, e := range m.Entries {
			child := join(name, strings.ToLower(e.Key))
			if _, known := sections[child]; !known {
				l.entry(name, e, given)
				continue
			}
			content, ok := e.Value.Data.(*natsconf.Map)
			if !ok {
				l.mistake(e.Value.Pos, "struct field %s doesn't have a matching map in the config file",
					sections[child])
				continue
			}
			if before := inner[child]; before == nil {
				order = append(order, child)
			} else {
				l.warn(e.Pos, false, "the section %q is given again and merged with the one at %s",
					child, before[0].Pos)
			}
			inner[child] = append(inner[child], content)
		}
	}
	for _, child := range order {
		l.section(child, inner[child])
	}
}

// entry reads one key of a section.
func (l *loader) entry(section string, e natsconf.Entry, given map[*key]natsconf.Pos) {
	if ignored[join(section, strings.ToLower(e.Key))] {
		return
	}
	k := find(l.keys, section, e.Key)
	if k == nil {
		l.unknown(section, e)
		return
	}
	if at, again := given[k]; again {
		l.warn(e.Pos, true, "the key %q is given again: this one counts, not the one at %s", e.Key, at)
	}
	given[k] = e.Pos
	if err := k.set(l, k, e); err != nil {
		l.mistake(e.Value.Pos, "%s", err)
		return
	}
	l.at[k.path()] = e.Value.Pos
	l.at[k.section] = e.Value.Pos
}

// unknown reports an unknown key, unless it only gives a $variable its value.
func (l *loader) unknown(section string, e natsconf.Entry) {
	// Such a key is how nats-server's language defines a variable.
	if e.Used {
		return
	}
	text := fmt.Sprintf("unknown key %q at the top level", e.Key)
	if section != "" {
		text = fmt.Sprintf("unknown key %q in section %s", e.Key, section)
	}
	if near := nearest(l.keys, section, e.Key); near != "" {
		text += fmt.Sprintf(", did you mean %q?", near)
	}
	if restricts(section, e.Key) {
		l.mistake(e.Pos, "%s", text)
	} else {
		l.warn(e.Pos, true, "%s", text)
	}
}
