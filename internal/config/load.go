package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nats-account-server/internal/natsconf"
)

// loader builds a Config and collects everything that is wrong on the way, so that people see all of it at once.
type loader struct {
	config   Config
	warnings []Warning
	mistakes []error
	dirAt    natsconf.Pos            // of store.dir's value; the zero value if the file has none
	httpAt   map[string]natsconf.Pos // of the values in http.tls and http.authorization

	primaryAt natsconf.Pos // of the value of primary
	natsTLSAt natsconf.Pos // of the last value in nats.tls
	nscFlag   bool         // the folder of nsc is that of the flag
}

func (l *loader) err() error { return errors.Join(l.mistakes...) }

func (l *loader) mistake(at natsconf.Pos, format string, args ...any) {
	l.mistakes = append(l.mistakes, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

func (l *loader) warn(at natsconf.Pos, strict bool, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Text: at.String() + ": " + fmt.Sprintf(format, args...), Strict: strict})
}

// readFile reads the configuration file over the defaults.
func (l *loader) readFile(name string) {
	name, err := absolute(name)
	if err != nil {
		l.mistakes = append(l.mistakes, err)
		return
	}
	l.config.File = name
	m, err := natsconf.ParseFile(name)
	if located := (*natsconf.Error)(nil); errors.As(err, &located) {
		l.mistakes = append(l.mistakes, err)
		return
	}
	if err != nil {
		l.mistakes = append(l.mistakes, fmt.Errorf("error reading configuration file: %w", err))
		return
	}
	l.section("", []*natsconf.Map{m})
}

// section reads a section, which may stand in the file more than once. A later value wins.
func (l *loader) section(name string, maps []*natsconf.Map) {
	first := map[string]natsconf.Pos{} // where each key stood first
	inner := map[string][]*natsconf.Map{}
	var order []string
	for _, m := range maps {
		for _, e := range m.Entries {
			child := join(name, strings.ToLower(e.Key))
			if _, known := sections[child]; !known {
				l.entry(name, e, first)
				continue
			}
			in := l.innerMap(child, e)
			if in == nil {
				continue
			}
			if had := inner[child]; had != nil {
				l.warn(e.Pos, false, "the section %q stands here again and is merged with the one at %s", child, had[0].Pos)
			} else {
				order = append(order, child)
			}
			inner[child] = append(inner[child], in)
		}
	}
	for _, child := range order {
		l.section(child, inner[child])
	}
}

// innerMap is the content of a section, nil if it is none.
func (l *loader) innerMap(name string, e natsconf.Entry) *natsconf.Map {
	m, ok := e.Value.Data.(*natsconf.Map)
	if !ok {
		l.mistake(e.Value.Pos, "struct field %s doesn't have a matching map in the config file", sections[name])
		return nil
	}
	return m
}

// entry reads one key of a section.
func (l *loader) entry(name string, e natsconf.Entry, first map[string]natsconf.Pos) {
	if ignored[join(name, strings.ToLower(e.Key))] {
		return
	}
	k := find(name, e.Key)
	if k == nil {
		l.unknown(name, e)
		return
	}
	if at, doubled := first[k.name]; doubled {
		l.warn(e.Pos, true, "the key %q is given again: this one counts, not the one at %s", e.Key, at)
	}
	first[k.name] = e.Pos
	if k.section == "http.tls" || k.section == "http.authorization" {
		l.httpAt[join(k.section, strings.ToLower(k.name))] = e.Value.Pos
	}
	if k.kind == logins {
		*k.into(&l.config).(*[]Login) = l.logins(e.Value)
		return
	}
	if err := k.read(e.Value.Data, k.into(&l.config)); err != nil {
		l.mistake(e.Value.Pos, "%s", err)
		return
	}
	l.judge(k, e)
}

// unknown reports a key that nobody knows. One that only gives a $variable its value is known enough.
func (l *loader) unknown(name string, e natsconf.Entry) {
	if e.Used {
		return
	}
	where := "at the top level"
	if name != "" {
		where = "in section " + name
	}
	hint := ""
	if near := nearest(name, e.Key); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	if guards(name, e.Key) {
		l.mistake(e.Pos, "unknown key %q %s%s", e.Key, where, hint)
		return
	}
	l.warn(e.Pos, true, "unknown key %q %s%s", e.Key, where, hint)
}

const (
	leastWait = 100 * time.Millisecond
	mostTime  = 24 * time.Hour // more is a mistaken unit
)

// judge checks what a value means, once it could be read.
func (l *loader) judge(k *key, e natsconf.Entry) {
	if k.section == "nats.tls" {
		l.natsTLSAt = e.Value.Pos
	}
	switch at := e.Value.Pos; k.name {
	case "Dir":
		l.dirAt = at
	case "Port":
		if err := checkPort(l.config.HTTP.Port); err != nil {
			l.mistake(at, "http.%s", err)
		}
	case "SignRequestSubject":
		if s := l.config.SignSubject; s != "" && !isSubject(s) {
			l.mistake(at, "signrequestsubject %q is no subject to publish on", s)
		}
	case "ReadTimeout", "WriteTimeout", "ConnectTimeout", "SignRequestTimeout", "ReplicationTimeout":
		l.judgeTime(k, at, 1, mostTime)
	case "Primary":
		l.primaryAt = at
	case "CleanupInterval":
		l.judgeTime(k, at, 0, math.MaxInt64)
	case "ReconnectWait":
		l.judgeTime(k, at, 0, mostTime)
		if wait := &l.config.NATS.ReconnectWait; *wait >= 0 && *wait < leastWait {
			*wait = leastWait
			l.warn(at, false, "nats.reconnectwait is raised to 100 ms")
		}
	case "ForgetServer":
		if l.config.ForgetServer < time.Second {
			l.mistake(at, "forgetserver must be at least 1 s, not %s", l.config.ForgetServer)
		}
	case "MaxReconnects":
		if always, _ := k.isDefault(e.Value.Data); !always {
			l.warn(e.Pos, false, "maxreconnects has no effect: reconnecting never ends")
		}
	}
}

// judgeTime refuses a duration that is below the least one, or absurdly long.
func (l *loader) judgeTime(k *key, at natsconf.Pos, least, most time.Duration) {
	name := join(k.section, strings.ToLower(k.name))
	switch d := *k.into(&l.config).(*time.Duration); {
	case d < least && least > 0:
		l.mistake(at, "%s must be more than 0", name)
	case d < least:
		l.mistake(at, "%s must not be negative", name)
	case d > most:
		l.mistake(at, "%s must be at most a day, not %s", name, d)
	}
}

// isSubject says whether a NATS message can be published on s: no wildcards, no white space, no empty token.
func isSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || token == "*" || token == ">" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return false
		}
	}
	return true
}

func checkPort(n int) error {
	if n < 0 || n > 65535 {
		return fmt.Errorf("port %d is not between 0 and 65535", n)
	}
	return nil
}

// checkDir refuses a directory that is there and empty, when no flag names another one. It may be a variable that
// is not set where it should be, and what is kept in memory is lost.
func (l *loader) checkDir() {
	if s := l.config.Store; l.dirAt != (natsconf.Pos{}) && s.Dir == "" && s.NSC == "" && !s.ReadOnly {
		l.mistake(l.dirAt, "store directory is required")
	}
}

// settleStore lets the keys of a store that is only read fit together.
func (l *loader) settleStore() {
	s := &l.config.Store
	if s.Dir != "" && s.NSC != "" {
		l.warnings = append(l.warnings, Warning{Text: "store.nsc has no effect: store.dir wins"})
		s.NSC = ""
	}
	if s.NSC != "" {
		s.ReadOnly = true
		l.findOperator(s.NSC)
	}
	if s.ReadOnly && s.CleanupInterval > 0 {
		l.warnings = append(l.warnings, Warning{Text: "store.cleanupinterval has no effect: this server is read-only"})
		s.CleanupInterval = 0
	}
	switch {
	case s.StateDir != "" && (!s.ReadOnly || s.Dir == "" && s.NSC == ""):
		l.mistakes = append(l.mistakes, errors.New("store.statedir is for a read-only directory or an nsc folder"))
	case s.StateDir != "" && (within(s.StateDir, cmp.Or(s.Dir, s.NSC)) || within(cmp.Or(s.Dir, s.NSC), s.StateDir)):
		l.mistakes = append(l.mistakes, errors.New("store.statedir must be another directory than the one that is only read, and neither of them in the other"))
	case s.ReadOnly && s.AllowDelete:
		l.mistakes = append(l.mistakes, errors.New("store.allow_delete is not for a server that is read-only"))
	}
}

// within says whether a path is a directory or below it, whatever links lead there.
func within(path, dir string) bool {
	relative, err := filepath.Rel(resolved(dir), resolved(path))
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// resolved is a path without symbolic links, as far as it exists.
func resolved(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil || filepath.Dir(path) == path {
		return cmp.Or(found, path)
	}
	return filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
}

// settlePrimary refuses what does not go together with following another server.
func (l *loader) settlePrimary() {
	c := &l.config
	if c.Primary == "" {
		return
	}
	refuse := func(text string) {
		if l.primaryAt != (natsconf.Pos{}) {
			text = l.primaryAt.String() + ": " + text
		}
		l.mistakes = append(l.mistakes, errors.New(text))
	}
	switch u, err := url.Parse(c.Primary); {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(c.Primary, "?#"):
		refuse("primary is not the URL of an account server, such as http://host:9090")
	case strings.Contains(u.Path+"/", "/jwt/v1/"):
		refuse("primary is the URL of an account server without /jwt/v1, such as http://host:9090")
	}
	switch {
	case c.Store.NSC != "":
		refuse("replicas cannot be run in NSC mode")
	case c.Store.ReadOnly:
		refuse("replica mode cannot be used in read-only mode, but will not allow POST operations")
	case c.Operator == (JWTRef{}):
		refuse("a replica needs an operator, to know what it may take from its primary: set operatorjwtpath")
	}
}

// findOperator takes the operator's JWT from nsc's folder, unless the configuration names another one. nsc puts it into a
// file that is called like the folder, with spaces or with underscores in their place. The folder may have been given another name
// since: then the only JWT in it will do.
func (l *loader) findOperator(folder string) {
	if l.config.Operator != (JWTRef{}) {
		return
	}
	name := filepath.Base(folder)
	names := []string{name, strings.ReplaceAll(name, " ", "_"), strings.ReplaceAll(name, "_", " ")}
	if only := jwtsIn(folder); len(only) == 1 {
		names = append(names, only...)
	}
	for _, spelling := range names {
		path := filepath.Join(folder, spelling+".jwt")
		if _, err := os.Stat(path); err == nil {
			l.config.Operator = JWTRef{Path: path}
			return
		}
	}
	if l.nscFlag {
		l.config.Operator = JWTRef{Path: filepath.Join(folder, name+".jwt")} // what is wrong with it is said when it is read
		return
	}
	l.warnings = append(l.warnings, Warning{Text: "there is no operator JWT in " + folder + ": set operatorjwtpath", Strict: true})
}

// jwtsIn returns the names of the JWTs in a directory, without the suffix.
func jwtsIn(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if name, is := strings.CutSuffix(e.Name(), ".jwt"); is && !e.IsDir() {
			names = append(names, name)
		}
	}
	return names
}

// absolute expands a leading ~ and makes a path absolute; relative ones are relative to the working directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := expandHome(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
