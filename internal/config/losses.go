package config

import "fmt"

// checkLosses reports what the running configuration has and the file does not give any more. A
// section that is there has been written, so it may leave everything out but the address. The
// operator may go: its keys must not stay trusted, and nothing can be pushed without it.
func (l *loader) checkLosses(running Config) {
	now, next := running, l.draft
	was, is := now.HTTP, next.HTTP
	// listen is the other way to give the address.
	given := l.isGiven("listen") || l.isGiven("http.listen")
	moves := fmt.Sprintf("the server would move to %s:%d", is.Host, is.Port)
	hostMoves := !given && !l.isGiven("http.host") && was.Host != is.Host
	portMoves := !given && !l.isGiven("http.port") && was.Port != is.Port
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
