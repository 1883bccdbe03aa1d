package manual

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark/ast"
	tables "github.com/yuin/goldmark/extension/ast"
)

// plain writes a page as text for a terminal. Its methods write the nodes of the tree that goldmark
// makes of a page. indent is what each line of a node begins with. It is used once, by one
// goroutine.
type plain struct {
	strings.Builder
	source []byte // that the nodes point into
	width  int    // of a line, in characters; code is not broken
}

// Plain returns the page as text with lines of at most width characters. Tables are lists, and code
// is as wide as it is.
func (p *Page) Plain(width int) string {
	w := &plain{source: []byte(p.Text), width: width}
	w.blocks(p.parse(), "")
	return strings.TrimRight(w.String(), "\n") + "\n"
}

// blocks writes the blocks in a node, with an empty line after each. The text in an item of a tight
// list is a TextBlock, which has no empty line after it.
func (w *plain) blocks(parent ast.Node, indent string) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		w.block(n, indent)
		if n.Kind() != ast.KindTextBlock {
			w.WriteString("\n")
		}
	}
}

// block writes one block. What has no form of its own is a paragraph. Code is indented by four
// blanks, as it is written in Markdown.
func (w *plain) block(n ast.Node, indent string) {
	switch n := n.(type) {
	case *ast.Heading:
		w.heading(n)
	case *ast.List:
		w.list(n, indent)
	case *ast.CodeBlock, *ast.FencedCodeBlock:
		for line := range strings.Lines(string(n.Lines().Value(w.source))) {
			w.WriteString(indent + "    " + strings.TrimRight(line, "\n") + "\n")
		}
	case *tables.Table:
		w.table(n, indent)
	default:
		w.wrap(inline(n, w.source), indent, indent)
	}
}

// heading writes a heading, with a line under those of the first two levels.
func (w *plain) heading(n *ast.Heading) {
	text := inline(n, w.source)
	w.WriteString(text + "\n")
	if n.Level <= 2 {
		w.WriteString(strings.Repeat(string("=-"[n.Level-1]), utf8.RuneCountInString(text)) + "\n")
	}
}

// list writes each item with its mark or number. The lines below the first one of an item are
// indented as far as its text.
func (w *plain) list(n *ast.List, indent string) {
	number := n.Start
	for item := n.FirstChild(); item != nil; item = item.NextSibling() {
		mark := "- "
		if n.IsOrdered() {
			mark = fmt.Sprintf("%d. ", number)
			number++
		}
		inner := indent + strings.Repeat(" ", len(mark))
		for child := item.FirstChild(); child != nil; child = child.NextSibling() {
			if child == item.FirstChild() && child.Kind() != ast.KindList {
				w.wrap(inline(child, w.source), indent+mark, inner)
				continue
			}
			w.block(child, inner)
		}
	}
}

// table writes each row as a term, the first cell, with the other cells below it: a terminal has no
// room for wide tables. The heading of a column is left out where there is only one besides the
// term.
func (w *plain) table(n *tables.Table, indent string) {
	headings := cells(n.FirstChild(), w.source)
	for row := n.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
		for i, cell := range cells(row, w.source) {
			switch {
			case i == 0:
				w.wrap(cell, indent, indent)
			case cell == "":
			case len(headings) > 2 && headings[i] != "":
				w.wrap(headings[i]+": "+cell, indent+"    ", indent+"      ")
			default:
				w.wrap(cell, indent+"    ", indent+"    ")
			}
		}
	}
}

// wrap writes a paragraph, broken between words. first begins its first line, and rest the others.
// A word that is longer than a line has one of its own. Characters are counted as runes: the manual
// has none that are wider than one column.
func (w *plain) wrap(text, first, rest string) {
	line, length := first, utf8.RuneCountInString(first)
	isEmpty := true
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case isEmpty:
		case length+1+n > w.width:
			w.WriteString(line + "\n")
			line, length = rest, utf8.RuneCountInString(rest)
		default:
			line, length = line+" ", length+1
		}
		line, length, isEmpty = line+word, length+n, false
	}
	w.WriteString(line + "\n")
}

// inline returns the text in a node, in one line. Code keeps its backticks. A link says where it
// leads. A line break becomes a blank.
func inline(n ast.Node, source []byte) string {
	var b strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			b.WriteString(unescape(string(child.Segment.Value(source))))
			if child.SoftLineBreak() || child.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.CodeSpan:
			b.WriteString("`" + inline(child, source) + "`")
		case *ast.Link:
			b.WriteString(inline(child, source) + pointer(string(child.Destination)))
		case *ast.AutoLink:
			b.Write(child.URL(source))
		default:
			b.WriteString(inline(child, source))
		}
	}
	return b.String()
}

// unescape takes away the backslashes of Markdown. Only those characters are escaped in the manual.
func unescape(text string) string {
	return strings.NewReplacer(`\|`, "|", `\*`, "*", `\_`, "_", `\<`, "<", `\\`, `\`).Replace(text)
}

// pointer says in text where a link leads. It is empty for a place on the same page. Example: "
// (help operating)" for operating.md, or " (conf/full.conf)" for a file of the source.
func pointer(link string) string {
	path, _, _ := strings.Cut(link, "#")
	switch topic, isPage := strings.CutSuffix(path, ".md"); {
	case path == "":
		return ""
	case isPage && topic == "README":
		return " (help)"
	case isPage && !strings.Contains(topic, "/"):
		return " (help " + topic + ")"
	}
	return " (" + strings.TrimPrefix(path, "../../") + ")"
}
