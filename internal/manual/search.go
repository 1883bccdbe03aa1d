package manual

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/yuin/goldmark/ast"
	tables "github.com/yuin/goldmark/extension/ast"
)

// section is what follows a heading.
type section struct {
	page            *Page
	heading, anchor string
	level           int
	text            string // in one line
	terms           string // the first cells of its tables, such as the names of keys
}

// Hit is a section in which words were found.
type Hit struct {
	Topic, Title    string // the page
	Heading, Anchor string // of the section
	Snippet         []Part
}

// Plain returns the hit as text: the topic and the heading, and below it the snippet.
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

// Part is a piece of a snippet.
type Part struct {
	Text    string
	IsMatch bool
}

const (
	maxHits     = 30
	maxQuery    = 200 // bytes that are looked at
	snippetSide = 110 // bytes before and after the place that is shown
)

// sections returns what can be found. It is made at the first search.
var sections = sync.OnceValue(func() (all []section) {
	for i := range pages {
		all = append(all, pages[i].sections()...)
	}
	return all
})

// sections returns the sections of a page.
func (p *Page) sections() (all []section) {
	source := []byte(p.Text)
	w := &plain{source: source, width: 1 << 20}
	for n := p.parse().FirstChild(); n != nil; n = n.NextSibling() {
		if heading, ok := n.(*ast.Heading); ok {
			id, _ := heading.AttributeString("id")
			anchor, _ := id.([]byte)
			all = append(all, section{page: p, heading: inline(heading, source), anchor: string(anchor),
				level: heading.Level})
			continue
		}
		w.Reset()
		w.block(n, "")
		last := &all[len(all)-1] // a page begins with a heading
		if table, ok := n.(*tables.Table); ok {
			last.terms += " " + strings.Join(terms(table, source), " ")
		}
		last.text = strings.TrimSpace(last.text + " " + strings.Join(strings.Fields(w.String()), " "))
	}
	return all
}

// Heading is a heading below that of the page.
type Heading struct{ Text, Anchor string }

// headings has those of each page, by topic.
var headings = sync.OnceValue(func() map[string][]Heading {
	all := map[string][]Heading{}
	for i := range sections() {
		if s := &sections()[i]; s.level == 2 {
			all[s.page.Topic] = append(all[s.page.Topic], Heading{s.heading, s.anchor})
		}
	}
	return all
})

// Headings returns the headings of the second level.
func (p *Page) Headings() []Heading { return headings()[p.Topic] }

// terms returns the first cells of a table.
func terms(table *tables.Table, source []byte) (all []string) {
	for row := table.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
		all = append(all, inline(row.FirstChild(), source))
	}
	return all
}

// Search returns the sections that have most of the words in a query, the best first. Letter case does
// not count, and a word may be a part of another one.
func Search(query string) []Hit {
	words := wordsOf(query)
	if len(words) == 0 {
		return nil
	}
	phrase := phraseOf(query)
	type ranked struct {
		*section
		found, score int
	}
	var all []ranked
	for i := range sections() {
		s := &sections()[i]
		if found, score := s.rank(words, phrase); found > 0 {
			all = append(all, ranked{s, found, score})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.found, a.found), cmp.Compare(b.score, a.score))
	})
	// What is shown as found is a whole word.
	any := regexp.MustCompile(`(?i)(?:` + strings.Join(words, "|") + `)\w*`)
	var hits []Hit
	for _, r := range all {
		// A section with fewer words is shown only if it has more than half of them.
		if len(hits) == maxHits || r.found < all[0].found && 2*r.found <= len(words) {
			break
		}
		hits = append(hits, r.hit(any))
	}
	return hits
}

// common are words that say nothing about what is looked for.
var common = strings.Fields("a an and are be can do does from has have how i in is it my of on or that " +
	"the this to was what when where which who why will with would you")

// wordsOf returns the words of a query as parts of a regular expression.
func wordsOf(query string) (words []string) {
	query = strings.ToValidUTF8(query[:min(len(query), maxQuery)], "")
	for _, word := range strings.Fields(strings.ToLower(query)) {
		word = strings.Trim(word, `?!.,;:"()`)
		if word == "" || slices.Contains(common, word) {
			continue
		}
		if len(word) > 3 {
			word = strings.TrimSuffix(word, "s") // one is found as many
		}
		if word = beginning(word); !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return words
}

// beginning returns an expression for the words that begin with a text.
func beginning(text string) string {
	quoted := regexp.QuoteMeta(text)
	if c := text[0]; c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return `\b` + quoted
	}
	return quoted
}

// phraseOf returns an expression for the whole query.
func phraseOf(query string) *regexp.Regexp {
	query = strings.ToValidUTF8(query[:min(len(query), maxQuery)], "")
	return regexp.MustCompile("(?i)" + regexp.QuoteMeta(strings.TrimSpace(query)))
}

// rank returns how many of the words a section has, and how well it fits. Words in headings and in the
// first column of tables count most, and the query as it stands.
func (s *section) rank(words []string, phrase *regexp.Regexp) (found, score int) {
	if phrase.MatchString(s.text) {
		score = 10
	}
	for _, word := range words {
		expression := regexp.MustCompile("(?i)" + word)
		count := func(text string, most int) int { return len(expression.FindAllStringIndex(text, most)) }
		worth := 20*count(s.heading, 1) + 15*count(s.terms, 1) + 5*count(s.page.Title, 1) +
			count(s.text, 5)
		if worth > 0 {
			found++
		}
		score += worth
	}
	return found, score
}

// hit shows where the words are.
func (s *section) hit(words *regexp.Regexp) Hit {
	h := Hit{Topic: s.page.Topic, Title: s.page.Title, Heading: s.heading, Anchor: s.anchor}
	start, end := s.around(words)
	text := s.text[start:end]
	at := 0
	add := func(to int, isMatch bool) {
		if to > at {
			h.Snippet = append(h.Snippet, Part{text[at:to], isMatch})
		}
		at = to
	}
	for _, match := range words.FindAllStringIndex(text, -1) {
		add(match[0], false)
		add(match[1], true)
	}
	add(len(text), false)
	return h
}

// around returns the part of the text to show: whole words around the densest matches.
func (s *section) around(words *regexp.Regexp) (start, end int) {
	at := s.densest(words)
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
// possible in one snippet. It is 0 if the words are in the headings only.
func (s *section) densest(words *regexp.Regexp) (at int) {
	matches := words.FindAllStringIndex(s.text, -1)
	most := 0
	for i, first := range matches {
		different := map[string]bool{}
		for _, m := range matches[i:] {
			if m[1] > first[0]+snippetSide {
				break
			}
			different[strings.ToLower(s.text[m[0]:m[1]])] = true
		}
		if len(different) > most {
			most, at = len(different), first[0]
		}
	}
	return at
}
