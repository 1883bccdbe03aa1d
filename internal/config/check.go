package config

import (
	"cmp"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// check reports which values do not fit together. All broken rules are reported, so that one try
// shows every mistake. A rule that holds says nothing. Each rule is asked, so one wrong value
// may break several.
func (l *loader) check() {
	for _, r := range l.rules() {
		if r.isBroken {
			l.mistake(l.at[r.key], "%s", r.text)
		}
	}
	l.checkLogins()
}

// rule is a rule about values that must fit together. key is the one at whose position a mistake is
// reported; one that was not given has no position. A rule is evaluated when the table is made, so
// it must not fail on values that another rule refuses.
type rule struct {
	isBroken  bool
	key, text string
}

// rules returns a row for each rule, with whether the draft breaks it. The order is that of the
// sections in a file. Mistakes are reported in it.
func (l *loader) rules() []rule {
	n, isWindows := l.draft.NATS, runtime.GOOS == "windows"
	return slices.Concat(
		l.storeRules(),
		l.primaryRules(),
		l.bucketRules(),
		[]rule{{isWindows && l.draft.Logging.Syslog, "logging.syslog",
			"Windows has no syslog: the log of a service is in the event log; " +
				"logging.remote_syslog and -r name a syslog on another machine"}},
		natsTLSRules("nats", n.Servers, n.TLS),
		l.httpRules(),
	)
}

// storeRules returns the rules about what is served and where it is stored.
func (l *loader) storeRules() []rule {
	s := l.draft.Store
	served := cmp.Or(s.Dir, s.NSC) // "" if nothing is on disk
	hasState := s.StateDir != ""
	return []rule{
		// An empty directory may come from a variable that is unexpectedly empty. Storing in memory
		// instead would lose data.
		{l.isGiven("store.dir") && served == "" && !s.ReadOnly, "store.dir",
			"store directory is required"},
		{hasState && served == "", "store.statedir",
			"store.statedir is for a directory or an nsc folder"},
		// The state would look like a change of what is served.
		{hasState && served != "" && (within(s.StateDir, served) || within(served, s.StateDir)),
			"store.statedir",
			"store.statedir must be another directory than the one that is served, " +
				"and neither may be inside the other"},
		// The program that writes the directory decides what is deleted there.
		{s.ReadOnly && s.AllowDelete, "store.allow_delete",
			"store.allow_delete is not for a server that is read-only"},
	}
}

// primaryRules returns the rules for a server that follows a primary.
func (l *loader) primaryRules() []rule {
	if l.draft.Primary == "" {
		return nil
	}
	s := l.draft.Store
	return []rule{
		// The error does not show the URL, which may contain a password.
		{!isServerURL(l.draft.Primary), "primary",
			"primary is not the URL of an account server, such as " +
				"http://host:9090, without /jwt/v1"},
		// The next two errors have the original's text.
		{s.NSC != "", "primary", "replicas cannot be run in NSC mode"},
		{s.ReadOnly && s.NSC == "", "primary",
			"replica mode cannot be used in read-only mode, but will not allow POST operations"},
		// Without an operator any JWT that a primary sends would be refused, and the replica would
		// stay empty.
		{len(l.draft.Operators) == 0, "primary",
			"a replica needs an operator, to know what it may take from its " +
				"primary: set operatorjwtpath"},
	}
}

// bucketRules returns the rules for a server that shares a bucket.
func (l *loader) bucketRules() []rule {
	s := l.draft.Store
	if len(s.KV.Servers) == 0 {
		// A server alone would take pushes that the others never see.
		return []rule{{l.isGiven("store.kv.servers"), "store.kv.servers",
			"store.kv.servers is empty"}}
	}
	return append([]rule{
		// The journal and the directory are what a server serves while the bucket is away.
		{s.Dir == "", "store.kv",
			"store.kv needs store.dir: what the bucket has is stored there too"},
		{s.ReadOnly, "store.kv",
			"store.kv is not for a server that is read-only: " +
				"another program decides what it serves"},
		// Both would say what is newer, and they can contradict each other.
		{l.draft.Primary != "", "store.kv",
			"store.kv is not for a server with a primary: it has what its bucket has"},
	}, natsTLSRules("store.kv", s.KV.Servers, s.KV.TLS)...)
}

// natsTLSRules returns the rules about TLS to the nats-servers of a section.
func natsTLSRules(section string, servers []string, tls NATSTLS) []rule {
	isUnencrypted := func(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ws://") }
	return append(pairRules(section, tls.Cert, tls.Key),
		// A ws:// URL is never encrypted, so the section would protect nothing on it.
		rule{tls != (NATSTLS{}) && slices.ContainsFunc(servers, isUnencrypted), section + ".servers",
			section + ".tls is set, but a ws:// URL in " + section + ".servers goes without TLS: " +
				"write wss://"})
}

// pairRules returns the rules about a certificate and its key: one is of no use without the other.
// The files are not read yet: whether they fit together is found when daemon loads them. In the
// original a key alone gives plain HTTP.
func pairRules(section, cert, key string) []rule {
	certPath, keyPath := section+".tls.cert", section+".tls.key"
	return []rule{
		{cert != "" && key == "", certPath,
			certPath + " needs the key that belongs to it: " + keyPath + " is not set"},
		{cert == "" && key != "", keyPath,
			keyPath + " needs the certificate it belongs to: " + certPath + " is not set"},
	}
}

// httpRules returns the rules about TLS and logins of HTTP.
func (l *loader) httpRules() []rule {
	h := l.draft.HTTP
	verify := h.TLS.Verify != VerifyNone
	return append(pairRules("http", h.TLS.Cert, h.TLS.Key),
		// Without these, verify would restrict nothing.
		rule{verify && h.TLS.Cert == "", "http.tls.verify",
			"http.tls.verify needs TLS: http.tls.cert and http.tls.key are not set"},
		rule{verify && h.TLS.Root == "", "http.tls.verify",
			"http.tls.verify needs the authorities of client certificates: " +
				"http.tls.root is not set"},
		// To let every client push and restrict reading can't be meant.
		rule{h.Write == nil && h.Read != nil, "http.authorization.read",
			"http.authorization.read without http.authorization.write would let every client push"},
		// An empty list was probably meant to have logins. It would refuse every client.
		rule{h.Write != nil && len(h.Write) == 0, "http.authorization.write",
			"http.authorization.write has no login"},
		rule{h.Read != nil && len(h.Read) == 0, "http.authorization.read",
			"http.authorization.read has no login"},
	)
}

// checkLogins checks that each login can log in, and is another one than those before it. Mistakes
// are reported at the list of writers, because a login has no position of its own. A login in the
// list of writers need not be in that of readers.
func (l *loader) checkLogins() {
	// The zero Pos counts if there is no such list.
	h, at := l.draft.HTTP, l.at["http.authorization.write"]
	seen := map[Login]bool{}
	passwords := false // whether any login has one
	for _, o := range slices.Concat(h.Write, h.Read) {
		// Only a password can be read on its way. The key of a certificate is never sent.
		passwords = passwords || o.User != ""
		if o.Certificate != "" && h.TLS.Verify == VerifyNone {
			l.mistake(at, "the certificate %q has no effect without http.tls.verify", o.Certificate)
		}
		o.Hash = "" // two logins are the same user whatever their passwords are
		if seen[o] && o != (Login{}) {
			l.mistake(at, "%q is in http.authorization twice", o.User+o.Certificate)
		}
		seen[o] = true
	}
	// Passwords that stay on this machine need no TLS.
	if passwords && h.TLS.Cert == "" && !isLocal(h.Host) {
		l.warn(at, false, "without http.tls, passwords are sent unencrypted")
	}
}

// within reports whether path is dir or inside dir. It follows symbolic links, because another name
// of a directory is still the same directory. It is false if one path can't be made relative to the
// other. Both are absolute.
func within(path, dir string) bool {
	// Rel only compares names. So both paths must be without links.
	relative, err := filepath.Rel(resolve(dir), resolve(path))
	return err == nil && relative != ".." &&
		!strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// resolve replaces the symbolic links in the part of a path that exists. The server may create the
// rest later. A path that has no existing part is returned as it is. The path need not exist.
func resolve(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil || filepath.Dir(path) == path {
		return cmp.Or(found, path)
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}

// isServerURL reports whether text can be the URL of an account server, without the path of its
// API. Example: "https://user:password@host:9090".
func isServerURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		!strings.ContainsAny(text, "?#") && !strings.Contains(u.Path+"/", "/jwt/v1/")
}

// isLocal reports whether only clients on this machine can reach a host. The empty host is every
// interface, so it is not local.
func isLocal(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
