// Package pages makes the pages for people: the overview, the list of accounts, and a page for each
// account. A page is complete without a script. The one script shows changes as they happen, and
// copies texts.
//
//	overview.go    /: what wants attention, and the server at a glance
//	attention.go   what wants attention, as sentences
//	list.go        /accounts
//	account.go     /accounts/<key>
//	words.go       times, numbers and names
//	live.go        /events: tells browsers that there is something new
//	web/           templates, style sheet and script
//
// Site.Layout puts the header, the navigation and the footer around the content of a page. The
// manual uses it too, so that its pages look the same.
//
// It decides nothing, and it knows no request: httpapi says who may see what.
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

	"golang.org/x/time/rate"

	"nats-account-server/internal/monitor"
)

//go:embed web
var files embed.FS

// Policy is the value of the header Content-Security-Policy of every page: nothing comes from
// elsewhere, nothing stands in the page itself, and no other site shows it in a frame.
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

// Page is what stands between the header and the footer.
type Page struct {
	Title   string  // for the window; may have any characters
	Section Section // which is marked in the navigation
	Main    template.HTML
	Search  string // what the search field has
	// Version is that of what the page shows, from before it was made: the script brings the page
	// up to date. "" means that the page does not change.
	Version string
	// OnlyHelp leaves out all that says how the server is doing, and the links to it: another
	// listener serves that.
	OnlyHelp bool
}

// Site makes the pages. Its methods may be called from any goroutine.
type Site struct {
	monitor *monitor.Monitor
	asker   Asker
	asking  *rate.Limiter // of questions to nats-servers
	now     func() time.Time
	streams streams
	making  chan struct{} // has an element for each page that is being made
}

// New returns the site of what a Monitor watches. asker may be nil: then it is not known what is in
// use.
func New(m *monitor.Monitor, asker Asker) *Site {
	return &Site{monitor: m, asker: asker, asking: rate.NewLimiter(maxAsked, maxAsked), now: time.Now,
		making: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// ErrBusy says that too many pages are asked for.
var ErrBusy = errors.New("too many pages are asked for: try again")

// maxQueue is how long a request waits until its page is made.
const maxQueue = 5 * time.Second

// begin waits until a page may be made; end must be called when that is done. Half of the processors make
// pages at the same time, so that many requests for pages do not keep those for JWTs waiting.
func (s *Site) begin(ctx context.Context) (end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	select {
	case s.making <- struct{}{}:
		return func() { <-s.making }, nil
	case <-ctx.Done():
		return nil, ErrBusy
	}
}

// templates are all pages. The layout is one of them.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": assetURL,
	"name":  Name,
	"short": shortKey,
	"count": count[int],
	"parts": partsOf,
}).ParseFS(files, "web/*.html"))

// Layout returns the whole page.
func (s *Site) Layout(p Page) []byte {
	now := s.now().UTC()
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

// Edition is another text if the same content is shown in another way.
func (s *Site) Edition() string {
	return s.monitor.Build.Version + s.title() + assetURL("style.css") + assetURL("live.js")
}

// link is a part of the navigation.
type link struct {
	Section
	Text      string
	IsCurrent bool
}

// sections returns the navigation of a page.
func (p Page) sections() (all []link) {
	for _, l := range []link{{Section: Overview, Text: "Overview"}, {Section: Accounts, Text: "Accounts"},
		{Section: Help, Text: "Help"}} {
		if l.IsCurrent = l.Section == p.Section; !p.OnlyHelp || l.Section == Help {
			all = append(all, l)
		}
	}
	return all
}

// title returns the name of the site: that of the operator, if there is one.
func (s *Site) title() string {
	if all := s.monitor.Accounts.Operators(); len(all) == 1 && all[0].Name != "" {
		return Name(all[0].Name) + " accounts"
	}
	return "nats-account-server"
}

// render executes a template. An error is a fault of the template: data has all that it asks for.
func render(name string, data any) []byte {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("the page %s: %v", name, err))
	}
	return b.Bytes()
}

// main renders the content of a page.
func main(name string, data any) template.HTML {
	return template.HTML(render(name, data)) //nolint:gosec // html/template has made it
}

// Failure returns the page for an error. text is what the client may know; each of its lines is a
// paragraph.
func (s *Site) Failure(status int, text string, onlyHelp bool) []byte {
	f := failureOf(status, text)
	return s.Layout(Page{Title: f.Title, Main: main("failure", f), OnlyHelp: onlyHelp})
}

// Asset is a file that pages refer to.
type Asset struct {
	Type string // value of the header Content-Type
	Body []byte
	ETag string
}

// assets are all of them, by name.
var assets = loadAssets(map[string]string{
	"style.css": "text/css; charset=utf-8",
	"live.js":   "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
})

// loadAssets reads the files with these names and types.
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

// FindAsset returns the asset with a name.
func FindAsset(name string) (Asset, bool) {
	a, found := assets[name]
	return a, found
}

// assetURL is the URL of an asset. It is another one after each change, so that a browser may keep
// it.
func assetURL(name string) string {
	tag := assets[name].ETag
	return AssetPath + name + "?v=" + tag[1:len(tag)-1]
}
