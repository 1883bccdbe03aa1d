package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"nats-account-server/internal/manual"
	"nats-account-server/internal/monitor"
)

// manualWidth is how wide the manual is for clients that are no browsers.
const manualWidth = 80

// indexFile is the name of the first page where the code is hosted.
const indexFile = "README.md"

// manualRoutes returns the routes of the manual.
func (h *pageHandler) manualRoutes() router {
	const page = monitor.RoutePage
	isTopic := func(segment string) bool {
		_, found := manual.Find(strings.TrimSuffix(segment, ".md"))
		return found || segment == indexFile
	}
	return router{
		{path: manual.Root, read: everyClient, get: h.getManual, isPage: true, label: page},
		{path: manual.Root + "/", isKey: isTopic, read: everyClient, get: h.getTopic, isPage: true,
			label: page},
	}
}

// getManual serves the first page of the manual, or what was found in it.
func (h *pageHandler) getManual(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	if _, isSearch := f["q"]; !isSearch {
		index, _ := manual.Find("")
		return h.showManual(w, r, index)
	}
	query := strings.TrimSpace(f.value("q"))
	if isBrowser(r) {
		return h.show(w, r, h.site.Found(query, h.isPublic))
	}
	var text strings.Builder
	for _, hit := range manual.Search(query) {
		text.WriteString(hit.Plain(manualWidth))
	}
	if text.Len() == 0 {
		return fmt.Errorf("%w\nthe manual has nothing about that; its pages: %s",
			errNoRoute, manual.Root)
	}
	sendManual(w, text.String())
	return nil
}

// getTopic serves a page of the manual. In a file, links lead to names that end in .md.
func (h *pageHandler) getTopic(w http.ResponseWriter, r *http.Request, topic string) error {
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
	return h.showManual(w, r, page)
}

// showManual sends a page of the manual.
func (h *pageHandler) showManual(w http.ResponseWriter, r *http.Request, page *manual.Page) error {
	if isBrowser(r) {
		return h.show(w, r, h.site.Manual(page, h.isPublic))
	}
	sendManual(w, page.Plain(manualWidth))
	return nil
}

// sendManual sends a page as text.
func sendManual(w http.ResponseWriter, text string) {
	header := w.Header()
	header["Vary"] = varyPage
	header.Set("Cache-Control", "private, no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	send(w, http.StatusOK, typeText, text)
}
