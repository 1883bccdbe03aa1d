package httpapi

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"nats-account-server/internal/accounts"
)

// isKnown reports whether the client has this version. As with the original the ETag may stand
// anywhere, also weak or in a list. An ETag of ours is a hash in quotes, so it is a part of no
// other.
func isKnown(r *http.Request, etag string) bool {
	return hasAny(r) || slices.ContainsFunc(r.Header["If-None-Match"], func(v string) bool {
		return strings.Contains(v, etag)
	})
}

// hasAny reports whether the client wants nothing if there is anything, in whatever version: its
// If-None-Match is "*".
func hasAny(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["If-None-Match"], func(v string) bool {
		return strings.TrimSpace(v) == "*"
	})
}

// preconditionOf returns for which state of its account a JWT is pushed. Without the headers it is
// zero, which holds always. A header without a valid ETag gives an empty list, which no state
// fulfils for If-Match.
func preconditionOf(r *http.Request) (c accounts.Precondition) {
	if match := r.Header["If-Match"]; match != nil {
		c.Match = etagsOf(match, false)
	}
	if noneMatch := r.Header["If-None-Match"]; noneMatch != nil {
		c.NoneMatch = etagsOf(noneMatch, true)
	}
	return c
}

// etagsOf returns the ETags of header values, with their quotes, and an asterisk as it is. Weak
// ones are without their W/, or left out: the JWT that is to be replaced must be the same byte for
// byte. The slice is not nil, also if there is none.
func etagsOf(values []string, weak bool) []string {
	etags := []string{}
	for _, found := range etag.FindAllString(strings.Join(values, ","), -1) {
		strong, isWeak := strings.CutPrefix(found, "W/")
		if weak || !isWeak {
			etags = append(etags, strong)
		}
	}
	return etags
}

// etag matches one of a list. There may be commas in it.
var etag = regexp.MustCompile(`(?:W/)?"[^"]*"|\*`)

// withoutContent is the writer of an answer to a GET of a client that has any version. It makes a
// 304 of a 200 with content. A 200 without content stays: it says that this server is up. It is not
// used for a POST, for which the same header is a precondition.
type withoutContent struct {
	http.ResponseWriter
	isDecided bool // the status is known
	isKnown   bool // it is 304
}

// Unwrap is for http.ResponseController.
func (w *withoutContent) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *withoutContent) WriteHeader(status int) {
	h := w.Header()
	w.isDecided = true
	if w.isKnown = status == http.StatusOK && h.Get("Content-Length") != "0"; w.isKnown {
		status = http.StatusNotModified
		h.Del("Content-Length")
		h.Del("Content-Type")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. Its error ends an answer that would go on.
func (w *withoutContent) Write(content []byte) (int, error) {
	if !w.isDecided {
		w.WriteHeader(http.StatusOK)
	}
	if w.isKnown {
		return 0, http.ErrBodyNotAllowed
	}
	return w.ResponseWriter.Write(content)
}
