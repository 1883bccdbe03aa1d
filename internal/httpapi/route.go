package httpapi

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"path"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/trust"
)

// http.ServeMux is not used. It matches the escaped path, redirects with other status codes, lists HEAD in Allow and
// knows no case folding, so each of its answers but the match itself would have to be replaced; what remains of it is
// one map look-up.

const (
	pathProbe    = "/jwt/v1/accounts"
	pathAccount  = "/jwt/v1/accounts/" // a public account key follows
	pathOperator = "/jwt/v1/operator"
	pathPack     = "/jwt/v1/pack"
	pathHelp     = "/jwt/v1/help"
	pathHealth   = "/healthz"
)

// handler answers one request, or returns an error and writes nothing. key is the account key of the path; it is
// "" if there is none or if what stands there is not a public account key.
type handler func(w http.ResponseWriter, r *http.Request, key string) error

// route is what one path can do. HEAD is answered like GET; net/http leaves out the body.
type route struct {
	path  string
	get   handler
	post  handler   // nil: 405
	read  auth.Role // what get takes; post takes a Writer
	allow []string  // the value of the header Allow
}

func newRoute(path string, get, post handler) *route {
	allow := "GET, OPTIONS"
	if post != nil {
		allow = "GET, OPTIONS, POST"
	}
	return &route{path: path, get: get, post: post, read: auth.Guest, allow: []string{allow}}
}

// open is a route that nobody needs credentials for.
func open(path string, get handler) *route {
	rt := newRoute(path, get, nil)
	rt.read = auth.Nobody
	return rt
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

func (a *API) addRoutes() {
	a.account = newRoute(pathAccount, a.getAccount, a.postAccount)
	if a.readOnly {
		a.account = newRoute(pathAccount, a.getAccount, nil)
	}
	a.routes = make(map[string]*route)
	for _, rt := range []*route{
		newRoute(pathProbe, a.getProbe, nil),
		newRoute(pathAccount, a.getProbe, nil), // no key is no account
		newRoute(pathPack, a.getPack, nil),
		newRoute(pathHelp, getHelp, nil),
		open(pathHealth, getHealth),
	} {
		a.routes[rt.path] = rt
	}
	a.token = newRoute(pathActivation, a.getActivation, nil)
	a.tokens = &route{path: pathActivations, post: a.postActivation, read: auth.Guest, allow: []string{"OPTIONS, POST"}}
	if a.readOnly {
		a.tokens.post, a.tokens.allow = nil, []string{"OPTIONS"}
	}
	a.routes[pathActivations] = a.tokens
	if a.operator != nil {
		a.routes[pathOperator] = newRoute(pathOperator, a.getOperator, nil)
	}
}

// match finds the route of a decoded path, nil if there is none. A key is one segment of the decoded path, so an
// escaped slash in it breaks the match.
func (a *API) match(path string) (rt *route, key string) {
	if hash, found := strings.CutPrefix(path, pathActivation); found && hash != "" && !strings.Contains(hash, "/") {
		return a.token, ""
	}
	segment, found := strings.CutPrefix(path, pathAccount)
	if !found || segment == "" {
		return a.routes[path], ""
	}
	if strings.Contains(segment, "/") {
		return nil, ""
	}
	if !trust.IsAccountKey(segment) {
		return a.account, ""
	}
	return a.account, segment
}

func (a *API) dispatch(w http.ResponseWriter, r *http.Request, rt *route, key string) error {
	if rt == nil {
		return a.astray(w, r)
	}
	if h := rt.method(r.Method); h != nil {
		r, err := a.admit(r, rt)
		if err != nil {
			a.turnAway(r, err)
			return err
		}
		if via := r.Header["Via"]; via != nil {
			r = r.WithContext(accounts.WithVia(r.Context(), strings.Join(via, ", ")))
		}
		return h(w, r, key)
	}
	w.Header()["Allow"] = rt.allow
	if r.Method == http.MethodOptions {
		sendEmpty(w, http.StatusOK)
		return nil
	}
	if (rt == a.account || rt == a.tokens) && r.Method == http.MethodPost && a.primary != "" {
		return &elsewhereError{primary: a.primary}
	}
	return errMethod
}

// astray answers a path that no route has: with a redirect if the path is a route's but for its spelling.
func (a *API) astray(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		return nil // about the server, not about a path: a bare 200
	}
	target := a.canonical(r.URL.Path, r.Method)
	if target == "" {
		return &strayError{hint: a.hint(r)}
	}
	redirect(w, r, target)
	return nil
}

// canonical returns the spelling of p that a route with this method has, "" if there is none: dots and double
// slashes cleaned away, a slash at the end more or less, the route's own case.
func (a *API) canonical(p, method string) string {
	clean := path.Clean("/" + p)
	slashed := clean + "/"
	spellings := []string{clean, slashed}
	if strings.HasSuffix(p, "/") {
		spellings = []string{slashed, clean}
	}
	for _, s := range spellings {
		s = a.fold(s)
		if rt, _ := a.match(s); rt != nil && rt.method(method) != nil {
			return s
		}
	}
	return ""
}

// fold gives the part of p that belongs to a route the case that the route has. Keys stay as they are.
func (a *API) fold(p string) string {
	for known := range a.routes {
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

// redirect sends the client to another path on this server, with the query it came with.
func redirect(w http.ResponseWriter, r *http.Request, target string) {
	location := (&url.URL{Path: target}).String()
	if r.URL.RawQuery != "" {
		location += "?" + escapeQuery(r.URL.RawQuery)
	}
	w.Header().Set("Location", location)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	body := fmt.Sprintf("<a href=\"%s\">%s</a>.\n\n", html.EscapeString(location), http.StatusText(http.StatusMovedPermanently))
	send(w, http.StatusMovedPermanently, typeHTML, body)
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
