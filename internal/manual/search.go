package manual

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/yuin/goldmark/ast"
	tables "github.com/yuin/goldmark/extension/ast"
)

// section is what follows a heading, up to the next one of any level. A page of n headings has n
// sections. They are made once and never change.
type section struct {
	page            *Page
	heading, anchor string
	level           int    // of the heading; 1 is that of the page
	text            string // in one line
	terms           string // the first cells of its tables that are code, such as the names of keys
	rows            []row  // what its tables say of lines of the log
	// lower has texts in lower case, to look for words in. Each is as long as the text itself, so
	// that a place in one is the same place in the other.
	lower struct{ title, heading, text, terms string }
}

// Hit is a section in which words were found.
type Hit struct {
	Topic, Title    string // the page
	Heading, Anchor string // of the section
	Snippet         []Part // a piece of its text, in which the words are marked
}

// Plain returns the hit as text: the topic and the heading, and below it the snippet. Matches are
// not marked in it.
func (h *Hit) Plain(width int) string {
	w := &plain{width: width}
	w.wrap(strings.TrimSpace("help "+h.Topic)+": "+h.Heading, "", "")
	var snippet strings.Builder
	for _, part := range h.Snippet {
		snippet.WriteString(part.Text)
	}
	w.wrap("… "+snippet.String()+" …", "    ", "    ")
	return w.String()
}

// Path returns the path of the section on the server.
func (h *Hit) Path() string { return strings.TrimSuffix(Root+"/"+h.Topic, "/") + "#" + h.Anchor }

// Part is a piece of a snippet. The parts of a snippet in their order are its text.
type Part struct {
	Text    string
	IsMatch bool
}

const (
	// Weights and bounds are measured on the questions of the tests, not calculated.
	maxHits     = 30  // sections that a search finds
	maxQuery    = 500 // bytes of a query that are looked at
	snippetSide = 110 // bytes before and after the place that is shown
	usualText   = 800 // bytes of a section as most are; words in a longer one count less
	maxCount    = 100 // how often a word is counted in a section
)

// sections returns what can be found. It is made at the first search.
var sections = sync.OnceValue(func() (all []*section) {
	for _, p := range pages {
		all = append(all, p.sections()...)
	}
	for _, s := range all {
		s.lower.title, s.lower.heading = lower(s.page.Title), lower(s.heading)
		s.lower.text, s.lower.terms = lower(s.text), lower(s.terms)
	}
	return all
})

// sections returns the sections of a page. The width is larger than any paragraph, so that no text
// is wrapped.
func (p *Page) sections() (all []*section) {
	source := []byte(p.Text)
	w := &plain{source: source, width: 1 << 20}
	for n := p.parse().FirstChild(); n != nil; n = n.NextSibling() {
		if heading, ok := n.(*ast.Heading); ok {
			id, _ := heading.AttributeString("id")
			anchor, _ := id.([]byte)
			all = append(all, &section{page: p, heading: inline(heading, source),
				anchor: string(anchor), level: heading.Level})
			continue
		}
		w.Reset()
		w.block(n, "")
		last := all[len(all)-1] // a page begins with a heading
		if table, ok := n.(*tables.Table); ok {
			last.terms += " " + strings.Join(terms(table, source), " ")
			last.rows = append(last.rows, rows(table, source)...)
		}
		text := strings.Join(strings.Fields(w.String()), " ")
		last.text = strings.TrimSpace(last.text + " " + text)
	}
	return all
}

// Heading is a heading below that of the page.
type Heading struct{ Text, Anchor string }

// Headings returns the headings of the second level, in their order.
func (p *Page) Headings() (all []Heading) {
	for _, s := range sections() {
		if s.page == p && s.level == 2 {
			all = append(all, Heading{s.heading, s.anchor})
		}
	}
	return all
}

// terms returns the first cells of a table that are code, such as the names of keys. The backquotes
// stay.
func terms(table *tables.Table, source []byte) (all []string) {
	for row := table.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
		if cell := inline(row.FirstChild(), source); strings.HasPrefix(cell, "`") {
			all = append(all, cell)
		}
	}
	return all
}

// Search returns the sections that have the words of a query, the best first. Letter case and
// endings do not count, and a word that the manual does not have stands for the one that is most
// like it. If the query is a line of the log, what explains that line comes first. There are
// maxHits at most. A query of common words finds nothing but lines of the log.
func Search(query string) []Hit {
	hits := explanations(query)
	words := wordsOf(query)
	if len(words) == 0 {
		return hits
	}
	var all []ranked
	phrase := strings.ToLower(strings.TrimSpace(cut(query)))
	for _, s := range sections() {
		if r := s.rank(words, phrase); r.score > 0 && !slices.ContainsFunc(hits, r.is) {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	for _, r := range all {
		// What fits far worse than the best is left out.
		if len(hits) == maxHits || r.score < all[0].score/4 {
			break
		}
		hits = append(hits, r.hit(r.snippet(words)))
	}
	return hits
}

// ranked is a section, and how well it fits a query.
type ranked struct {
	*section
	score float64
}

// is reports whether the section is that of a hit.
func (r ranked) is(h Hit) bool { return r.page.Topic == h.Topic && r.anchor == h.Anchor }

// rank returns how well a section fits, 0 if not at all. Rare words count more than common ones.
// Words in headings and in the first column of tables count most. In the text, the second of a word
// counts less than the first, and words count less the longer the text is, as in BM25.
// TestSearchFindsWhatQuestionsAreAbout holds what the weights are for. phrase is the whole query in
// lower case: a section that has it as it stands gets 20 more.
func (s *section) rank(words []word, phrase string) ranked {
	r := ranked{section: s}
	if strings.Contains(s.lower.text, phrase) {
		r.score = 20
	}
	for _, w := range words {
		has := func(text string) float64 { return float64(w.in(text, 1)) }
		// Its share is at most 10 for each word, however often it is there.
		n := float64(w.in(s.lower.text, maxCount))
		length := float64(len(s.text)) / usualText
		r.score += w.worth * (16*has(s.lower.heading) + 6*has(s.lower.terms) +
			3*has(s.lower.title) + 10*n/(n+0.3+length))
	}
	return r
}

// hit returns the section as a Hit with a piece of text.
func (s *section) hit(snippet []Part) Hit {
	return Hit{Topic: s.page.Topic, Title: s.page.Title, Heading: s.heading, Anchor: s.anchor,
		Snippet: snippet}
}

// snippet returns the piece of the text that most of the words are in, with the words marked. found
// has places in s.lower.text, which are the same in s.text.
func (s *section) snippet(words []word) (parts []Part) {
	found := matches(s.lower.text, words)
	start, end := s.around(densest(s.lower.text, found))
	at := start
	add := func(to int, isMatch bool) {
		if to > at {
			parts = append(parts, Part{s.text[at:to], isMatch})
		}
		at = to
	}
	for _, m := range found {
		if m[0] >= start && m[1] <= end {
			add(m[0], false)
			add(m[1], true)
		}
	}
	add(end, false)
	return parts
}

// around returns the part of the text to show: whole words around a place. start and end are byte
// offsets at blanks or at the ends, so no character is cut.
func (s *section) around(at int) (start, end int) {
	if start = at - snippetSide; start <= 0 {
		start = 0
	} else {
		start = strings.LastIndexByte(s.text[:start], ' ') + 1
	}
	if end = at + snippetSide; end >= len(s.text) {
		return start, len(s.text)
	}
	if space := strings.IndexByte(s.text[end:], ' '); space >= 0 {
		return start, end + space
	}
	return start, len(s.text)
}

// densest returns where the first of the matches is that stand together: as many different words as
// possible in one snippet. It is 0 if the words are in the headings only. Each match is tried as
// the first one: they are few.
func densest(text string, found [][2]int) (at int) {
	most := 0
	for i, first := range found {
		different := map[string]bool{}
		for _, m := range found[i:] {
			if m[1] > first[0]+snippetSide {
				break
			}
			different[text[m[0]:m[1]]] = true
		}
		if len(different) > most {
			most, at = len(different), first[0]
		}
	}
	return at
}
