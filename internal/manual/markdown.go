package manual

import (
	"bytes"
	"html/template"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// Root is where the server shows the manual. The path of a page is Root, a slash and the topic.
const Root = "/help"

// markdown is what the pages are written in. HTML in a page is left out. It is CommonMark with
// tables, as GitHub shows it. Headings get ids that are made of their text: "Two servers" is
// #two-servers.
var markdown = goldmark.New(goldmark.WithExtensions(extension.Table),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// parse returns the tree of a page.
func (p *Page) parse() ast.Node { return markdown.Parser().Parse(text.NewReader([]byte(p.Text))) }

// HTML returns the page without the elements around it. Links between pages lead to the paths of
// the server. Tables have the class "stack", and their cells the column's heading in data-l. It is
// safe to be shown: it has no part of a request. It is made when it is asked for first.
func (p *Page) HTML() template.HTML { return p.html() }

// render renders a page. The pages are part of the program, so that a fault in one is one of the
// program. The tree is made for this call and may be changed.
func (p *Page) render() template.HTML {
	root, source := p.parse(), []byte(p.Text)
	p.prepare(root, source)
	var b bytes.Buffer
	if err := markdown.Renderer().Render(&b, source, root); err != nil {
		panic(err)
	}
	// Text is escaped, so these are the tags only. A wide table is moved sideways in the element
	// around it.
	framed := strings.NewReplacer("<table", `<div class="scroll"><table`,
		"</table>", "</table></div>")
	return template.HTML(framed.Replace(b.String()))
}

// prepare changes what looks different on the server: the targets of links, and tables. Links are
// taken away after the walk, which must not lose its place. p is only read; root is changed.
func (p *Page) prepare(root ast.Node, source []byte) {
	var elsewhere []*ast.Link
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			target, isServed := served(string(n.Destination))
			n.Destination = []byte(target)
			if !isServed {
				elsewhere = append(elsewhere, n)
			}
		case *tables.Table:
			label(n, source)
		}
		return ast.WalkContinue, nil
	})
	for _, link := range elsewhere {
		unlink(link)
	}
}

// served returns the URL on the server of what a page links to: a page, a place in one, or another
// site. Files of the source, which are in other directories, are not served. url is "" if it is not
// served. Example: "http.md#paths" is "/help/http#paths".
func served(link string) (url string, isServed bool) {
	path, anchor, hasAnchor := strings.Cut(link, "#")
	switch {
	case path == "", strings.Contains(path, "://"):
		return link, true
	case strings.Contains(path, "/"):
		return "", false
	}
	topic := strings.TrimSuffix(strings.TrimSuffix(path, ".md"), "README")
	url = strings.TrimSuffix(Root+"/"+topic, "/")
	if hasAnchor {
		url += "#" + anchor
	}
	return url, true
}

// unlink puts the text of a link in its place. The text stays a part of its paragraph.
func unlink(link *ast.Link) {
	parent := link.Parent()
	for child := link.FirstChild(); child != nil; child = link.FirstChild() {
		parent.InsertBefore(parent, link, child)
	}
	parent.RemoveChild(parent, link)
}

// label gives each cell of a table the heading of its column, which is shown where there is no room
// for columns. The style sheet of the pages uses class and attribute on narrow screens. The first
// cell needs no label: it is the term.
func label(table *tables.Table, source []byte) {
	table.SetAttributeString("class", []byte("stack"))
	headings := cells(table.FirstChild(), source)
	for head := table.FirstChild().FirstChild(); head != nil; head = head.NextSibling() {
		head.SetAttributeString("scope", []byte("col"))
	}
	for row := table.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
		i := 0
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			if i > 0 && i < len(headings) && headings[i] != "" {
				cell.SetAttributeString("data-l", []byte(headings[i]))
			}
			i++
		}
	}
}

// cells returns the texts of the cells of a row.
func cells(row ast.Node, source []byte) (all []string) {
	for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
		all = append(all, inline(cell, source))
	}
	return all
}
