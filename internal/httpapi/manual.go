package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"nats-account-server/internal/manual"
	"nats-account-server/internal/pages"
)

// manualWidth is how wide the manual is for clients that are no browsers.
const manualWidth = 80

// indexFile is the name of the first page where the code is hosted.
const indexFile = "README.md"

// isTopic reports whether a page of the manual has the name, which may be that of its file.
func isTopic(name string) bool {
	_, found := manual.Find(strings.TrimSuffix(name, ".md"))
	return found || name == indexFile
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
		return h.show(w, r, pages.Found(query))
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
		return h.show(w, r, pages.Manual(page))
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
