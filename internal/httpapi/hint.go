package httpapi

import (
	"net/http"
	"strings"

	"nats-account-server/internal/suggest"
	"nats-account-server/internal/trust"
)

// maxHintSegments bounds how much of a path is compared. A longer one is not misspelled.
const maxHintSegments = 16

// hint names the URL that a client with a wrong path probably meant. Of the request it repeats only
// an account key, and the host if it looks like one.
func (t *router) hint(r *http.Request) string {
	return "probably meant: " + baseURL(r) + t.nearest(r.URL.Path)
}

// baseURL is how the client reached this server, "" if its Host header is not plausible.
func baseURL(r *http.Request) string {
	if !isHost(r.Host) {
		return ""
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// isHost reports whether s has only characters of a host and port, so that it may be repeated.
func isHost(s string) bool {
	const inHost = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"
	return s != "" && len(s) <= 255 && strings.Trim(s, inHost) == ""
}

// nearest is a known path: the account's if a key stands anywhere in p, else the one whose last
// word a segment of p resembles, else the help page.
func (t *router) nearest(p string) string {
	segments := strings.SplitN(p, "/", maxHintSegments)
	for _, s := range segments {
		if trust.IsAccountKey(s) {
			return pathAccount + s
		}
	}
	for _, s := range segments {
		for _, known := range []string{pathAccounts, pathOperator, pathHealth, pathHelp} {
			if _, served := t.exact[known]; !served ||
				!resembles(s, known[strings.LastIndexByte(known, '/')+1:]) {
				continue
			}
			if known == pathAccounts {
				return pathAccount + "<account public key>"
			}
			return known
		}
	}
	return pathHelp
}

// resembles reports whether segment may be a misspelling of word. Case does not matter. A segment
// that is much longer is not compared, since it could have 32 KiB.
func resembles(segment, word string) bool {
	return len(segment) <= 2*len(word) && suggest.Distance(segment, word) <= len(word)/3
}
