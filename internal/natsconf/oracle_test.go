package natsconf_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/conf"

	"nats-account-server/internal/natsconf"
)

// The oracle is nats-server's own parser. A text that it accepts must mean the same here, except
// for the texts in differences.

// tree returns a map as the oracle does: the last entry of a key wins.
func tree(m *natsconf.Map) map[string]any {
	out := make(map[string]any)
	for _, e := range m.Entries {
		out[e.Key] = plain(e.Value.Data)
	}
	return out
}

func plain(data any) any {
	switch d := data.(type) {
	case *natsconf.Map:
		return tree(d)
	case []natsconf.Value:
		out := make([]any, len(d))
		for i, v := range d {
			out[i] = plain(v.Data)
		}
		return out
	}
	return data
}

// oracle parses a text as nats-server does. A panic counts as an error.
func oracle(text string) (m map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	return conf.Parse(text)
}

// agree returns how the two parsers differ about a text. It is empty if they agree.
func agree(text string) string {
	want, refused := oracle(text)
	m, err := natsconf.Parse("", text)
	switch {
	case err != nil && refused != nil:
		return ""
	case err != nil:
		return fmt.Sprintf("refused: %v\nthe oracle accepts: %#v", err, want)
	case refused != nil:
		return fmt.Sprintf("accepted: %#v\nthe oracle refuses: %v", tree(m), refused)
	}
	if got := tree(m); !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("got:  %#v\nwant: %#v", got, want)
	}
	return ""
}

// checkAgainstOracle fails the test if the two parsers differ for a reason that is not in
// differences, or if the position of an error is not in the text.
func checkAgainstOracle(t *testing.T, text string) bool {
	t.Helper()
	_, err := natsconf.Parse("", text)
	if err != nil && !within(text, err) {
		t.Errorf("%q\nthe position is not in the text: %v", text, err)
	}
	if diff := agree(text); diff != "" && !explained(text, err) {
		t.Errorf("%q\n%s", text, diff)
	}
	return !t.Failed()
}

// within reports whether an error is an *Error with a position in the text, or right after it.
func within(text string, err error) bool {
	e, ok := err.(*natsconf.Error)
	if !ok {
		return false
	}
	lines := strings.Split(text, "\n")
	line, column := e.Pos.Line, e.Pos.Column
	return 1 <= line && line <= len(lines) && 1 <= column &&
		column <= utf8.RuneCountInString(lines[line-1])+1
}

// from returns the text from a position on.
func from(text string, pos natsconf.Pos) string {
	for range pos.Line - 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	for range pos.Column - 1 {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}

// refusals matches the errors about texts that nats-server may accept.
var refusals = regexp.MustCompile(`the map opened at line \d+ is never closed|` +
	`found '[],;{/]' where a key must begin|white space must come|single quote|out of range|` +
	`NUL byte|UTF-16|more than one value|nested more than|found '/' after a value`)

// ends matches texts in which something ends or begins in another place here. The rest of the text
// is then read in another way.
var ends = regexp.MustCompile(`(?i)` +
	`\pN[kmgtpe]?i?b?\]` + // a number in an array: [1][2] is one element to nats-server
	`|\n\)\r\n` + // a block
	`|\A\x{FEFF}` + // a byte order mark, which is no text
	`|[^\x00-\x7f\PN]`) // digits of other scripts

// readings matches texts that are accepted here and that nats-server refuses or reads differently.
var readings = regexp.MustCompile(`(?i)` +
	`\d[kmgtpe](b[bi]|ii|ib[ib])` + // text like a size
	`|[\[,\n\r][\s\v]*/([^/]|\z)` + // a path in an array
	`|\n\)\z`) // the end of a block

// unclosed matches a text whose last string is never closed, and is empty or ends with an escape.
// nats-server accepts it.
var unclosed = regexp.MustCompile(`(["']|\\(x[0-9A-Fa-f]{2}|.)?)\z`)

// explained reports whether differences can explain that the parsers differ about a text. It may
// explain too much; the table has the exact cases.
func explained(text string, err error) bool {
	if ends.MatchString(text) {
		return true
	}
	if err == nil {
		return readings.MatchString(text)
	}
	if strings.Contains(err.Error(), "has no value") {
		return strings.HasPrefix(from(text, err.(*natsconf.Error).Pos), "}") ||
			strings.Contains(err.Error(), "'}'")
	}
	if strings.Contains(err.Error(), "is never closed") &&
		!strings.Contains(err.Error(), "the map") {
		return unclosed.MatchString(text)
	}
	return refusals.MatchString(err.Error())
}
