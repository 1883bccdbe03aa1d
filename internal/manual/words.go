package manual

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"

	"nats-account-server/internal/suggest"
)

// word is a word of a query. A word of the manual is the same one if it begins with its stem: no
// dictionary says what belongs together, and a manual of this size needs none. It is comparable, so
// that doublets are found.
type word struct {
	stem  string  // in lower case; words with another ending begin with it too
	worth float64 // more for a word that few sections have; 0 if none has it
}

// maxWords is how many words of a query are looked for.
const maxWords = 30

// common are words that say nothing about what is looked for.
var common = strings.Fields("a an and are be can do does from has have how i in is it my of on " +
	"or that the this to was what when where which who why will with would you")

// wordsOf returns the words of a query that the manual has, without doublets. Levels, times and
// keys in a line of the log are none. The order is that of the query.
func wordsOf(query string) (words []word) {
	for _, text := range strings.Fields(strings.ToLower(cut(query))) {
		text = strings.Trim(text, `?!.,;:"'()[]`)
		if text == "" || slices.Contains(common, text) || isNoise(text) {
			continue
		}
		w := newWord(stemOf(text))
		if w.worth == 0 {
			w = newWord(stemOf(similar(text)))
		}
		if w.worth > 0 && !slices.Contains(words, w) {
			words = append(words, w)
		}
		if len(words) == maxWords {
			break
		}
	}
	return words
}

// cut returns the part of a query that is looked at. A character that is cut in two is left out.
func cut(query string) string { return strings.ToValidUTF8(query[:min(len(query), maxQuery)], "") }

// isNoise reports whether a word is of one line of the log only: its level, a time, a number or a
// key. text is in lower case. Example: "2026/11/28", "[4711]" or "ACNW4GQZ6T5Y…".
func isNoise(text string) bool {
	digits := strings.IndexFunc(text, unicode.IsDigit) >= 0
	letters := strings.IndexFunc(text, unicode.IsLower) >= 0
	return digits && (!letters || len(text) >= 12) || len(text) >= 50 ||
		slices.Contains([]string{"wrn", "err", "inf", "dbg", "trc"}, text)
}

// endings are cut off from words, so that one is found as many, and a verb as its noun. The first
// that fits counts. Longer ones stand before those that they end with.
var endings = []string{
	"ations", "ation", "ions", "ings", "ion", "ing", "ies", "ed", "es", "e", "s", "y",
}

// stemOf returns what words of one kind begin with. It has four letters at least, unless the word
// is shorter: short stems are the beginning of too many words. "revocations" gives "revoc", and
// "revoked" gives "revok": that these are different words is accepted.
func stemOf(text string) string {
	for _, ending := range endings {
		if stem, found := strings.CutSuffix(text, ending); found && len(stem) >= 4 {
			return stem
		}
	}
	if len(text) > 3 {
		return strings.TrimSuffix(text, "s")
	}
	return text
}

// newWord returns the word for a stem. Its worth is 0 if no section has it. worth is log(1+N/n),
// with N sections of which n have it: 5 for a rare word, and 0.7 for one that all have.
func newWord(stem string) word {
	w := word{stem: stem}
	n := 0
	for _, s := range sections() {
		if w.in(s.lower.heading, 1)+w.in(s.lower.text, 1) > 0 {
			n++
		}
	}
	if n > 0 && stem != "" {
		w.worth = math.Log1p(float64(len(sections())) / float64(n))
	}
	return w
}

// in returns how often words in a text begin with the stem, counted up to most. The text is in
// lower case. "jwt" is in "jwts", and not in "ajwt". A stem that begins with a mark, such as
// "--url", may follow anything.
func (w word) in(text string, most int) (n int) {
	if w.stem == "" {
		return 0
	}
	for at := 0; n < most; at++ {
		i := strings.Index(text[at:], w.stem)
		if i < 0 {
			break
		}
		if at += i; at == 0 || !isLetter(w.stem[0]) || !isLetter(text[at-1]) {
			n++
		}
	}
	return n
}

// isLetter reports whether a byte is a part of a word. The text is in lower case.
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// matches returns where whole words of a text begin with one of the words, and where they end. The
// text is in lower case. Each pair is the place of the first byte and that after the last one.
// Pairs do not overlap.
func matches(text string, words []word) (all [][2]int) {
	for at := 0; at < len(text); at++ {
		if at > 0 && isLetter(text[at]) && isLetter(text[at-1]) {
			continue
		}
		for _, w := range words {
			if !strings.HasPrefix(text[at:], w.stem) {
				continue
			}
			end := at + len(w.stem)
			for end < len(text) && isLetter(text[end]) {
				end++
			}
			all = append(all, [2]int{at, end})
			at = end - 1
			break
		}
	}
	return all
}

// lower returns a text in lower case, of the same length: strings.ToLower makes some letters
// longer.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// vocabulary has the words of the manual, in lower case.
var vocabulary = sync.OnceValue(func() []string {
	known := map[string]bool{}
	for _, s := range sections() {
		text := strings.ToLower(s.heading + " " + s.text)
		isBetween := func(r rune) bool { return !unicode.IsLetter(r) }
		for _, word := range strings.FieldsFunc(text, isBetween) {
			if len(word) > 3 {
				known[word] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(known))
})

// maxMisspelt is how long a word may be that is compared with all that are known.
const maxMisspelt = 30

// similar returns the word of the manual that is most like an unknown one, "" if none is. One
// letter of four may be wrong.
func similar(text string) (best string) {
	if len(text) < 4 || len(text) > maxMisspelt {
		return ""
	}
	least := len(text)/4 + 1 // so many letters may be wrong
	for _, known := range vocabulary() {
		if d := suggest.Distance(text, known); d < least || d == least && best == "" {
			least, best = d, known
		}
	}
	return best
}
