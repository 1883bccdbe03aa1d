// Package manual is the manual: pages in Markdown, which are readable where the code is hosted and
// embedded in the program. It gives a page as HTML for the server (Page.HTML) and as text for a
// terminal (Page.Plain), and finds sections (Search). It knows nothing of the rest of the program.
//
// A page is a file *.md of this directory to which README.md, the index, links. What such a page
// says is held against the program by tests of the packages that it is about; tables of keys and of
// differences are generated.
//
// # Files
//
// To be read in this order: manual.go has the pages. markdown.go makes HTML of one, and plain.go
// text. search.go ranks sections, words.go compares words, and explanations.go finds what a table
// says of a line of the log.
//
// # Concurrency
//
// Everything may be called from any goroutine. The pages never change. HTML and what is searched
// are made once, when they are asked for first, because most runs of the program need neither.
package manual

import (
	"embed"
	"html/template"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// index is the file whose links list the pages in their order. It is named so because code hosting
// sites show it with the directory.
const index = "README.md"

//go:embed *.md
var files embed.FS

// Page is one page of the manual. Its fields must not be changed.
type Page struct {
	Topic string // "operating": the name of the file without its ending; "" is the index
	Title string // the first heading
	Text  string // Markdown
	html  func() template.HTML
}

// Path returns the path of the page on the server. That of the index is Root.
func (p *Page) Path() string { return strings.TrimSuffix(Root+"/"+p.Topic, "/") }

// pages are the index and after it what it links to. They are read when the program starts, which
// takes less than a millisecond.
var pages = load()

// Pages returns the index and the pages, in the order in which the index links to them.
func Pages() []*Page { return pages }

// Find returns the page about a topic. An empty topic is the index. Topics are in lower case. The
// page is shared.
func Find(topic string) (*Page, bool) {
	i := slices.IndexFunc(pages, func(p *Page) bool { return p.Topic == topic })
	if i < 0 {
		return nil, false
	}
	return pages[i], true
}

// load reads the pages. A page to which the index does not link is not shown: a test finds it. A
// link to a place in a page, or to another directory, is none to a page.
func load() []*Page {
	start := read(index)
	start.Topic = ""
	all := []*Page{start}
	links := regexp.MustCompile(`\]\(([a-z-]+\.md)\)`).FindAllStringSubmatch(start.Text, -1)
	for _, link := range links {
		all = append(all, read(link[1]))
	}
	return all
}

// read reads one page, whose first line is its title. A title is "# Operating": the mark and its
// blank are cut off.
func read(name string) *Page {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the index links to a page that is not embedded
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
	p := &Page{Topic: strings.TrimSuffix(name, ".md"), Title: title, Text: string(text)}
	p.html = sync.OnceValue(p.render)
	return p
}
