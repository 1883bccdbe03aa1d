package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// varyPage is shared by all answers that depend on the header Accept, so it must not be appended
// to.
var varyPage = []string{"Origin, Accept"}

// quality returns how much a client wants a media type that it names in Accept, from 0 for not at
// all to 1. It is -1 for one that is not named.
func quality(r *http.Request, media string) float64 {
	best := -1.0
	for _, value := range r.Header["Accept"] {
		for part := range strings.SplitSeq(value, ",") {
			name, parameters, err := mime.ParseMediaType(part)
			if err != nil || name != media {
				continue
			}
			q, err := strconv.ParseFloat(parameters["q"], 64)
			if err != nil || q > 1 {
				q = 1 // none is given, or it makes no sense
			}
			best = max(best, q)
		}
	}
	return best
}

// isBrowser reports whether a client asks for HTML by name.
func isBrowser(r *http.Request) bool { return quality(r, "text/html") > 0 }

// wantsJSON reports whether a client wants JSON where people get a text: by the parameter json, or
// the header Accept, in which it must not want a text more.
func wantsJSON(w http.ResponseWriter, r *http.Request) bool {
	w.Header()["Vary"] = varyPage
	f := flagsOf(r)
	if _, given := f["json"]; given {
		return f.value("json") == "" || f.set("json")
	}
	json := quality(r, typeJSON)
	return json > 0 && json >= quality(r, "text/plain")
}
