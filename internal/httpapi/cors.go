package httpapi

import "net/http"

// Scripts of every origin may read what needs no credentials. Where credentials are needed, a
// script must send them itself: a browser is never allowed to add those it knows
// (Access-Control-Allow-Credentials).

// These values are shared by all answers, so they must not be appended to.
var (
	varyOrigin    = []string{"Origin"}
	varyPreflight = []string{
		"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
	}
	exposed = []string{"Authorization"}
)

// isPreflight reports whether a browser asks if it may send another request. That is never about a
// route.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight repeats what was asked for. For a method that is not served it sends the Vary
// line only.
func answerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Vary"] = varyPreflight
	origin := first(r.Header["Origin"])
	asked := first(r.Header["Access-Control-Request-Method"])
	if origin != nil && isShared(asked[0]) {
		h["Access-Control-Allow-Origin"] = origin
		h["Access-Control-Allow-Methods"] = asked
		if names := first(r.Header["Access-Control-Request-Headers"]); names != nil {
			h["Access-Control-Allow-Headers"] = names
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// shareWithOrigin adds the headers that let a script of another origin read the answer.
func shareWithOrigin(h http.Header, r *http.Request) {
	h["Vary"] = varyOrigin
	origin := first(r.Header["Origin"])
	if origin == nil || (!isShared(r.Method) && r.Method != http.MethodOptions) {
		return
	}
	h["Access-Control-Allow-Origin"] = origin
	h["Access-Control-Expose-Headers"] = exposed
}

// isShared reports whether scripts of other origins may use a method.
func isShared(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPost
}

// first returns the first value alone, nil if there is none or if it is empty.
func first(values []string) []string {
	if len(values) == 0 || values[0] == "" {
		return nil
	}
	return values[:1:1]
}
