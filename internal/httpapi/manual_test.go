package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/manual"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/pages"
)

// withPages adds the pages for people.
func withPages(o *httpapi.Options) {
	o.Pages = pages.New(&monitor.Monitor{Options: monitor.Options{Accounts: o.Accounts}}, nil)
}

// fetchPage requests a path, as a browser or not. It follows no redirect.
func fetchPage(t *testing.T, env *environment, path string, asBrowser bool) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if asBrowser {
		r.Header.Set("Accept", "text/html,*/*")
	}
	w := httptest.NewRecorder()
	env.api.ServeHTTP(w, r)
	return w
}

func TestTheManualIsAPageForBrowsersAndTextForOthers(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, withPages)
	for _, page := range manual.Pages() {
		html, text := fetchPage(t, env, page.Path(), true), fetchPage(t, env, page.Path(), false)
		if html.Code != http.StatusOK || !strings.Contains(html.Body.String(), string(page.HTML())) {
			t.Errorf("%s: %d\n%s", page.Path(), html.Code, html.Body)
		}
		if text.Code != http.StatusOK || text.Header().Get("Content-Type") != "text/plain; charset=utf-8" ||
			text.Body.String() != page.Plain(80) {
			t.Errorf("%s: %d %v\n%s", page.Path(), text.Code, text.Header(), text.Body)
		}
	}
}

func TestPathsOfTheManual(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, withPages)
	for _, c := range []struct {
		path     string
		status   int
		location string
		body     string
	}{
		{"/help/", 301, "/help", ""},
		{"/help/operating.md", 301, "/help/operating", ""},
		{"/help/README.md", 301, "/help", ""},
		{"/help/nothing", 404, "", "the pages of the manual: /help"},
		{"/help/operating/x", 404, "", ""},
		{"/help?q=maxreplicationpack", 200, "", "help configuration: "},
		{"/help?q=qqqqq", 404, "", "the manual has nothing about that"},
	} {
		w := fetchPage(t, env, c.path, false)
		if w.Code != c.status || w.Header().Get("Location") != c.location ||
			!strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %v\n%s", c.path, w.Code, w.Header(), w.Body)
		}
	}
}

func TestASearchShowsWhatWasTypedAsText(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, withPages)
	w := fetchPage(t, env, "/help?q=%22%3E%3Cscript%3E+resolver", true)
	if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, "<script>") ||
		!strings.Contains(body, `value="&#34;&gt;&lt;script&gt; resolver"`) ||
		!strings.Contains(body, "<mark>resolver</mark>") {
		t.Errorf("%d\n%s", w.Code, body)
	}
}
