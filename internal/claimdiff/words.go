package claimdiff

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxTextBytes is how much of a text that a tenant chose the words have, in bytes. What is longer
// is cut, which "…" after the quotation mark says.
const maxTextBytes = 100

// Quote returns a text in quotation marks, on one line, whatever it is. A long one is cut between
// two characters. Example: "orders of \"Acme\"".
func Quote(text string) string {
	shown, mark := Beginning(text, maxTextBytes)
	return strconv.Quote(shown) + mark
}

// Beginning returns a text of at most so many bytes as it is. Of a longer one it returns the
// beginning, which ends between two characters, and the mark "…" that belongs behind it. Otherwise
// the mark is "".
func Beginning(text string, most int) (shown, mark string) {
	if len(text) <= most {
		return text, ""
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], "…"
}

// Plain returns a text as it is if it has only characters that subjects, tags and roles usually
// have. Otherwise it returns it quoted. Without quotes there can be no space, quote or letter that
// is not ASCII, so no text can pass for the words around it.
func Plain(text string) string {
	if text == "" || len(text) > maxTextBytes {
		return Quote(text)
	}
	for _, c := range []byte(text) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune(".*>$_-:/{}()+@%=#", rune(c)) {
			return Quote(text)
		}
	}
	return text
}

// keyLength is the length of a public key.
const keyLength = 56

// Key returns the beginning and the end of a public key, which is enough to find it: "AB3D…K2LM".
// What does not look like a key is returned as Plain does. An account key begins with "A", and a
// user's with "U".
func Key(key string) string {
	if len(key) != keyLength || Plain(key) != key {
		return Plain(key)
	}
	return key[:4] + "…" + key[keyLength-4:]
}

// Time returns a time of a claim, in Unix seconds, in words: in UTC, with seconds only if there are
// some. What a calendar does not have is returned as a number of seconds. Example: "Mon 30 Nov
// 2026, 09:00 UTC". 0 is 1970 here: the caller says what 0 means in its field.
func Time(seconds int64) string {
	const year9999 = 253402300799
	if seconds < 0 || seconds > year9999 {
		return fmt.Sprintf("second %d", seconds)
	}
	layout := "Mon 2 Jan 2006, 15:04 UTC"
	if seconds%60 != 0 {
		layout = "Mon 2 Jan 2006, 15:04:05 UTC"
	}
	return time.Unix(seconds, 0).UTC().Format(layout)
}

// Duration returns a duration in words, exactly: "1 h 30 min". 0 is "0s".
func Duration(d time.Duration) string {
	if d <= 0 {
		return d.String()
	}
	var parts []string
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{
		{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"},
		{time.Millisecond, "ms"}, {time.Microsecond, "µs"}, {time.Nanosecond, "ns"},
	} {
		if n := d / unit.of; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			d -= n * unit.of
		}
	}
	return strings.Join(parts, " ")
}

// units are those of sizes. People set limits in powers of two or of ten, so there are both. Of two
// that are equally short, Size takes the first.
var units = []struct {
	bytes int64
	name  string
}{
	{1 << 50, "PiB"}, {1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"},
	{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"},
}

// Size returns a number of bytes in words, exactly, so that two limits that differ never read
// alike: in the unit that makes it shortest with at most two decimals, and otherwise in bytes.
// Example: "1 GiB" or "1.5 MB". 0 and negative numbers are in bytes. Examples: 1000 is "1 KB", 1024
// is "1 KiB", and 1001 is "1,001 bytes".
func Size(n int64) string {
	best, unit := "", ""
	for _, u := range units {
		if n < u.bytes || n%u.bytes*100%u.bytes != 0 {
			continue
		}
		number := strconv.FormatInt(n/u.bytes, 10)
		if hundredths := n % u.bytes * 100 / u.bytes; hundredths != 0 {
			number += strings.TrimRight(fmt.Sprintf(".%02d", hundredths), "0")
		}
		if best == "" || len(number) < len(best) {
			best, unit = number, u.name
		}
	}
	if best == "" {
		return plural(Count(n)+" byte{s}", n)
	}
	return best + " " + unit
}

// plural returns a clause for a number: "{s}" in it becomes the s that any number but 1 has.
// Example: plural("connection{s}", 2) is "connections".
func plural(clause string, n int64) string {
	if n == 1 {
		return strings.ReplaceAll(clause, "{s}", "")
	}
	return strings.ReplaceAll(clause, "{s}", "s")
}

// Count returns a number with a comma after each three digits: "1,500".
func Count[N int | int64 | uint64](n N) string {
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// Counted returns a number and what is counted, in the singular or in the plural. Example: "1,500
// accounts". It is for people; logging.Count is for lines of the log, which programs search too.
func Counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// without returns what is in a list and not in others, sorted. What a list has twice counts once.
// Neither list is changed. It is nil if nothing is left.
func without(list, others []string) []string {
	left := map[string]bool{}
	for _, item := range list {
		left[item] = true
	}
	for _, item := range others {
		delete(left, item)
	}
	return slices.Sorted(maps.Keys(left))
}

// keysOf returns the keys of two maps, sorted. A key that both have is there once. Either map may
// be nil. Sorting makes the order of the changes the same for the same claims.
func keysOf[K ~string, V any](a, b map[K]V) []K {
	all := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(all)
	return slices.Compact(all)
}
