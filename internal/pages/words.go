package pages

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/logging"
)

// maxNameBytes is how much of a name, a subject or a reason a page shows, in bytes.
const maxNameBytes = 256

// Name returns a text that a tenant has chosen as a page shows it: on one line, bounded, and what
// can't be seen is escaped. It is cut between two characters. It does not escape HTML, which
// html/template does.
func Name(text string) string {
	shown, mark := claimdiff.Beginning(text, maxNameBytes)
	return Visible(shown + mark)
}

// Visible is Name for a text of any length. logging.Quote replaces line ends, control characters
// and those without a shape by escapes.
func Visible(text string) string {
	text = logging.Quote(text, len(text))
	// A letter takes any number of marks, which would reach over the lines above it.
	marks := 0
	return strings.Map(func(c rune) rune {
		if marks++; !unicode.Is(unicode.M, c) {
			marks = 0
		}
		if marks > maxMarks {
			return -1
		}
		return c
	}, text)
}

// maxMarks is how many marks a letter may have. No language needs more.
const maxMarks = 4

// count is a number as all pages write it. Example: 12,345.
func count[N int | int64 | uint64](n N) string { return claimdiff.Count(n) }

// counted is a number and what is counted, in the singular or in the plural. Example: counted(1,
// "account", "accounts") is "1 account".
func counted(n int, one, many string) string { return claimdiff.Counted(n, one, many) }

// numbers are the numbers that a sentence has as words.
var numbers = [...]string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight",
	"nine", "ten", "eleven", "twelve"}

// word is a number at the beginning of a sentence. It is not negative. Example: "three", but "13".
func word(n int) string {
	if n < len(numbers) {
		return numbers[n]
	}
	return count(n)
}

// capital returns a text with a capital letter at its beginning, which must be a letter of ASCII.
// text is not empty.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// units are the units of span, and from how long on each is used. Days begin at two, so that "47
// hours" is not "1 day", which is too coarse for something that expires. Months have 30 days here,
// and years 365.
var units = []struct {
	from, unit time.Duration
	one, many  string
}{
	{2 * year, year, "year", "years"}, {60 * day, 30 * day, "month", "months"},
	{2 * day, day, "day", "days"}, {time.Hour, time.Hour, "hour", "hours"},
	{time.Minute, time.Minute, "minute", "minutes"},
}

// span is a length of time in its largest unit, rounded down. It is not negative. JWTs may have any
// time, so very long ones are bounded.
func span(d time.Duration) string {
	for _, u := range units {
		switch {
		case d > 100*year:
			return "more than 100 years"
		case d >= u.from:
			return counted(int(d/u.unit), u.one, u.many)
		}
	}
	return "less than a minute"
}

// distance says how far off a time is: "in 12 days", "3 hours ago". A page that stays open shows it
// as it was when the page was made. Example: span of 90 minutes is "1 hour".
func distance(t, now time.Time) string {
	if d := t.Sub(now); d > 0 {
		return "in " + span(d)
	}
	if now.Sub(t) < time.Minute {
		return "just now"
	}
	return span(now.Sub(t)) + " ago"
}

// moment writes a time of the calendar with its time zone, which is always UTC: those who read it
// compare it with logs of several machines. The year is left out if it is that of now. Example:
// "Mon 30 Nov, 09:00 UTC".
func moment(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.Year() > 9999:
		return "after the year 9999"
	case t.Year() < 1970:
		return "before 1970"
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("today 15:04 UTC")
	case t.Year() == now.Year():
		return t.Format("Mon 2 Jan, 15:04 UTC")
	}
	return t.Format("Mon 2 Jan 2006, 15:04 UTC")
}

// size writes a number of bytes, rounded. It is for what is in use. Limits are written exactly, by
// claimdiff.Size. Example: "1.5 GiB". There are three digits at most before the unit changes.
func size(n int64) string {
	const names = "KMGTPE"
	if n < 1<<10 {
		return counted(int(max(n, 0)), "byte", "bytes")
	}
	value, at := float64(n), -1
	for ; value >= 1<<10 && at < len(names)-1; at++ {
		value /= 1 << 10
	}
	text := strconv.FormatFloat(value, 'f', 1, 64)
	if value >= 100 {
		text = strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strings.TrimSuffix(text, ".0") + " " + names[at:at+1] + "iB"
}
