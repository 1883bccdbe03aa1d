// Package pages makes the pages for people: the overview, the list of accounts, and a page for each
// account. A page is complete without a script. The one script shows changes as they happen, and
// copies texts.
//
// In goes what a monitor.Monitor knows, and what nats-servers say is in use. Out comes HTML. The
// package changes nothing and decides nothing, and it knows no request: httpapi says who may see
// what, and sends it.
//
// # Files
//
// To be read in this order:
//
//	pages.go       Site, Page, the layout around each page, and assets
//	overview.go    /: what wants attention, and the server at a glance. web/overview.html
//	attention.go   what wants attention, as sentences. web/overview.html
//	list.go        /accounts. web/list.html
//	account.go     /accounts/<key>. web/account.html
//	shares.go      its exports and imports; graph.go draws them
//	history.go     the last changes and refusals, on both. web/history.html
//	use.go         asks nats-servers what is in use, for the list and the page of an account
//	help.go        the manual. web/help.html
//	failure.go     the page for an error. web/layout.html
//	live.go        /events: tells browsers that there is something new. web/live.js
//	words.go       times, numbers and names
//
// Each page has a method of Site (Overview, List, Account) or a function (Manual, Found, Failure),
// a type with what its template shows, and functions named …Row or …Of that make its parts from what
// monitor knows. The exported fields and methods of these types are for the templates. A template
// shows texts as they are: words are chosen here.
//
// # What a page costs
//
// A page is made anew for each request. With a million accounts the list is read from the index, 50
// accounts at a time: the URL of the next page has the key after which it goes on
// (ListQuery.After), so that no page reads those before it. A search takes a bounded time, and says
// so if it did not get to the end (monitor.List). Counts of all accounts are those of the last
// survey of monitor. At most half of the processors make pages (Site.begin), and nats-servers are
// asked at most 20 times a second (maxAsked).
//
// # Hostile names
//
// The names of accounts come from tenants. The templates escape everything. Name replaces what has
// no shape of its own by escapes, such as the characters that turn the direction of a text around,
// and the element bdi keeps a name that is written from right to left from moving what is around
// it.
package pages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"path"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// web has templates (*.html), the style sheet, the script and the icon.
//
//go:embed web
var files embed.FS

// Policy is the value of the header Content-Security-Policy of every page: nothing comes from
// elsewhere, nothing stands in the page itself, and no other site shows it in a frame. See the
// W3C's Content Security Policy Level 3. A text of a tenant that got into a page as HTML could run
// no script.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Section is a part of the site, as the navigation shows it. Its value is its path.
type Section string

// The sections. The zero value is none of them.
const (
	Overview Section = "/"
	Accounts Section = "/accounts"
	Help     Section = "/help"
)

// Page is what stands between the header and the footer, and what these say of it. httpapi makes
// the ETag of Main and Edition, and sends Layout.
type Page struct {
	Title string // for the window; may have any characters
	// Section is marked in the navigation; "" marks none.
	Section Section
	Main    template.HTML
	// Search is what the search field has: the text that was looked for, as the client sent it.
	Search string
	// Version is that of what the page shows (monitor.Version), from before it was made: what
	// changes meanwhile is another version. The script compares it with that of /events, and loads
	// the page again. "" means that the page does not change.
	Version string
	// OnlyHelp leaves out all that says how the server is doing, and the links to it: another
	// listener serves that.
	OnlyHelp bool
}

// Site makes the pages. Its methods may be called from any goroutine. It keeps no page.
type Site struct {
	monitor *monitor.Monitor
	// asker asks nats-servers; nil: none is asked.
	asker   Asker
	asking  *rate.Limiter // how often nats-servers are asked
	streams streams
	making  *semaphore.Weighted // bounds the pages that are being made
}

// New returns the site of what a Monitor watches. asker may be nil: then it is not known what is in
// use.
func New(m *monitor.Monitor, asker Asker) *Site {
	return &Site{monitor: m, asker: asker, asking: rate.NewLimiter(maxAsked, maxAsked),
		streams: streams{end: make(chan struct{})},
		making:  semaphore.NewWeighted(max(1, int64(runtime.GOMAXPROCS(0)/2)))}
}

// ErrBusy says that too many pages are asked for. httpapi answers 503.
var ErrBusy = errors.New("too many pages are asked for: try again")

// maxQueue is how long a request waits until its page is made.
const maxQueue = 5 * time.Second

// begin waits until a page may be made; end must be called when that is done. Half of the
// processors make pages at the same time, so that many requests for pages do not keep those for
// JWTs waiting. The error is ErrBusy, also if ctx has ended.
func (s *Site) begin(ctx context.Context) (end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	if s.making.Acquire(ctx, 1) != nil {
		return nil, ErrBusy
	}
	return func() { s.making.Release(1) }, nil
}

// templates are all templates of web/. The layout is one of them. They are parsed once: a fault in
// one ends the program at its start, and so any test of this package.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": assetURL,
	"name":  Name,
	"short": claimdiff.Key,
	"count": count[int],
	"parts": partsOf,
}).ParseFS(files, "web/*.html"))

// Layout returns the whole page: the header, the navigation and the footer around its content. The
// footer has the time, so that two layouts of the same Page differ. It need not wait in begin: it
// reads no account.
func (s *Site) Layout(p Page) []byte {
	now := time.Now().UTC()
	return render("layout", struct {
		Page
		Site     string
		Sections []link
		Build    monitor.Build
		Up       string
		Now      string
	}{p, s.title(), p.sections(), s.monitor.Build, span(now.Sub(s.monitor.Began())),
		now.Format("15:04:05 UTC")})
}

// Edition is another text if the same content is shown in another way: by another version of the
// program, or under another title. An ETag of a page needs it besides Page.Main. The URLs of assets
// have their hashes.
func (s *Site) Edition() string {
	return s.monitor.Build.Version + s.title() + assetURL("style.css") + assetURL("live.js")
}

// link is a part of the navigation. IsCurrent marks the section of the page, with aria-current.
type link struct {
	Section
	Text      string
	IsCurrent bool
}

// sections returns the navigation of a page.
func (p Page) sections() (all []link) {
	for _, l := range []link{{Section: Overview, Text: "Overview"},
		{Section: Accounts, Text: "Accounts"}, {Section: Help, Text: "Help"}} {
		if l.IsCurrent = l.Section == p.Section; !p.OnlyHelp || l.Section == Help {
			all = append(all, l)
		}
	}
	return all
}

// title returns the name of the site: that of the operator, if there is one. With several operators
// it is that of the program, since none of them has all accounts.
func (s *Site) title() string {
	if all := s.monitor.Accounts.Operators(); len(all) == 1 && all[0].Name != "" {
		return Name(all[0].Name) + " accounts"
	}
	return "nats-account-server"
}

// render executes a template. An error is a fault of the program, since data has all that the
// template asks for, and what is written to has no end. httpapi answers a panic with 500. The name
// is that of a define in web/, or of a file.
func render(name string, data any) []byte {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("the page %s: %v", name, err))
	}
	return b.Bytes()
}

// main executes the template for the content of a page, or for a part of it. What is returned is
// not escaped again where another template shows it.
func main(name string, data any) template.HTML {
	return template.HTML(render(name, data)) //nolint:gosec // html/template has made it
}

// Asset is a file that pages refer to. The caller must not change Body.
type Asset struct {
	Type string // value of the header Content-Type
	Body []byte
	ETag string // with its quotes
}

// assets are all of them, by name.
var assets = loadAssets(map[string]string{
	"style.css": "text/css; charset=utf-8",
	"live.js":   "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
})

// loadAssets reads the files with these names and types. They are embedded, so none can be missing.
// Eight bytes of SHA-256 are enough to tell versions apart: nothing is kept secret by them.
func loadAssets(types map[string]string) map[string]Asset {
	all := make(map[string]Asset)
	for name, contentType := range types {
		body, err := files.ReadFile(path.Join("web", name))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		all[name] = Asset{contentType, body, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all
}

// AssetPath is where the assets are; the name of one follows.
const AssetPath = "/assets/"

// FindAsset returns the asset with a name. The query of its URL need not be that of now: an older
// page gets the newer file.
func FindAsset(name string) (Asset, bool) {
	a, found := assets[name]
	return a, found
}

// assetURL is the URL of an asset. It has the ETag, and so is another one after each change: a
// browser may keep what it got under it for ever. Example: "/assets/style.css?v=0a1b2c3d4e5f6071".
func assetURL(name string) string {
	tag := assets[name].ETag
	return AssetPath + name + "?v=" + tag[1:len(tag)-1]
}
