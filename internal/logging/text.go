package logging

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// shortKeyLength is how many characters of a key a line shows: enough to find the account.
const shortKeyLength = 12

// Quote makes a text safe to log, whatever it contains. Unprintable characters are escaped. A text
// of more than max bytes is cut and ends in three dots. The cut is made before the escapes, so the
// result may be longer than max.
func Quote(text string, max int) string {
	return escape(Cut(text, max))
}

// Cut shortens a text of more than max bytes, which ends in three dots then. Use it for what is
// escaped later: by a Handler, or in JSON.
func Cut(text string, max int) string {
	if len(text) > max {
		return text[:max] + "..."
	}
	return text
}

// Time formats a time as lines and answers show it: in UTC, to the second.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// escape replaces unprintable characters, and bytes that are not UTF-8, by Go's escapes.
func escape(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for _, c := range text {
		if strconv.IsPrint(c) && c != unicode.ReplacementChar {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// isPlain reports whether a text has printable ASCII characters only, as nearly all have.
func isPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// ShortKey returns the beginning of a key, as log lines show it. The key need not be valid: a
// client may have chosen it. Shorter texts are returned whole.
func ShortKey(key string) string {
	return Quote(key[:min(len(key), shortKeyLength)], shortKeyLength)
}

// Count is a number and what is counted, in the singular or in the plural. Example: "1500
// accounts".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
