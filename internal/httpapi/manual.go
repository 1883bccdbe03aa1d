package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"nats-account-server/internal/auth"
	"nats-account-server/internal/manual"
	"nats-account-server/internal/monitor"
)

// manualWidth is how wide the manual is for clients that are no browsers.
const manualWidth = 80

// indexFile is the name of the first page where the code is hosted.
const indexFile = "README.md"

// manualRoutes returns the routes of the manual.
func (a *API) manualRoutes() router {
	const every, page = auth.Anonymous, monitor.RoutePage
	isTopic := func(segment string) bool {
		_, found := manual.Find(strings.TrimSuffix(segment, ".md"))
		return found || segment == indexFile
	}
	return router{
		{path: manual.Root, read: every, get: a.getManual, isPage: true, label: page},
		{path: manual.Root + "/", isKey: isTopic, read: every, get: a.getTopic, isPage: true, label: page},
	}
}

// getManual serves the first page of the manual, or what was found in it.
func (a *API) getManual(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	if _, isSearch := f["q"]; !isSearch {
		index, _ := manual.Find("")
		return a.showManual(w, r, index)
	}
	query := strings.TrimSpace(f.value("q"))
	if isBrowser(r) {
		return a.show(w, r, a.Pages.Found(query, a.Only == PublicRoutes))
	}
	var text strings.Builder
	for _, h := range manual.Search(query) {
		text.WriteString(h.Plain(manualWidth))
	}
	if text.Len() == 0 {
		return fmt.Errorf("%w\nthe manual has nothing about that; its pages: %s", errNoRoute, manual.Root)
	}
	a.sendManual(w, text.String())
	return nil
}

// getTopic serves a page of the manual. In a file, links lead to names that end in .md.
func (a *API) getTopic(w http.ResponseWriter, r *http.Request, topic string) error {
	name, isFile := strings.CutSuffix(topic, ".md")
	if topic == indexFile {
		name = ""
	}
	page, found := manual.Find(name)
	switch {
	case topic == "" || !found:
		return fmt.Errorf("%w\nthe pages of the manual: %s", errNoRoute, manual.Root)
	case isFile:
		redirect(w, r, page.Path())
		return nil
	}
	return a.showManual(w, r, page)
}

// showManual sends a page of the manual.
func (a *API) showManual(w http.ResponseWriter, r *http.Request, page *manual.Page) error {
	if isBrowser(r) {
		return a.show(w, r, a.Pages.Manual(page, a.Only == PublicRoutes))
	}
	a.sendManual(w, page.Plain(manualWidth))
	return nil
}

// sendManual sends a page as text.
func (a *API) sendManual(w http.ResponseWriter, text string) {
	h := w.Header()
	h["Vary"] = varyPage
	h.Set("Cache-Control", "private, no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	send(w, http.StatusOK, typeText, text)
}
