package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"nats-account-server/internal/natsconf"
	"nats-account-server/internal/suggest"
)

// unknown reports an unknown key, unless it only gives a $variable its value.
//
// Most unknown keys are a strict warning: the server runs, and -t fails. A key that looks like a
// security setting is a mistake, and so is a brace in a name.
func (l *loader) unknown(keys []key, section string, e natsconf.Entry) {
	// Such a key is how nats-server's language defines a variable.
	if e.Used {
		return
	}
	// Without white space, the brace belongs to the key, and the section is lost.
	if before, _, ok := strings.Cut(e.Key, "{"); ok {
		l.mistake(e.Pos, "white space must come between the key %q and '{'", before)
		return
	}
	near := similar(keys, l.keys, section, e.Key)
	text := fmt.Sprintf("unknown key %q %s%s", e.Key, inSection(section), suggestion(e.Key, near))
	// A security setting without effect would leave the server open, so the server must not run.
	if isSecurity(section, e.Key, near) {
		l.mistake(e.Pos, "%s; a security setting is never ignored%s", text,
			advice(keys, section, near))
		return
	}
	l.warn(e.Pos, true, "%s", text)
	// The section that was meant may have such settings too.
	l.searchIgnored(join(section, e.Key), e.Value)
}

// inSection says in words where a key is.
func inSection(section string) string {
	if section == "" {
		return "at the top level"
	}
	return "in section " + section
}

// suggestion names the similar keys, one of which was probably meant. It is empty if there is none.
func suggestion(unknown string, near []string) string {
	switch {
	case len(near) == 0:
		return ""
	// A key with dots means nothing in nats-server's language.
	case strings.EqualFold(unknown, near[0]):
		return ": write " + strings.ReplaceAll(near[0], ".", " { ") + ": …" +
			strings.Repeat(" }", strings.Count(near[0], "."))
	}
	return `, did you mean "` + strings.Join(near, `" or "`) + `"?`
}

// advice says where a security setting belongs, if no similar key says it.
func advice(keys []key, section string, near []string) string {
	switch {
	case len(near) > 0:
		return ""
	case strings.Contains(section, "."):
		// Only TLS and authorization are subsections.
		var names []string
		for _, k := range keys {
			names = append(names, strings.ToLower(k.name))
		}
		return ": the keys here are " + strings.Join(names, ", ")
	case section == "nats":
		return ": a user is set in nats.usercredentials or in the URL of " +
			"nats.servers, TLS in nats.tls"
	default:
		return ": users are set in http.authorization, TLS in http.tls"
	}
}

// searchIgnored reports the security settings inside the value of an unknown key. section is the
// path of that key.
func (l *loader) searchIgnored(section string, v natsconf.Value) {
	switch d := v.Data.(type) {
	case []natsconf.Value:
		for _, element := range d {
			l.searchIgnored(section, element)
		}
	case *natsconf.Map:
		for _, e := range d.Entries {
			if e.Used || !isSecurity(section, e.Key, nil) {
				l.searchIgnored(join(section, e.Key), e.Value)
				continue
			}
			l.mistake(e.Pos,
				"%q is in section %s, which is unknown; a security setting is never ignored",
				e.Key, section)
		}
	}
}

// minSimilar is the fewest letters of a word that may be a misspelt key of another section: shorter
// words are like too much.
const minSimilar = 5

// similar returns the names of the keys that are most similar to an unknown one, in lower case. A
// key of its own section, which has these keys, is named without the section and wins over those of
// other sections, which are named by their paths. all are the keys of the top level.
//
// The result is empty if nothing is similar. Each step below leaves out what is less probable. A
// step that would leave nothing is not taken, except for the first two.
func similar(keys, all []key, section, unknown string) []string {
	own, least := nearest(keys, "", unknown, false)
	others, distance := nearest(all, "", unknown, true)
	switch {
	// A name is similar if at most a third of it must be changed, elsewhere a quarter. One letter
	// may differ in any name, however short.
	case least <= distance && least <= max(1, len(unknown)/3):
		return own[:1]
	case distance > 0 && len(unknown) < minSimilar, distance > len(unknown)/4:
		return nil
	}
	// The TLS of clients and that of nats-server have different keys, with different meanings.
	others = slices.DeleteFunc(others, func(path string) bool {
		_, own, isSub := strings.Cut(section, ".")
		return isSub && strings.Contains(path, "."+own+".") && !strings.HasPrefix(path, section+".")
	})
	// The bucket's keys are like those for NATS, which more files have.
	others = slices.DeleteFunc(others, func(path string) bool {
		return strings.HasPrefix(path, "store.kv.") && !strings.HasPrefix(section+".", "store.kv.")
	})
	// An address is probably that of HTTP.
	if public := slices.DeleteFunc(slices.Clone(others), func(path string) bool {
		return strings.HasPrefix(path, "monitor.")
	}); len(public) > 0 {
		others = public
	}
	// What is further inside this section is more probable than another section.
	inside := slices.DeleteFunc(slices.Clone(others), func(path string) bool {
		return !strings.HasPrefix(path, section+".")
	})
	if len(inside) > 0 {
		return inside
	}
	return others
}

// nearest returns the paths of those keys whose name or path is most similar to an unknown one, and
// how many letters differ. Without deep it leaves the keys of subsections out.
func nearest(keys []key, section, unknown string, deep bool) (paths []string, least int) {
	least = len(unknown) + 1
	add := func(distance int, all ...string) {
		if distance < least {
			paths, least = nil, distance
		}
		if distance == least {
			paths = append(paths, all...)
		}
	}
	for _, k := range keys {
		for _, name := range k.names() {
			path := join(section, strings.ToLower(name))
			add(min(suggest.Distance(unknown, name), suggest.Distance(unknown, path)), path)
		}
		if deep {
			inner, distance := nearest(k.keys,
				join(section, strings.ToLower(k.name)), unknown, true)
			// The paths of a subsection that is further away than what was found are dropped by
			// add.
			add(distance, inner...)
		}
	}
	return paths, least
}

// securityAnywhere matches the names of unknown keys of any section that probably encrypt or
// restrict access: nats-server has most of them.
var securityAnywhere = regexp.MustCompile(
	`(?i)^(tls|tsl|ssl|https|auth|verif|pinned|cert|pass|permission` +
		`|(root|ca|key|user|client_?ca|root_?ca|nkey|token|read|write|users|username|tokens|nkeys)` +
		`(_?file)?$)`)

// securityInHTTP is what is about TLS or about which client may connect: other servers have it.
const securityInHTTP = `(?i)tls|ssl|cert|auth|verif|passw|credential|secret|login|realm` +
	`|cipher|curve|version|^(allow|deny|acl|trusted)|(white|black|block|deny)_?list`

// securityIn matches such names in a section. In http.tls they are also those about client
// certificates, and other names of root.
var securityIn = map[string]*regexp.Regexp{
	"http":               regexp.MustCompile(securityInHTTP),
	"http.tls":           regexp.MustCompile(securityInHTTP + `|pinned|^roo?t|^ca|ca$`),
	"http.authorization": regexp.MustCompile(``), // every name
}

// isSecurity reports whether an unknown key is probably meant to encrypt or to restrict access.
// near are the similar keys. Files that were written for the original may have any other unknown
// key. A wrong yes only costs a start with a clear error. A wrong no could leave a server open.
func isSecurity(section, name string, near []string) bool {
	for _, path := range near {
		// A misspelt section would be ignored as a whole.
		if last := lastName(path); last == "tls" || last == "authorization" {
			return true
		}
	}
	names, has := securityIn[section]
	return has && names.MatchString(name) || securityAnywhere.MatchString(lastName(name))
}

// lastName returns what comes after the last dot of a path.
func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
