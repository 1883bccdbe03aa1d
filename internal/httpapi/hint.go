package httpapi

import (
	"net/http"
	"strings"

	"nats-account-server/internal/suggest"
	"nats-account-server/internal/trust"
)

// hint names the URL that a client with a wrong path probably meant. Of the request it repeats nothing but an
// account key, and the host if it looks like one.
func (a *API) hint(r *http.Request) string {
	return "probably meant: " + base(r) + a.nearest(r.URL.Path)
}

// base is how the client reached this server, "" if it does not say so in earnest.
func base(r *http.Request) string {
	if !isHost(r.Host) {
		return ""
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func isHost(s string) bool {
	const inHost = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"
	return s != "" && len(s) <= 255 && strings.Trim(s, inHost) == ""
}

// nearest is a known path: the account's if a key stands anywhere in p, else the one whose last word some segment
// of p comes close to, else the help page.
func (a *API) nearest(p string) string {
	const enough = 16 // a longer path is no slip of the pen
	segments := strings.SplitN(p, "/", enough)
	for _, s := range segments {
		if trust.IsAccountKey(s) {
			return pathAccount + s
		}
	}
	for _, s := range segments {
		if known := a.resembling(s); known != "" {
			return known
		}
	}
	return pathHelp
}

func (a *API) resembling(segment string) string {
	for _, known := range []string{pathProbe, pathOperator, pathHealth, pathHelp} {
		word := known[strings.LastIndexByte(known, '/')+1:]
		if _, served := a.routes[known]; !served || tooDifferent(segment, word) {
			continue
		}
		if known == pathProbe {
			return pathAccount + "<account public key>"
		}
		return known
	}
	return ""
}

// tooDifferent reports whether segment is no misspelling of word. Case does not matter. A segment that is much longer is
// not compared: it could be 32 KiB.
func tooDifferent(segment, word string) bool {
	return len(segment) > 2*len(word) || suggest.Distance(segment, word) > len(word)/3
}
