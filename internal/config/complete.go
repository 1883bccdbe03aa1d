package config

import (
	"io/fs"
	"os"
	"path/filepath"
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

// hasUser reports whether a NATS URL has a user or a token. A path or query with "@" is unusual and
// counts too.
func hasUser(url string) bool { return strings.Contains(url, "@") }
