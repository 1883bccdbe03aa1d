package manual

import (
	"regexp"
	"slices"
	"strings"

	tables "github.com/yuin/goldmark/extension/ast"
)

// row is what a table says of lines of the log, as those of troubleshooting.md do. A row of
// troubleshooting.md has the line, what it means, and what to do.
type row struct {
	lines []line // that it is about
	text  string // of the whole row
}

// line matches lines of the log that have a text, with anything in the place of each "…". The text
// `n1 … refuses` becomes (?i)n1 .* refuses, with a length of 14 bytes.
type line struct {
	*regexp.Regexp
	length int // of the text; a longer one is more certain to be meant
}

// minLine is how long the text of a line is at least. A shorter one is a word, such as the name of
// a key.
const minLine = 10

// rows returns the rows of a table whose first cell has texts of lines: code of several words. A
// table whose first column has no such texts has none.
func rows(table *tables.Table, source []byte) (all []row) {
	headings := cells(table.FirstChild(), source)
	for r := table.FirstChild().NextSibling(); r != nil; r = r.NextSibling() {
		content := cells(r, source)
		if lines := linesIn(content[0]); len(lines) > 0 {
			all = append(all, row{lines, sentence(headings, content)})
		}
	}
	return all
}

// linesIn returns the lines that a cell names. A cell may name several lines, each between
// backquotes.
func linesIn(cell string) (all []line) {
	for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		text := strings.Trim(code[1], "… ")
		if len(text) < minLine || !strings.Contains(text, " ") {
			continue
		}
		expression := strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*")
		all = append(all, line{regexp.MustCompile("(?i)" + expression), len(text)})
	}
	return all
}

// sentence returns a row as text: its first cell, and each other one after its heading. Example:
// "`no route` Meaning: … What to do: …".
func sentence(headings, content []string) string {
	text := content[0]
	for i := 1; i < len(content); i++ {
		if content[i] != "" {
			text += " " + headings[i] + ": " + content[i]
		}
	}
	return text
}

// match returns how long the text is of the first of its lines that is in a query; 0 if none is.
func (r row) match(query string) (length int) {
	for _, l := range r.lines {
		if l.MatchString(query) {
			return l.length
		}
	}
	return 0
}

// explanations returns the rows that are about a line of the log, those with the longest text
// first. The query may be the whole line, with its time and level. White space is made one blank,
// since a terminal may have broken the line.
func explanations(query string) (hits []Hit) {
	type found struct {
		hit    Hit
		length int
	}
	var all []found
	query = strings.Join(strings.Fields(cut(query)), " ")
	for _, s := range sections() {
		for _, r := range s.rows {
			if length := r.match(query); length > 0 {
				all = append(all, found{s.hit([]Part{{Text: r.text}}), length})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return b.length - a.length })
	for _, f := range all[:min(len(all), maxExplanations)] {
		hits = append(hits, f.hit)
	}
	return hits
}

// maxExplanations is how many rows about one line are shown.
const maxExplanations = 3
