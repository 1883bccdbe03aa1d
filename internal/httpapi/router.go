package httpapi

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"path"
	"strings"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/trust"
)

// http.ServeMux is not used. It matches the escaped path, redirects with other status codes, lists
// HEAD in Allow and knows no case folding. Each of its answers but the match itself would have to
// be replaced, and the match is one look into a map.

// Paths of the routes. Two of them are beginnings.
const (
	pathAccounts    = "/jwt/v1/accounts"
	pathAccount     = "/jwt/v1/accounts/" // a public account key follows
	pathActivations = "/jwt/v1/activations"
	pathActivation  = "/jwt/v1/activations/" // the hash of an activation token follows
	pathOperator    = "/jwt/v1/operator"
	pathPack        = "/jwt/v1/pack"
	pathHelp        = "/jwt/v1/help"
	pathHealth      = "/healthz"
)

// handler answers one request, or returns an error and writes nothing. key is the account key of
// the path. It is "" if there is none or if what stands there is not a public account key.
type handler func(w http.ResponseWriter, r *http.Request, key string) error

// route is what one path can do. HEAD is answered like GET: net/http leaves out the body.
type route struct {
	path  string
	get   handler   // nil: 405
	post  handler   // nil: 405
	read  auth.Role // needed for get; post needs a Writer
	allow []string  // value of the header Allow
}

// newRoute returns a route which auth.Anonymous may read.
func newRoute(path string, get, post handler) *route {
	methods := "OPTIONS"
	if get != nil {
		methods = "GET, " + methods
	}
	if post != nil {
		methods += ", POST"
	}
	return &route{path: path, get: get, post: post, read: auth.Anonymous, allow: []string{methods}}
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

// router finds the route of a path.
type router struct {
	exact      map[string]*route // by path
	account    *route            // pathAccount and something that may be a key
	activation *route            // pathActivation and something that may be a hash
}

// match finds the route of a decoded path, nil if there is none. A key is one segment of the
// decoded path, so an escaped slash in it breaks the match.
func (t *router) match(path string) (rt *route, key string) {
	if hash, found := strings.CutPrefix(path, pathActivation); found && hash != "" &&
		!strings.Contains(hash, "/") {
		return t.activation, ""
	}
	segment, found := strings.CutPrefix(path, pathAccount)
	switch {
	case !found || segment == "":
		return t.exact[path], ""
	case strings.Contains(segment, "/"):
		return nil, ""
	case !trust.IsAccountKey(segment):
		return t.account, ""
	}
	return t.account, segment
}

// canonical returns the spelling of p that a route with this method has, "" if there is none:
// without dots and double slashes, with or without a slash at the end, in the case of the route.
func (t *router) canonical(p, method string) string {
	// The spelling whose last slash is as in p is tried first: both can be routes.
	clean := path.Clean("/" + p)
	slashed := clean + "/"
	spellings := []string{clean, slashed}
	if strings.HasSuffix(p, "/") {
		spellings = []string{slashed, clean}
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
func (t *router) fold(p string) string {
	for known := range t.exact {
		if strings.EqualFold(p, known) {
			return known
		}
	}
	for _, prefix := range []string{pathAccount, pathActivation} {
		if n := len(prefix); len(p) > n && strings.EqualFold(p[:n], prefix) {
			return prefix + p[n:]
		}
	}
	return p
}

// elsewhere answers a path that no route has: with a redirect if the path is a route's but for its
// spelling.
func (t *router) elsewhere(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		return nil // it is about the server, not about a path: a 200 without anything
	}
	target := t.canonical(r.URL.Path, r.Method)
	if target == "" {
		return &noRouteError{hint: t.hint(r)}
	}
	redirect(w, r, target)
	return nil
}

// redirect sends the client to another path on this server, with the query it came with.
func redirect(w http.ResponseWriter, r *http.Request, target string) {
	location := (&url.URL{Path: target}).String()
	if r.URL.RawQuery != "" {
		location += "?" + escapeQuery(r.URL.RawQuery)
	}
	w.Header().Set("Location", location)
	// A client repeats the method only after a 307. A 301 may turn a POST into a GET.
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	status := http.StatusMovedPermanently
	link := fmt.Sprintf("<a href=\"%s\">%s</a>.\n\n", html.EscapeString(location),
		http.StatusText(status))
	send(w, status, typeHTML, link)
}

// escapeQuery escapes what may not stand in a URL and was sent nevertheless.
func escapeQuery(q string) string {
	var b strings.Builder
	for _, c := range []byte(q) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"'<>\\`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
