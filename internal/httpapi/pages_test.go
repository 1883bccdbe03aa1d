package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/pages"
	"nats-account-server/internal/replica"
	"nats-account-server/internal/trust"
)

// site is an API with pages about accounts in memory.
type site struct {
	op       *jwttest.Operator
	registry *accounts.Registry
	pages    *pages.Site
	api      http.Handler
}

func newSite(t testing.TB, edits ...func(*httpapi.Options)) *site {
	t.Helper()
	return newSiteOf(t, jwtstore.NewMemory(false), edits...)
}

// siteStore is a store that a site can be about.
type siteStore interface {
	accounts.Store
	accounts.Committer
	monitor.Store
	Index() *jwtstore.Index
	Outbox() *jwtstore.Outbox
}

// newSiteOf returns a site about a store.
func newSiteOf(t testing.TB, store siteStore, edits ...func(*httpapi.Options)) *site {
	t.Helper()
	s := &site{op: jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.Name = "Acme" })}
	op, err := trust.Parse([]byte(s.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	o := httpapi.Options{Metrics: monitor.NewMetrics("", "")}
	log := slog.New(slog.DiscardHandler)
	n := notifier.New(notifier.Options{Outbox: store.Outbox(), Log: log})
	s.registry = accounts.New(accounts.Options{Store: store, Committer: store, Announcer: n,
		Observer: observer{o.Metrics},
		Trust:    accounts.Trust{Operators: trust.Operators{op}}})
	s.registry.Review(t.Context(), false)
	o.Accounts = s.registry
	o.Monitor = monitor.New(monitor.Options{Metrics: o.Metrics, Accounts: s.registry, Store: store,
		Index:       store.Index(),
		Outbox:      store.Outbox(),
		Notifier:    n,
		Log:         log,
		Replica:     func() (replica.State, bool) { return replica.State{}, false },
		Bucket:      func() (bucket.State, bool) { return bucket.State{}, false },
		Connections: func() int64 { return 0 }})
	s.pages = pages.New(o.Monitor, nil)
	o.Pages = s.pages
	for _, edit := range edits {
		edit(&o)
	}
	s.api = httpapi.New(o)
	return s
}

// observer has the metrics remember what has happened.
type observer struct{ *monitor.Metrics }

func (o observer) Observe(e accounts.Event) error {
	o.Decided(e)
	return nil
}

// put stores an account.
func (s *site) put(t testing.TB, a *jwttest.Account, edits ...func(*jwt.AccountClaims)) {
	t.Helper()
	_, err := s.registry.Put(t.Context(), a.ID, s.op.Account(t, a, edits...),
		accounts.Origin{Kind: accounts.KindHTTP, Address: "192.0.2.1:1", User: "ci"})
	if err != nil {
		t.Fatal(err)
	}
}

// open requests a path as a browser does. Each line of more is a header.
func (s *site) open(path string, more ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, line := range more {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	return w
}

// wantPage checks that an answer is a page with certain texts.
func wantPage(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	h, body := w.Header(), w.Body.String()
	if w.Code != status || h.Get("Content-Type") != "text/html; charset=utf-8" ||
		h.Get("Content-Security-Policy") != pages.Policy || h.Get("Vary") != "Origin, Accept" ||
		h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d, want %d: %v", w.Code, status, h)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%q is missing in\n%s", text, body)
		}
	}
}

func TestTheOverviewSaysWhatWantsAttention(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	wantPage(t, s.open("/"), 200, "<h1>No account is stored yet</h1>", "NATS is not configured",
		"<bdi>Acme accounts")
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	s = newSite(t)
	s.put(t, a, func(c *jwt.AccountClaims) {
		c.Name, c.Expires = "billing", time.Now().Add(3*24*time.Hour+time.Minute).Unix()
	})
	s.put(t, b, func(c *jwt.AccountClaims) {
		c.Name = "reports"
		c.Imports.Add(&jwt.Import{Name: "x", Type: jwt.Stream, Subject: "audit.>", Account: a.ID})
	})
	wantPage(t, s.open("/"), 200, "<h1>Two things want your attention</h1>", "expires <b>in 3 days</b>",
		"imports the stream <code><bdi>audit.&gt;</bdi></code> from "+
			"<a href=\"/accounts/"+a.ID+"\"><bdi>billing",
		"2 accounts stored.", "<bdi>new</bdi>")
	wantPage(t, s.open("/accounts?show=dangling"), 200, "1 import does nothing", "<bdi>reports</bdi>")
	wantPage(t, s.open("/accounts?show=week"), 200, "<bdi>billing</bdi>")
	if body := s.open("/accounts?show=week").Body.String(); strings.Contains(body, "<bdi>reports</bdi>") {
		t.Error("an account that does not expire is shown")
	}
}

func TestTheGraphSaysWhatDoesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, one, two := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	importing := func(subjects ...string) func(c *jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			for _, subject := range subjects {
				c.Imports.Add(&jwt.Import{Type: jwt.Stream, Subject: jwt.Subject(subject), Account: a.ID})
			}
		}
	}
	s.put(t, a)
	s.put(t, one, importing("x"))
	s.put(t, two, importing("y", "z"))
	wantPage(t, s.open("/accounts/"+a.ID), 200, "stream x: does nothing", "2 imports: do nothing")
}

func TestTheOverviewSaysWhatAnEndDoesToOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	exporter := jwttest.NewAccount(t)
	s.put(t, exporter, func(c *jwt.AccountClaims) {
		c.Name, c.Expires = "billing", time.Now().Add(3*24*time.Hour+time.Minute).Unix()
		c.Exports.Add(&jwt.Export{Name: "x", Type: jwt.Stream, Subject: "invoices.>"})
	})
	tags := regexp.MustCompile(`<[^>]*>`)
	for n, want := range []string{
		"Then nats-servers close its connections. Push",
		"connections, and a gets nothing from it. Push",
		"connections, and a and a get nothing from it. Push",
		"connections, and a, a and a get nothing from it. Push",
		"connections, and a, a, a and others get nothing from it. Push",
	} {
		if n > 0 {
			s.put(t, jwttest.NewAccount(t), func(c *jwt.AccountClaims) {
				c.Name = "a"
				c.Imports.Add(&jwt.Import{Name: "x", Type: jwt.Stream, Subject: "invoices.>",
					Account: exporter.ID})
			})
		}
		if body := tags.ReplaceAllString(s.open("/").Body.String(), ""); !strings.Contains(body, want) {
			t.Errorf("%d importers: %q is missing in %s", n, want, body)
		}
	}
	wantPage(t, s.open("/accounts/"+exporter.ID), 200, `data-l="Who may import it">every account</td>`)
}

func TestClientsThatAreNoBrowsersGetNoPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := jwttest.NewAccount(t)
	s.put(t, a)
	for _, path := range []string{"/", "/accounts", "/accounts/" + a.ID} {
		if w := s.open(path, "Accept: */*"); w.Code != 404 || w.Header().Get("Content-Type") !=
			"text/plain; charset=utf-8" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	for path, status := range map[string]int{"/jwt/v1/accounts/" + a.ID: 200, "/jwt/v1/help": 200,
		"/jwt/v1/x": 404} {
		as, plain := s.open(path), s.open(path, "Accept: */*")
		if as.Code != status || as.Body.String() != plain.Body.String() ||
			fmt.Sprint(as.Header()) != fmt.Sprint(plain.Header()) {
			t.Errorf("%s: a browser gets another answer: %d %v", path, as.Code, as.Header())
		}
	}
}

func TestBrowsersAreKnownByWhatTheyAccept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for accept, isBrowser := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true, // Firefox, Safari
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8," +
			"application/signed-exchange;v=b3;q=0.7": true, // Chrome
		"text/html, text/plain, text/sgml, text/css, */*;q=0.01": true, // lynx
		"*/*":                               false, // curl, wget
		"":                                  false, // Go
		"application/json, text/plain, */*": false,
		"application/jwt":                   false,
	} {
		for _, path := range []string{"/", "/accounts", "/help", "/help/http"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := httptest.NewRequest(method, path, nil)
				r.Header.Set("Accept", accept)
				w := httptest.NewRecorder()
				s.api.ServeHTTP(w, r)
				isPage := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html")
				isFound := isBrowser || strings.HasPrefix(path, "/help")
				if isPage != isBrowser || isFound != (w.Code == http.StatusOK) ||
					isPage && (w.Header().Get("Vary") != "Origin, Accept" || w.Header().Get("Etag") == "") {
					t.Errorf("%s %s for %q: %d %v", method, path, accept, w.Code, w.Header())
				}
			}
		}
	}
}

func TestAPageThatIsKnownIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := jwttest.NewAccount(t)
	s.put(t, a)
	w := s.open("/accounts/" + a.ID)
	tag := w.Header().Get("Etag")
	if w.Header().Get("Cache-Control") != "private, no-cache" || !strings.HasPrefix(tag, `W/"`) {
		t.Error(w.Header())
	}
	if w := s.open("/accounts/"+a.ID, "If-None-Match: "+tag); w.Code != 304 || w.Body.Len() > 0 {
		t.Error(w.Code, w.Body)
	}
	s.put(t, a, func(c *jwt.AccountClaims) { c.Limits.Conn = 5 })
	if w := s.open("/accounts/"+a.ID, "If-None-Match: "+tag); w.Code != 200 {
		t.Error(w.Code, "after a change")
	}
	asset := s.open("/assets/style.css")
	if asset.Code != 200 || !strings.Contains(asset.Header().Get("Cache-Control"), "immutable") {
		t.Error(asset.Code, asset.Header())
	}
	if w := s.open("/assets/style.css", "If-None-Match: "+asset.Header().Get("Etag")); w.Code != 304 {
		t.Error(w.Code)
	}
	for _, path := range []string{"/assets/", "/assets/x", "/assets/layout.html", "/assets/../pages.go"} {
		if w := s.open(path); w.Code == 200 {
			t.Error(path, w.Code, w.Body)
		}
	}
}

func TestErrorsAreAPageForBrowsers(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *httpapi.Options) { o.Authorizer = &fakeAuthorizer{} })
	w := s.open("/")
	wantPage(t, w, 401, "<h1>This page needs a user and a password</h1>")
	if w.Header().Get("Www-Authenticate") != `Basic realm="nats-account-server"` {
		t.Error(w.Header())
	}
	wantPage(t, s.open("/accounts", "Authorization: unknown"), 403, "This user may not see this page")
	wantPage(t, s.open("/", "Authorization: slowed"), 429, "Too many attempts")
	wantPage(t, s.open("/", "Authorization: busy"), 503, "This can&#39;t be shown now")
	if w := s.open("/events"); w.Code != 401 {
		t.Error("events:", w.Code)
	}
	// The page that says so needs its style.
	if w := s.open("/assets/style.css"); w.Code != 200 {
		t.Error(w.Code)
	}
	s = newSite(t)
	wantPage(t, s.open("/nothing"), 404, "There is nothing here")
	wantPage(t, s.open("/accounts/"+jwttest.NewAccount(t).ID), 404, "There is nothing here")
	wantPage(t, s.open("/accounts/x%22%3Cscript%3E"), 404, "There is nothing here")
	wantPage(t, s.open("/%3Cscript%3Ealert(1)%3C/script%3E"), 404, "There is nothing here")
}

func TestPagesAreWhereTheMonitorIs(t *testing.T) {
	t.Parallel()
	public := newSite(t, func(o *httpapi.Options) { o.Only = httpapi.PublicRoutes })
	for _, path := range []string{"/", "/accounts", "/events"} {
		if w := public.open(path); w.Code != 404 || strings.Contains(w.Body.String(), "/metrics") {
			t.Error(path, w.Code, w.Body)
		}
	}
	wantPage(t, newSite(t, func(o *httpapi.Options) { o.Only = httpapi.MonitorRoutes }).open("/"), 200,
		"No account")
}

func TestHostileNamesStayTexts(t *testing.T) {
	t.Parallel()
	const hostile = "\u202Ex\u2066<script>alert(1)</script>\"'`{{.}}&\u0000"
	s := newSite(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = jwttest.AccountKey(t), hostile
	s.put(t, a, func(c *jwt.AccountClaims) {
		c.Name, c.Description = hostile, hostile
		c.Tags = jwt.TagList{hostile}
		c.SigningKeys.AddScopedSigner(scope)
		c.Exports.Add(&jwt.Export{Name: hostile, Type: jwt.Stream, Subject: "a.<b>.>", Info: jwt.Info{
			Description: hostile}})
	})
	s.put(t, b, func(c *jwt.AccountClaims) {
		c.Name = hostile
		c.Imports.Add(&jwt.Import{Name: hostile, Type: jwt.Stream, Subject: "a.<b>.c", Account: a.ID,
			LocalSubject: "<i>"})
		c.Imports.Add(&jwt.Import{Name: hostile, Type: jwt.Service, Subject: "<b>", Account: a.ID})
	})
	for _, path := range []string{"/", "/accounts", "/accounts?q=%3Cscript%3E%E2%80%AE", "/accounts/" + a.ID,
		"/accounts/" + b.ID, "/accounts?q=" + strings.Repeat("%E2%80%AE", 1000)} {
		w := s.open(path)
		wantPage(t, w, 200)
		for _, bad := range []string{"<script>alert", "\u202E", "\u2066", "\x00", "<b>.", "<i>"} {
			// The search field has what was looked for.
			if body := typed.ReplaceAllString(w.Body.String(), ""); strings.Contains(body, bad) {
				t.Errorf("%s has %q:\n%s", path, bad, w.Body)
			}
		}
	}
	wantPage(t, s.open("/accounts/"+a.ID), 200, `<h1><bdi>\u202ex\u2066&lt;script&gt;`)
}

var typed = regexp.MustCompile(` value="[^"]*"`)

func TestASearchFindsNamesAndKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := map[string]*jwttest.Account{}
	for _, name := range []string{"Zebra", "apple", "Größe", "pineapple"} {
		a[name] = jwttest.NewAccount(t)
		s.put(t, a[name], func(c *jwt.AccountClaims) { c.Name = name })
	}
	for query, want := range map[string]string{"": "apple,Größe,pineapple,Zebra", "APPLE": "apple,pineapple",
		"größe": "Größe", "x": "", a["Zebra"].ID[:20]: "Zebra",
		strings.ToLower(a["Zebra"].ID[:20]): "Zebra"} {
		var names []string
		for _, part := range strings.Split(s.open("/accounts?q="+query).Body.String(), "<td><a href=")[1:] {
			_, name, _ := strings.Cut(part, "<bdi>")
			name, _, _ = strings.Cut(name, "</bdi>")
			names = append(names, name)
		}
		if got := strings.Join(names, ","); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
	w := s.open("/accounts?q=" + a["apple"].ID)
	if w.Code != 303 || w.Header().Get("Location") != "/accounts/"+a["apple"].ID {
		t.Error(w.Code, w.Header())
	}
}

func TestStreamsOfEventsAreBoundedAndEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := httptest.NewServer(s.api)
	defer server.Close()
	var streams []*bufio.Reader
	for status := 200; status == 200; {
		answer, err := server.Client().Get(server.URL + "/events?version=x")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		if status = answer.StatusCode; status == 200 {
			streams = append(streams, bufio.NewReader(answer.Body))
		} else if status != 503 || len(streams) != 64 {
			t.Fatalf("%d after %d streams", status, len(streams))
		}
	}
	for range 5 { // what begins each
		if _, err := streams[0].ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	s.put(t, jwttest.NewAccount(t))
	if line, err := streams[0].ReadString('\n'); err != nil || line != "event: changed\n" {
		t.Errorf("%q %v", line, err)
	}
	s.pages.EndStreams()
	for _, stream := range streams {
		if _, err := io.Copy(io.Discard, stream); err != nil {
			t.Error(err)
		}
	}
	s.pages.Close()
	if answer, err := server.Client().Get(server.URL + "/events"); err != nil || answer.StatusCode != 503 {
		t.Error("a stream begins after the end", err)
	}
}
