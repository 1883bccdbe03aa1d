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

// The parser of nats-server says what a text means: what it accepts, means the same here. Where we differ on
// purpose, differences says why.

// tree gives the map as the oracle does: the last of doubled keys wins.
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

// oracle parses as nats-server does. A panic of it counts as a refusal.
func oracle(text string) (m map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	return conf.Parse(text)
}

// agree reports how the two parsers differ about a text, or "".
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

// checkAgainstOracle fails the test if the two parsers differ for another reason than those in differences, or if
// an error stands nowhere in the text.
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

// within reports whether the error is one of ours and stands in the text, or right behind it.
func within(text string, err error) bool {
	e, ok := err.(*natsconf.Error)
	if !ok {
		return false
	}
	lines := strings.Split(text, "\n")
	line, column := e.Pos.Line, e.Pos.Column
	return 1 <= line && line <= len(lines) && 1 <= column && column <= utf8.RuneCountInString(lines[line-1])+1
}

// from is the text from a position on.
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

// What we refuse and nats-server may accept, by the text of the error.
var refusals = regexp.MustCompile(`nothing is open that '}'|the map opened at line \d+ is never closed|` +
	`found '[],;{/]' where a key must begin|white space must come|single quote|out of range|NUL byte|UTF-16|` +
	`more than one value|nested more than|found '/' after a value`)

// What ends or begins at another place here, so that the rest of the text is read in another way.
var ends = regexp.MustCompile(`(?i)\pN[kmgtpe]?i?b?\]` + // a number in an array: [1][2] is one element to nats-server
	`|\n\)\r\n` + // a block
	`|\A\x{FEFF}` + // a byte order mark, which is no text
	`|[^\x00-\x7f\PN]`) // digits of other scripts

// What we accept and nats-server refuses, or reads in another way.
var readings = regexp.MustCompile(`(?i)\d[kmgtpe](b[bi]|ii|ib[ib])` + // text like a size
	`|[\[,\n\r][\s\v]*/([^/]|\z)` + // a path in an array
	`|\n\)\z`) // the end of a block

// A text whose last string is never closed, and has nothing or ends with an escape, is no mistake to nats-server.
var unclosed = regexp.MustCompile(`(["']|\\(x[0-9A-Fa-f]{2}|.)?)\z`)

// explained reports whether the texts can mean different things because of differences. It errs on the side of an
// explanation; the table has the exact cases.
func explained(text string, err error) bool {
	if ends.MatchString(text) {
		return true
	}
	if err == nil {
		return readings.MatchString(text)
	}
	if strings.Contains(err.Error(), "has no value") {
		return strings.HasPrefix(from(text, err.(*natsconf.Error).Pos), "}") || strings.Contains(err.Error(), "'}'")
	}
	if strings.Contains(err.Error(), "is never closed") && !strings.Contains(err.Error(), "the map") {
		return unclosed.MatchString(text)
	}
	return refusals.MatchString(err.Error())
}
