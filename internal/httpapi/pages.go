package httpapi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/manual"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/pages"
	"nats-account-server/internal/trust"
)

// Paths of the pages for people. Clients that do not ask for HTML get what these paths are without
// pages.
const (
	pathOverview = "/"
	pathList     = "/accounts"
	pathPage     = "/accounts/" // a public account key follows
	pathEvents   = "/events"
)

// pageHandler answers browsers: with the pages for people, and with those of the manual. Errors
// that it returns become pages in API.fail.
type pageHandler struct {
	site     *pages.Site // nil: there are no pages
	isPublic bool        // only what every client may see
}

// routes returns the routes that only browsers have.
func (h *pageHandler) routes() router {
	if h.site == nil || h.isPublic {
		return nil
	}
	return asPages(router{
		{path: pathOverview, read: everyClient, get: h.getOverview},
		{path: pathList, read: everyClient, get: h.getList},
		{path: pathPage, isKey: trust.IsAccountKey, read: everyClient, get: h.getPage},
	})
}

// parts returns the routes of what pages consist of, and those of the manual. An asset needs no
// credentials: the page that says that they are wrong needs it.
func (h *pageHandler) parts() router {
	if h.site == nil {
		return nil
	}
	isAsset := func(name string) bool { _, found := pages.FindAsset(name); return found }
	t := router{
		{path: pages.AssetPath, isKey: isAsset, read: auth.Unauthenticated, get: getAsset},
		{path: manual.Root, read: everyClient, get: h.getManual},
		{path: manual.Root + "/", isKey: isTopic, read: everyClient, get: h.getTopic},
	}
	if !h.isPublic {
		t = append(t, &route{path: pathEvents, read: everyClient, get: h.getEvents})
	}
	return asPages(t)
}

// asPages marks routes as those of pages.
func asPages(t router) router {
	for _, rt := range t {
		rt.isPage, rt.label = true, monitor.RoutePage
	}
	return t
}

// mayBePage reports whether a browser gets a page for a path, even if it is for an error. The
// routes of the API answer every client alike. rt is nil if no route has the path. It is asked
// before credentials are looked at, so that a 401 is a page too.
func (h *pageHandler) mayBePage(path string, rt *route) bool {
	isPage := rt != nil && rt.isPage || rt == nil && !strings.HasPrefix(path, "/jwt/")
	return h.site != nil && isPage
}

// getOverview serves the first page.
func (h *pageHandler) getOverview(w http.ResponseWriter, r *http.Request, _ string) error {
	p, err := h.site.Overview(r.Context())
	if err != nil {
		return err
	}
	return h.show(w, r, p)
}

// getList serves a page of the list of accounts. A search for a whole key leads to its account.
func (h *pageHandler) getList(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	q := pages.ListQuery{Text: f.value("q"), Show: f.value("show"), After: f.value("after")}
	if key := strings.TrimSpace(q.Text); trust.IsAccountKey(key) {
		guardPage(w.Header())
		w.Header().Set("Location", pathPage+key)
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	p, err := h.site.List(r.Context(), q)
	if err != nil {
		return err
	}
	return h.show(w, r, p)
}

// getPage serves the page of an account.
func (h *pageHandler) getPage(w http.ResponseWriter, r *http.Request, key string) error {
	if key == "" {
		return accounts.ErrNotFound
	}
	p, err := h.site.Account(r.Context(), key)
	if err != nil {
		return err
	}
	return h.show(w, r, p)
}

// show sends a page. Its ETag is weak: it leaves out the time in the footer. A page is sent whole
// or not at all. A browser asks each time, and gets a 304 while nothing has changed.
func (h *pageHandler) show(w http.ResponseWriter, r *http.Request, p pages.Page) error {
	sum := sha256.Sum256([]byte(p.Title + "\n" + h.site.Edition() + "\n" + string(p.Main)))
	etag := fmt.Sprintf("\"%x\"", sum[:16])
	header := w.Header()
	header.Set("Etag", "W/"+etag)
	// What a page shows may need credentials, and may be different a moment later.
	header.Set("Cache-Control", "private, no-cache")
	guardPage(header)
	if isKnown(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.send(w, http.StatusOK, p)
	return nil
}

// send sends a whole page.
func (h *pageHandler) send(w http.ResponseWriter, status int, p pages.Page) {
	p.OnlyHelp = h.isPublic
	send(w, status, typeHTML, string(h.site.Layout(p)))
}

// guardPage adds what keeps a page from doing or being anything else.
func guardPage(h http.Header) {
	h["Vary"] = varyPage
	h.Set("Content-Security-Policy", pages.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}

// fail answers with the page for an error.
func (h *pageHandler) fail(w http.ResponseWriter, status int, text string) {
	forbidCaching(w.Header())
	guardPage(w.Header())
	h.send(w, status, pages.Failure(status, text))
}

// getAsset serves a style sheet, a script or a picture. Its URL is another one after each change.
// Browsers keep it for a year.
func getAsset(w http.ResponseWriter, r *http.Request, name string) error {
	asset, found := pages.FindAsset(name)
	if !found {
		return accounts.ErrNotFound
	}
	h := w.Header()
	h.Set("Etag", asset.ETag)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	if isKnown(r, asset.ETag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	send(w, http.StatusOK, asset.Type, string(asset.Body))
	return nil
}

// getEvents tells a page when there is something new, until the browser leaves. It holds the
// connection until then.
func (h *pageHandler) getEvents(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.site.Follow(r.Context(), w, flagsOf(r).value("version"))
}
