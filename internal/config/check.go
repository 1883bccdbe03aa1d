package config

import (
	"cmp"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// checkStore checks and completes the keys of the store, and finds the operator in a directory of
// nsc.
func (l *loader) checkStore() {
	s := &l.draft.Store
	// An empty directory may come from a variable that is unexpectedly empty. Storing in memory
	// instead would lose data.
	if at, given := l.at["store.dir"]; given && s.Dir == "" && s.NSC == "" && !s.ReadOnly {
		l.mistake(at, "store directory is required")
	}
	// Only one of the two can be served.
	if s.Dir != "" && s.NSC != "" {
		l.warn(l.at["store.nsc"], false, "store.nsc has no effect: store.dir wins")
		s.NSC = ""
	}
	if s.NSC != "" {
		s.ReadOnly = true
		l.findOperator(s.NSC)
	}
	// The program that writes the directory also decides what is deleted there.
	if s.ReadOnly && s.CleanupInterval > 0 {
		l.warn(l.at["store.cleanupinterval"], false,
			"store.cleanupinterval has no effect: this server is read-only")
		s.CleanupInterval = 0
	}
	// If one directory were inside the other, the state would look like a change of what is served.
	source := cmp.Or(s.Dir, s.NSC)
	switch {
	case s.StateDir != "" && (!s.ReadOnly || source == ""):
		l.mistake(l.at["store.statedir"], "store.statedir is for a read-only directory or an nsc folder")
	case s.StateDir != "" && (within(s.StateDir, source) || within(source, s.StateDir)):
		l.mistake(l.at["store.statedir"], "store.statedir must be another directory than the one "+
			"that is only read, and neither may be inside the other")
	case s.ReadOnly && s.AllowDelete:
		l.mistake(l.at["store.allow_delete"], "store.allow_delete is not for a server that is read-only")
	}
}

// within reports whether path is dir or inside dir. It follows symbolic links.
func within(path, dir string) bool {
	relative, err := filepath.Rel(resolve(dir), resolve(path))
	return err == nil && relative != ".." &&
		!strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// resolve replaces the symbolic links in the part of a path that exists.
func resolve(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil || filepath.Dir(path) == path {
		return cmp.Or(found, path)
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}

// findOperator takes the operator's JWT from a directory of nsc, unless one is configured. nsc
// names the JWT like the directory, with spaces or with underscores. The directory may have been
// renamed; if it has only one JWT, that is the operator's.
func (l *loader) findOperator(dir string) {
	if l.draft.Operator != (JWTRef{}) {
		return
	}
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
	case l.flags.NSC == "":
		l.warn(l.at["store.nsc"], true, "there is no operator JWT in %s: set operatorjwtpath", dir)
		return
	}
	// If the file does not exist, the error is reported when the server reads it.
	l.draft.Operator = JWTRef{Path: filepath.Join(dir, own)}
}

// checkPrimary checks the URL of the primary, and that a replica can follow it.
func (l *loader) checkPrimary() {
	c := &l.draft
	if c.Primary == "" {
		return
	}
	at := l.at["primary"]
	u, err := url.Parse(c.Primary)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		strings.ContainsAny(c.Primary, "?#") || strings.Contains(u.Path+"/", "/jwt/v1/") {
		// The error does not show the URL, which may contain a password.
		l.mistake(at, "primary is not the URL of an account server, such as http://host:9090, "+
			"without /jwt/v1")
	}
	// The first two errors have the original's text.
	switch {
	case c.Store.NSC != "":
		l.mistake(at, "replicas cannot be run in NSC mode")
	case c.Store.ReadOnly:
		l.mistake(at, "replica mode cannot be used in read-only mode, but will not allow POST operations")
	case c.Operator == (JWTRef{}):
		l.mistake(at, "a replica needs an operator, to know what it may take from its primary: "+
			"set operatorjwtpath")
	}
}

// minReconnectWait keeps a server that can't connect from trying all the time.
const minReconnectWait = 100 * time.Millisecond

// checkNATS raises a very short wait, and checks that the connection is encrypted as configured.
func (l *loader) checkNATS() {
	n := &l.draft.NATS
	if n.ReconnectWait < minReconnectWait {
		n.ReconnectWait = minReconnectWait
		l.warn(l.at["nats.reconnectwait"], false, "nats.reconnectwait is raised to 100 ms")
	}
	l.checkPair("nats.tls", n.TLS.Cert, n.TLS.Key)
	// A ws:// URL is never encrypted.
	unencrypted := func(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ws://") }
	if n.TLS != (NATSTLS{}) && slices.ContainsFunc(n.Servers, unencrypted) {
		l.mistake(l.at["nats.servers"],
			"nats.tls is set, but a ws:// URL in nats.servers goes without TLS: write wss://")
	}
}

// checkPair checks that a section has both a certificate and its key, or neither.
func (l *loader) checkPair(section, cert, key string) {
	switch {
	case cert != "" && key == "":
		l.mistake(l.at[section+".cert"],
			"%[1]s.cert needs the key that belongs to it: %[1]s.key is not set", section)
	case key != "" && cert == "":
		l.mistake(l.at[section+".key"],
			"%[1]s.key needs the certificate it belongs to: %[1]s.cert is not set", section)
	}
}

// checkHTTPTLS checks that HTTP is encrypted and that clients are verified as configured.
func (l *loader) checkHTTPTLS() {
	t := l.draft.HTTP.TLS
	l.checkPair("http.tls", t.Cert, t.Key)
	switch {
	case t.Verify != VerifyNone && t.Cert == "":
		l.mistake(l.at["http.tls.verify"],
			"http.tls.verify needs TLS: http.tls.cert and http.tls.key are not set")
	case t.Verify != VerifyNone && t.Root == "":
		l.mistake(l.at["http.tls.verify"],
			"http.tls.verify needs the authorities of client certificates: http.tls.root is not set")
	case t.Verify == VerifyNone && t.Root != "":
		// The authorities alone restrict nothing. This was perhaps meant otherwise.
		l.warn(l.at["http.tls.root"], false, "http.tls.root has no effect without http.tls.verify")
	}
}

// checkLogins checks that the logins restrict access as it seems, and that each of them can log in.
func (l *loader) checkLogins() {
	h := l.draft.HTTP
	writeAt, readAt := l.at["http.authorization.write"], l.at["http.authorization.read"]
	// An empty list was probably meant to have logins. It would refuse every client.
	switch {
	case h.Write == nil && h.Read == nil:
		return
	case h.Write == nil:
		l.mistake(readAt,
			"http.authorization.read without http.authorization.write would let every client push")
	case len(h.Write) == 0:
		l.mistake(writeAt, "http.authorization.write has no login")
	case h.Read != nil && len(h.Read) == 0:
		l.mistake(readAt, "http.authorization.read has no login")
	}
	seen := map[Login]bool{}
	passwords := false
	for _, o := range slices.Concat(h.Write, h.Read) {
		passwords = passwords || o.User != ""
		if o.Certificate != "" && h.TLS.Verify == VerifyNone {
			l.mistake(writeAt, "the certificate %q has no effect without http.tls.verify", o.Certificate)
		}
		o.Hash = "" // two logins are the same user whatever their passwords are
		if seen[o] && o != (Login{}) {
			l.mistake(writeAt, "%q is in http.authorization twice", o.User+o.Certificate)
		}
		seen[o] = true
	}
	if passwords && h.TLS.Cert == "" && !isLocal(h.Host) {
		l.warn(writeAt, false, "without http.tls, passwords are sent unencrypted")
	}
}

// isLocal reports whether only clients on this machine can reach a host.
func isLocal(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}
