package pages

import (
	"strings"
	"testing"
	"time"
)

func TestNamesOfTenantsShowWhatCannotBeSeen(t *testing.T) {
	for text, want := range map[string]string{
		"orders":                           "orders",
		"größe \u05d0\u05d1":               "größe \u05d0\u05d1",
		"a\u202Eb":                         `a\u202eb`,
		"a\u2066b\u200fc\u200bd\ufeff":     `a\u2066b\u200fc\u200bd\ufeff`,
		"a\nb\x00\x7f":                     `a\nb\x00\x7f`,
		"\xff":                             `\ufffd`,
		"<b>&\"'":                          "<b>&\"'", // the templates escape it
		"Z" + strings.Repeat("\u0335", 50): "Z" + strings.Repeat("\u0335", maxMarks),
		strings.Repeat("é", 1000):          strings.Repeat("é", maxNameBytes/2) + "…",
		"a" + strings.Repeat("é", 1000):    "a" + strings.Repeat("é", maxNameBytes/2-1) + "…",
		"\xff" + strings.Repeat("a", 1000): `\ufffd` + strings.Repeat("a", maxNameBytes-1) + "…",
	} {
		if got := Name(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestTimesForPeople(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		of               time.Duration
		distance, moment string
	}{
		{0, "just now", "today 12:00 UTC"},
		{30 * time.Second, "in less than a minute", "today 12:00 UTC"},
		{-time.Minute, "1 minute ago", "today 11:59 UTC"},
		{-41 * time.Minute, "41 minutes ago", "today 11:19 UTC"},
		{90 * time.Minute, "in 1 hour", "today 13:30 UTC"},
		{47 * time.Hour, "in 47 hours", "Mon 30 Nov, 11:00 UTC"},
		{12*day + time.Hour, "in 12 days", "Thu 10 Dec, 13:00 UTC"},
		{90 * day, "in 3 months", "Fri 26 Feb 2027, 12:00 UTC"},
		{-5 * year, "5 years ago", "Mon 29 Nov 2021, 12:00 UTC"},
		{1<<63 - 1, "in more than 100 years", "Mon 10 Mar 2319, 11:47 UTC"},
	} {
		at := now.Add(c.of)
		if got := distance(at, now); got != c.distance {
			t.Errorf("%s: %q, want %q", c.of, got, c.distance)
		}
		if got := moment(at, now); got != c.moment {
			t.Errorf("%s: %q, want %q", c.of, got, c.moment)
		}
	}
	if got := moment(time.Unix(1<<62, 0), now); got != "after the year 9999" {
		t.Error(got)
	}
}

func TestSizesAndNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 1023: "1,023 bytes", 1 << 10: "1 KiB",
		1<<20 + 1<<19: "1.5 MiB", 200 << 30: "200 GiB", 1<<63 - 1: "8 EiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	got := count(1234567) + " " + count(999) + " " + word(3) + " " + word(13)
	if got != "1,234,567 999 three 13" {
		t.Error(got)
	}
}
