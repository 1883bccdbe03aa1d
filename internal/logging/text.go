package logging

import (
	"strconv"
	"strings"
	"unicode"
)

// shortKey is how many characters of a key a line shows: enough to find the account.
const shortKey = 12

// Quote makes a text fit for one line of a log, whatever it contains: what can't be printed is escaped, and what goes
// beyond max bytes is replaced by three dots.
func Quote(text string, max int) string {
	if len(text) > max {
		text = text[:max] + "..."
	}
	var b strings.Builder
	for _, c := range text {
		if unicode.IsPrint(c) && c != unicode.ReplacementChar {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// ShortKey is a key as lines show it. The key may be unchecked.
func ShortKey(key string) string {
	short := key[:min(len(key), shortKey)]
	return Quote(short, shortKey)
}

// EditDistance returns how many letters must be added, removed or changed to turn a into b. It is for texts that suggest
// what was probably meant. It takes len(a) times len(b) steps.
func EditDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
