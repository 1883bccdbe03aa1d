package config

import "fmt"

// checkLosses reports what the running configuration has and the file does not give any more. A
// section that is there has been written, so it may leave everything out but the address. The
// operator may go: its keys must not stay trusted, and nothing can be pushed without it.
//
// A reload may read the file while an editor writes it, so its end may be missing. Such a file is
// valid as a rule, because each section has defaults. The check looks at what would then be open or
// cut off. It comes after the other checks, and only the first loss is reported, because the others
// have the same cause. A start has no such check.
func (l *loader) checkLosses(running Config) {
	now, next := running, l.draft
	was, is := now.HTTP, next.HTTP
	// listen is the other way to give the address.
	given := l.isGiven("listen") || l.isGiven("http.listen")
	moves := fmt.Sprintf("the server would move to %s:%d", is.Host, is.Port)
	// A flag that gives the address leaves it the same, so nothing moves then.
	hostMoves := !given && !l.isGiven("http.host") && was.Host != is.Host
	portMoves := !given && !l.isGiven("http.port") && was.Port != is.Port
	// A list that is not nil has logins, see rules. So nil means that every client may.
	opens := was.Write != nil && is.Write == nil || was.Read != nil && is.Read == nil
	for _, loss := range []struct {
		happens     bool
		key, effect string
	}{
		{hostMoves || portMoves, "http", moves},
		{portMoves, "http.port", moves},
		{hostMoves, "http.host", moves},
		{opens, "http.authorization", "clients would need no password"},
		// A section that is written to its end may take TLS away.
		{was.TLS.Cert != "" && is.TLS.Cert == "", "http", "connections would not be encrypted"},
		{len(now.NATS.Servers) > 0 && len(next.NATS.Servers) == 0, "nats",
			"changes would not be announced"},
	} {
		if loss.happens && !l.isGiven(loss.key) && len(l.mistakes) == 0 {
			l.fail(fmt.Errorf("%s has no %s any more, and %s: perhaps it is not written to its "+
				"end; if this is meant, restart the server", next.File, loss.key, loss.effect))
		}
	}
}
