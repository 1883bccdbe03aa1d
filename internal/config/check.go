package config

import (
	"cmp"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// minReconnectWait keeps a server that can't connect from trying all the time. 0 is the original's
// default in some places.
const minReconnectWait = 100 * time.Millisecond

// complete finds the operator in a directory of nsc, and makes values that have no effect the ones
// that hold. It runs after the file and the flags are read, and before check. It may add warnings,
// and mistakes about the folder of nsc.
//
// The order of the steps counts. The store comes first, because an nsc folder brings the operator
// with it. The warning about a NATS user without credentials asks whether there is an operator.
func (l *loader) complete() {
	l.completeStore()
	l.completeNATS()
	l.warnListen()
	// All three keys are kept in the draft. Package logging takes the file alone.
	if log := l.draft.Logging; log.File != "" && (log.Syslog || log.RemoteSyslog != "") {
		l.warn(l.at["logging.file"], true, "logging.file wins over logging.syslog and "+
			"logging.remote_syslog, as in nats-server: the log goes to the file alone")
	}
	// The authorities alone restrict nothing. This was perhaps meant otherwise.
	if tls := l.draft.HTTP.TLS; tls.Verify == VerifyNone && tls.Root != "" {
		l.warn(l.at["http.tls.root"], false, "http.tls.root has no effect without http.tls.verify")
	}
}

// completeStore is complete for the store: which directory is served, and who deletes in it.
func (l *loader) completeStore() {
	s := &l.draft.Store
	// Only one of the two can be served.
	if s.Dir != "" && s.NSC != "" {
		l.warn(l.at["store.nsc"], false, "store.nsc has no effect: store.dir wins")
		s.NSC = ""
	}
	if s.NSC != "" {
		// A folder of nsc belongs to nsc. A write of this server would be taken for a change of
		// nsc.
		s.ReadOnly = true
		l.findOperator(s.NSC)
	}
	// The program that writes the directory also decides what is deleted there.
	if s.ReadOnly && s.CleanupInterval > 0 {
		l.warn(l.at["store.cleanupinterval"], false,
			"store.cleanupinterval has no effect: this server is read-only")
		s.CleanupInterval = 0
	}
	// Defaults such as the name of the bucket stay in the draft until here. A KV without servers
	// must be zero, because other packages ask for that.
	if len(s.KV.Servers) == 0 {
		s.KV = KV{}
		if l.isGiven("store.kv") && !l.isGiven("store.kv.servers") {
			l.warn(l.at["store.kv"], true, "store.kv has no effect without store.kv.servers")
		}
	}
}

// completeNATS is complete for the connection to NATS: its times, and its user. It needs the
// operators, which completeStore may have found.
func (l *loader) completeNATS() {
	n := &l.draft.NATS
	// 0 is a valid value of both in the original, so it is no mistake here.
	if n.ConnectTimeout == 0 {
		n.ConnectTimeout = defaults().NATS.ConnectTimeout
		l.warn(l.at["nats.connecttimeout"], false, "nats.connecttimeout 0 has no effect: it is %s",
			n.ConnectTimeout)
	}
	// A negative wait never comes here: the row of the key refuses it.
	if n.ReconnectWait < minReconnectWait {
		l.warn(l.at["nats.reconnectwait"], false, "nats.reconnectwait is raised to 100 ms")
		n.ReconnectWait = minReconnectWait
	}
	// A nats-server that trusts an operator refuses a client without a user.
	if len(l.draft.Operators) > 0 && len(n.Servers) > 0 &&
		n.Credentials == "" && n.TLS.Cert == "" &&
		!slices.ContainsFunc(n.Servers, hasUser) {
		l.warn(l.at["nats.servers"], true,
			"nats.servers is set without a user: set nats.usercredentials "+
				"to the creds file of a user of the system account")
	}
}

// warnListen warns if the address to listen on is given in more than one way. The flags are not
// among them: they always win. The warning is strict, because the address that counts may be open
// to more clients than the one that was meant.
func (l *loader) warnListen() {
	var given []string
	for _, path := range []string{"listen", "http.listen", "http.host", "http.port"} {
		if l.isGiven(path) {
			given = append(given, path)
		}
	}
	// host and port together are one way. The list has the order of the paths above. So http.host
	// is the first only if neither listen is given.
	if len(given) > 1 && given[0] != "http.host" {
		l.warn(l.at[given[0]], true, "%s are given: the last one in the file counts",
			strings.Join(given, " and "))
	}
}

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

// rules returns a row for each rule, with whether the draft breaks it.
func (l *loader) rules() []rule {
	s, n, h := l.draft.Store, l.draft.NATS, l.draft.HTTP
	k := s.KV
	isShared := len(k.Servers) > 0
	source := cmp.Or(s.Dir, s.NSC) // what a read-only server reads
	replica, noOperator := l.draft.Primary != "", len(l.draft.Operators) == 0
	verify := h.TLS.Verify != VerifyNone
	// The order is that of the sections in a file. Mistakes are reported in it.
	return []rule{
		// An empty directory may come from a variable that is unexpectedly empty. Storing in memory
		// instead would lose data.
		{l.isGiven("store.dir") && source == "" && !s.ReadOnly, "store.dir",
			"store directory is required"},
		{s.StateDir != "" && source == "", "store.statedir",
			"store.statedir is for a directory or an nsc folder"},
		// The state would look like a change of what is served.
		{s.StateDir != "" && source != "" &&
			(within(s.StateDir, source) || within(source, s.StateDir)),
			"store.statedir",
			"store.statedir must be another directory than the one that is served, " +
				"and neither may be inside the other"},
		// The program that writes the directory decides what is deleted there.
		{s.ReadOnly && s.AllowDelete, "store.allow_delete",
			"store.allow_delete is not for a server that is read-only"},

		// The error does not show the URL, which may contain a password.
		{replica && !isServerURL(l.draft.Primary), "primary",
			"primary is not the URL of an account server, such as " +
				"http://host:9090, without /jwt/v1"},
		// The next two errors have the original's text.
		{replica && s.NSC != "", "primary", "replicas cannot be run in NSC mode"},
		{replica && s.ReadOnly && s.NSC == "", "primary",
			"replica mode cannot be used in read-only mode, but will not allow POST operations"},
		// Without an operator any JWT that a primary sends would be refused, and the replica would
		// stay empty.
		{replica && noOperator, "primary",
			"a replica needs an operator, to know what it may take from its " +
				"primary: set operatorjwtpath"},

		// The journal and the directory are what a server serves while the bucket is away.
		{isShared && s.Dir == "", "store.kv",
			"store.kv needs store.dir: what the bucket has is stored there too"},
		{isShared && (s.ReadOnly || s.NSC != ""), "store.kv",
			"store.kv is not for a server that is read-only: " +
				"another program decides what it serves"},
		// Both would say what is newer, and they can contradict each other.
		{isShared && replica, "store.kv",
			"store.kv is not for a server with a primary: it has what its bucket has"},
		// A server alone would take pushes that the others never see.
		{!isShared && l.isGiven("store.kv.servers"), "store.kv.servers",
			"store.kv.servers is empty"},
		// A certificate and its key come in pairs here, for NATS and for HTTP. The files are not
		// read yet: whether they fit together is found when daemon loads them.
		{k.TLS.Cert != "" && k.TLS.Key == "", "store.kv.tls.cert",
			"store.kv.tls.cert needs the key that belongs to it: store.kv.tls.key is not set"},
		{k.TLS.Cert == "" && k.TLS.Key != "", "store.kv.tls.key",
			"store.kv.tls.key needs the certificate it belongs to: store.kv.tls.cert is not set"},
		// A ws:// URL is never encrypted, so the section would protect nothing on it.
		{k.TLS != (NATSTLS{}) && slices.ContainsFunc(k.Servers, isUnencrypted), "store.kv.servers",
			"store.kv.tls is set, but a ws:// URL in store.kv.servers " +
				"goes without TLS: write wss://"},

		{runtime.GOOS == "windows" && l.draft.Logging.Syslog, "logging.syslog",
			"Windows has no syslog: the log of a service is in the event log; " +
				"logging.remote_syslog and -r name a syslog on another machine"},

		// One of the two is of no use without the other.
		{n.TLS.Cert != "" && n.TLS.Key == "", "nats.tls.cert",
			"nats.tls.cert needs the key that belongs to it: nats.tls.key is not set"},
		{n.TLS.Cert == "" && n.TLS.Key != "", "nats.tls.key",
			"nats.tls.key needs the certificate it belongs to: nats.tls.cert is not set"},
		{n.TLS != (NATSTLS{}) && slices.ContainsFunc(n.Servers, isUnencrypted), "nats.servers",
			"nats.tls is set, but a ws:// URL in nats.servers goes without TLS: write wss://"},

		// A key alone gives plain HTTP in the original.
		{h.TLS.Cert != "" && h.TLS.Key == "", "http.tls.cert",
			"http.tls.cert needs the key that belongs to it: http.tls.key is not set"},
		{h.TLS.Cert == "" && h.TLS.Key != "", "http.tls.key",
			"http.tls.key needs the certificate it belongs to: http.tls.cert is not set"},
		// Without these, verify would restrict nothing.
		{verify && h.TLS.Cert == "", "http.tls.verify",
			"http.tls.verify needs TLS: http.tls.cert and http.tls.key are not set"},
		{verify && h.TLS.Root == "", "http.tls.verify",
			"http.tls.verify needs the authorities of client certificates: " +
				"http.tls.root is not set"},

		// To let every client push and restrict reading can't be meant.
		{h.Write == nil && h.Read != nil, "http.authorization.read",
			"http.authorization.read without http.authorization.write would let every client push"},
		// An empty list was probably meant to have logins. It would refuse every client.
		{h.Write != nil && len(h.Write) == 0, "http.authorization.write",
			"http.authorization.write has no login"},
		{h.Read != nil && len(h.Read) == 0, "http.authorization.read",
			"http.authorization.read has no login"},
	}
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

// maxNear is how many folders a message names.
const maxNear = 5

// operatorFolders returns the folders of operators in nsc that were probably meant by dir: those in
// dir, in its directory of stores, or the one that dir is in. It returns none if dir is one itself.
// Nothing is read but directories and the presence of the file .nsc.
func operatorFolders(dir string) (near []string) {
	// nsc has this file in the folder of each operator.
	isOperator := func(dir string) bool {
		file, err := os.Stat(filepath.Join(dir, ".nsc"))
		return err == nil && file.Mode().IsRegular() // a home may have a directory of this name
	}
	if isOperator(dir) {
		return nil
	}
	for _, above := range []string{dir, filepath.Join(dir, "stores"),
		filepath.Join(dir, "nsc", "stores")} {
		inside, _ := os.ReadDir(above) // nothing if it can't be read
		for _, e := range inside {
			if path := filepath.Join(above, e.Name()); isOperator(path) && len(near) < maxNear {
				near = append(near, path)
			}
		}
	}
	// The deepest folder of an operator is accounts/<name>/users. Three steps up are enough: users,
	// the account and accounts are below the operator.
	for above, n := filepath.Dir(dir), 0; len(near) == 0 && n < 3; above, n = filepath.Dir(above),
		n+1 {
		if isOperator(above) {
			return []string{above}
		}
	}
	return near
}

// findOperator takes the operator's JWT from a directory of nsc, unless one is configured. nsc
// names the JWT like the directory, with spaces or with underscores. The directory may have been
// renamed; if it has only one JWT, that is the operator's.
//
// A folder that is no operator's is a mistake only if one is found near it. Otherwise a JWT in it
// is enough, as for the original. The path is put into the draft as if the file had given it, and
// daemon reads it later.
func (l *loader) findOperator(dir string) {
	if near := operatorFolders(dir); len(near) > 0 {
		l.mistake(l.at["store.nsc"], "%s is not the folder of an operator, which has a file .nsc: "+
			"take %s", dir, strings.Join(near, " or "))
		return
	}
	if len(l.draft.Operators) > 0 {
		return
	}
	// Two names that differ only in spaces and underscores count as the same.
	found, _ := fs.Glob(os.DirFS(dir), "*.jwt") // nothing if the directory can't be read
	own := filepath.Base(dir) + ".jwt"
	underscores := strings.NewReplacer(" ", "_")
	i := slices.IndexFunc(found, func(name string) bool {
		return underscores.Replace(name) == underscores.Replace(own)
	})
	switch {
	case i >= 0:
		own = found[i]
	case len(found) == 1:
		own = found[0]
	// The flag is for a folder that the user has just named: the file's absence is an error then.
	case l.flags.NSC == "":
		l.warn(l.at["store.nsc"], true, "there is no operator JWT in %s: set operatorjwtpath", dir)
		return
	}
	// If the file does not exist, the error is reported when the server reads it.
	l.draft.Operators = []JWTRef{{Path: filepath.Join(dir, own)}}
}

// isServerURL reports whether text can be the URL of an account server, without the path of its
// API. Example: "https://user:password@host:9090".
func isServerURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		!strings.ContainsAny(text, "?#") && !strings.Contains(u.Path+"/", "/jwt/v1/")
}

// hasUser reports whether a NATS URL has a user or a token. A path or query with "@" is unusual and
// counts too.
func hasUser(url string) bool { return strings.Contains(url, "@") }

// isUnencrypted reports whether a connection to a NATS URL is never encrypted.
func isUnencrypted(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ws://") }

// isLocal reports whether only clients on this machine can reach a host. The empty host is every
// interface, so it is not local.
func isLocal(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
