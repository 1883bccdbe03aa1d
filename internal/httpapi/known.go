package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// isKnown reports whether the client has this version. As with the original the ETag may stand
// anywhere, also weak or in a list.
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

// withoutContent is the writer of an answer to a GET of a client that has any version. It makes a
// 304 of a 200 with content. A 200 without content stays: it says that this server is up.
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
