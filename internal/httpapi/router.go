package httpapi

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/suggest"
	"nats-account-server/internal/trust"
)

// http.ServeMux is not used. It matches the escaped path, redirects with other status codes, lists
// HEAD in Allow and knows no case folding. Each of its answers but the match itself would have to
// be replaced, and the match is one look into a map.

// Paths of the routes. Two of them are beginnings.
const (
	pathAccounts    = "/jwt/v1/accounts"
	pathAccount     = "/jwt/v1/accounts/" // a public account key follows
	suffixDryRun    = "/dry-run"          // follows the key
	suffixImpact    = "/impact"
	pathActivations = "/jwt/v1/activations"
	pathActivation  = "/jwt/v1/activations/" // the hash of an activation token follows
	pathOperator    = "/jwt/v1/operator"
	pathPack        = "/jwt/v1/pack"
	pathHelp        = "/jwt/v1/help"
	pathOpenAPI     = "/jwt/v1/openapi.json"
	pathHealth      = "/healthz"
	pathReady       = "/readyz"
	pathMetrics     = "/metrics"
	pathVarz        = "/varz"
	pathAccountz    = "/accountz"
	pathServerz     = "/serverz"
)

// handler answers one request, or returns an error and writes nothing. key is the account key or
// activation hash of the path. It is "" if there is none or if what stands there is not a valid
// one.
type handler func(w http.ResponseWriter, r *http.Request, key string) error

// route is what one path can do. HEAD is answered like GET: net/http leaves out the body.
type route struct {
	path string
	// isKey is nil unless the path is a beginning. One segment follows it then, for which isKey
	// says whether it is a key.
	isKey func(segment string) bool
	// suffix follows the key, "" if nothing does.
	suffix string

	// get and post are the handlers of these methods. nil means 405.
	get, post handler
	// read is the role that get needs. post needs an auth.Writer.
	read auth.Role

	// isPage is set if the route is for browsers: it is no part of the API.
	isPage bool
	// label is what the metrics call the route.
	label monitor.Route
}

// everyClient is the role that reading needs: every client has it, or those that the Authorizer
// lets read.
const everyClient = auth.Anonymous

// methods returns the value of the header Allow, in the order of the original.
func (rt *route) methods() string {
	methods := "OPTIONS"
	if rt.get != nil {
		methods = "GET, " + methods
	}
	if rt.post != nil {
		methods += ", POST"
	}
	return methods
}

// method returns nil for a method that the route does not have.
func (rt *route) method(name string) handler {
	switch name {
	case http.MethodGet, http.MethodHead:
		return rt.get
	case http.MethodPost:
		return rt.post
	default:
		return nil
	}
}

// match reports whether the route has a decoded path. key is "" if there is none or if what stands
// there is not one. It is one segment of the decoded path, so an escaped slash breaks the match.
// With a suffix the key is what stands between both. ok with an empty key means that the route
// answers that it is not valid.
func (rt *route) match(path string) (key string, ok bool) {
	segment, found := strings.CutPrefix(path, rt.path)
	if found && rt.suffix != "" {
		segment, found = strings.CutSuffix(segment, rt.suffix)
	}
	switch {
	// Without a key, the path must be the whole of it.
	case !found, rt.isKey == nil:
		return "", found && segment == ""
	// The path without a key has a route of its own.
	case segment == "", strings.Contains(segment, "/"):
		return "", false
	case !rt.isKey(segment):
		return "", true
	}
	return segment, true
}

// router finds the route of a path.
type router []*route

// match returns nil if no route has the path.
func (t router) match(path string) (rt *route, key string) {
	for _, rt := range t {
		if key, ok := rt.match(path); ok {
			return rt, key
		}
	}
	return nil, ""
}

// canonical returns the spelling of p that a route with this method has, "" if there is none:
// without dots and double slashes, with or without a slash at the end, in the case of the route.
// Of two such spellings it returns the one that ends as p does.
func (t router) canonical(p, method string) string {
	// Clean takes the slash at the end away, too.
	clean := path.Clean("/" + p)
	spellings := []string{clean, clean + "/"}
	if strings.HasSuffix(p, "/") {
		slices.Reverse(spellings)
	}
	for _, s := range spellings {
		s = t.fold(s)
		if rt, _ := t.match(s); rt != nil && rt.method(method) != nil {
			return s
		}
	}
	return ""
}

// fold gives the part of p that belongs to a route the case that the route has. Keys stay as they
// are.
func (t router) fold(p string) string {
	for _, rt := range t {
		n := len(rt.path)
		if len(p) >= n && strings.EqualFold(p[:n], rt.path) && (rt.isKey != nil || len(p) == n) {
			return rt.path + p[n:]
		}
	}
	return p
}

// elsewhere answers a path that no route has: with a redirect if the path is a route's but for its
// spelling, and otherwise with a 404 that names the URL which was probably meant.
func (t router) elsewhere(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		return nil // it is about the server, not about a path: a 200 without anything
	}
	target := t.canonical(r.URL.Path, r.Method)
	if target == "" {
		return fmt.Errorf("%w\nprobably meant: %s%s", errNoRoute, baseURL(r), t.nearest(r.URL.Path))
	}
	redirect(w, r, target)
	return nil
}

// redirect sends the client to another path on this server, with the query it came with. The path
// is escaped anew, so a line break in it can't add a header.
func redirect(w http.ResponseWriter, r *http.Request, target string) {
	location := (&url.URL{Path: target, RawQuery: escapeQuery(r.URL.RawQuery)}).String()
	// The location is a path, so that it is right behind a proxy too.
	w.Header().Set("Location", location)
	// A client repeats the method only after a 307. A 301 may turn a POST into a GET.
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	send(w, http.StatusMovedPermanently, typeHTML,
		"<a href=\""+html.EscapeString(location)+"\">Moved Permanently</a>.\n\n")
}

// notInURL matches what may not stand in a URL and was sent nevertheless.
var notInURL = regexp.MustCompile("[^!-~]|[\"'<>\\\\`]")

// escapeQuery escapes that. The rest stays as it was sent: url.Values would sort the parameters and
// drop some.
func escapeQuery(query string) string {
	return notInURL.ReplaceAllStringFunc(query, url.PathEscape)
}

// baseURL is how the client reached this server, "" if its Host header has other characters than a
// host and port: nothing else is repeated.
func baseURL(r *http.Request) string {
	const inHost = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"
	switch {
	case r.Host == "" || len(r.Host) > 255 || strings.Trim(r.Host, inHost) != "":
		return ""
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// maxHintSegments bounds how much of a path is compared. A longer one is not misspelled.
const maxHintSegments = 16

// hints are what to show for a path which has a segment like the last word of a known one.
var hints = []struct{ known, hint string }{
	{pathAccounts, pathAccount + "<account public key>"},
	{pathOperator, pathOperator},
	{pathHealth, pathHealth},
}

// nearest is a known path: the account's if a key stands anywhere in p, else the one whose last
// word a segment of p resembles, else the help page.
func (t router) nearest(p string) string {
	nearest := pathHelp
	for _, segment := range strings.SplitN(p, "/", maxHintSegments) {
		// A key is the best hint: the client wants that account.
		if trust.IsAccountKey(segment) {
			return pathAccount + segment
		}
		for _, h := range hints {
			served, _ := t.match(h.known)
			if nearest == pathHelp && served != nil && resembles(segment, path.Base(h.known)) {
				nearest = h.hint
			}
		}
	}
	return nearest
}

// resembles reports whether segment may be a misspelling of word. Case does not matter. A segment
// that is much longer is not compared, since it could have 32 KiB.
func resembles(segment, word string) bool {
	return len(segment) <= 2*len(word) && suggest.Distance(segment, word) <= len(word)/3
}
