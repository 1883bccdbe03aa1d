package httpapi

import "net/http"

// Scripts of every origin may read what needs no credentials. Where credentials are needed, a
// script must send them itself: a browser is never allowed to add those it knows
// (Access-Control-Allow-Credentials).

// varyOrigin is shared by all answers, so it must not be appended to.
var varyOrigin = []string{"Origin"}

// isPreflight reports whether a browser asks if it may send another request. That is never about a
// route.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight repeats what was asked for. For a method that is not served it sends the Vary
// line only.
func answerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	// The origin is repeated instead of a "*", as the original does.
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	if origin != "" && isShared(method) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", method)
		if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
			h.Set("Access-Control-Allow-Headers", names)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// shareWithOrigin adds the headers that let a script of another origin read the answer.
func shareWithOrigin(h http.Header, r *http.Request) {
	h["Vary"] = varyOrigin
	// Programs that are no browsers send none, and get no headers about it.
	origin := r.Header.Get("Origin")
	if origin != "" && (isShared(r.Method) || r.Method == http.MethodOptions) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Authorization")
	}
}

// isShared reports whether scripts of other origins may use a method.
func isShared(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPost
}
