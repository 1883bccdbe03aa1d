package natsconf_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"nats-account-server/internal/natsconf"
)

func TestErrorsHavePositionAndSayWhatIsOpen(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		// what is never closed: the position is the end, the text says where it began
		{"a: 1\n\nhttp {\n  port: 1\n\n\n\n\n",
			"x.conf:9:1: the map opened at line 3 is never closed"},
		{"http {\n tls {\n port: 1\n}\n", "x.conf:5:1: the map opened at line 1 is never closed"},
		{"http {\n tls {\n port: 1\n", "x.conf:4:1: the map opened at line 2 is never closed"},
		{"{\n\"a\": 1\n", "x.conf:3:1: the map opened at line 1 is never closed"},
		{"http { port: 1", "x.conf:1:15: the map opened at line 1 is never closed"},
		{"a: 1\nservers: [\n  a\n  b\n", "x.conf:5:1: the array opened at line 2 is never closed"},
		{"servers: [ #]", "x.conf:1:14: the array opened at line 1 is never closed"},
		{"a: \"b\nc: d\n", "x.conf:3:1: the string opened at line 1 is never closed"},
		{"\na: 'b", "x.conf:2:6: the string opened at line 2 is never closed"},
		{"\"a: b\n", "x.conf:2:1: the key opened at line 1 is never closed"},
		{"a: 1\nb: (\nx\n )\n",
			"x.conf:5:1: the block opened at line 2 is never closed by a line that is only ')'"},
		{"include \"a\n", "x.conf:2:1: the file name opened at line 1 is never closed"},

		// what is closed but not open
		{"a: 1\n}}\n", "x.conf:3:1: the key '}}' has no value"},
		{"a: 1\n}\nhttp { b: 1 }\n",
			"x.conf:3:6: found '{' after a value: end it with a new line, ',' " +
				"or ';', or put text in quotes"},
		{"a: b]\n", "x.conf:1:5: nothing is open that ']' closes"},
		{"a { b: c]\n", "x.conf:1:9: nothing is open that ']' closes"},
		{"a: [b}\n", "x.conf:1:6: found '}' after a value in the array opened at line 1: end it " +
			"with a new line or ','"},

		// between entries and elements
		{"name: my server\n",
			"x.conf:1:10: found 's' after a value: end it with a new line, ',' or ';', or put " +
				"text in quotes"},
		{"a {\n b: 1 c: 2\n}",
			"x.conf:2:7: found 'c' after a value in the map opened at line 1: end it with a new " +
				"line, ',' or ';', or put text in quotes"},
		{"a: \"b\"'c'",
			`x.conf:1:7: found "'" after a value: end it with a new line, ',' or ';', or put ` +
				`text in quotes`},
		{"a: [b c]", "x.conf:1:7: found 'c' after a value in the array opened at line 1: end it " +
			"with a new line or ','"},
		{"a: [\n b\n , c]",
			"x.conf:3:2: found ',' where a value must begin in the array opened at line 1"},
		{"a: [}", "x.conf:1:5: found '}' where a value must begin in the array opened at line 1"},

		// keys
		{": 1", "x.conf:1:1: found ':' where a key must begin"},
		{"a: 1,, b: 2", "x.conf:1:6: found ',' where a key must begin"},
		{"/ a comment", "x.conf:1:1: found '/' where a key must begin"},
		{"http{\n", "x.conf:1:6: white space must come between the key 'http' and '{'"},
		{"debug", "x.conf:1:6: the key 'debug' has no value"},
		{"dir:\nport: 1", "x.conf:1:5: the key 'dir' has no value"},
		{"a {\n  b: \n}", "x.conf:3:1: the key 'b' has no value"},
		{"a { b: , c: 1 }", "x.conf:1:8: the key 'b' has no value"},

		// text and its escapes
		{`a: "x\q"`, `x.conf:1:6: unknown escape: only \xHH, \t, \n, \r, \" and \\ are known`},
		{`a: C:\Users`, `x.conf:1:6: unknown escape: only \xHH, \t, \n, \r, \" and \\ are known`},
		{`a: "x\x4"`, `x.conf:1:6: two hexadecimal digits must follow \x`},
		{`a: "\x`, `x.conf:1:5: two hexadecimal digits must follow \x`},
		{`a: "\`, `x.conf:1:5: unknown escape: only \xHH, \t, \n, \r, \" and \\ are known`},
		{"a: it's", "x.conf:1:6: text with a single quote in it must be in double quotes"},
		{"é: ü\u00a0ö \"ß",
			"x.conf:1:8: found '\"' after a value: end it with a new line, ',' or ';', or put " +
				"text in quotes"},
		{"a: 1\nb: \x00", "x.conf:2:4: a NUL byte is not text; save UTF-16 as UTF-8"},
		{"\xff\xfea\x00", "x.conf:1:4: a NUL byte is not text; save UTF-16 as UTF-8"},
		{"\uFEFFa", "x.conf:1:2: the key 'a' has no value"},

		// numbers and dates
		{"a: -", "x.conf:1:4: a number needs a digit first; put text that begins with '-' or '.' " +
			"in quotes"},
		{"dir: ./jwt",
			"x.conf:1:6: a number needs a digit first; put text that begins " +
				"with '-' or '.' in quotes"},
		{"a: 5.", "x.conf:1:6: a digit must follow the dot of a float; put text in quotes"},
		{"a: 5.5s", "x.conf:1:7: found 's' after a value: end it with a new line, ',' or ';', or " +
			"put text in quotes"},
		{"a: 9223372036854775808", "x.conf:1:4: the integer is out of range"},
		{"a: 9223372036854775807k", "x.conf:1:4: the integer is out of range"},
		{"a: -10e", "x.conf:1:4: the integer is out of range"},
		{"a: " + strings.Repeat("9", 400) + ".5", "x.conf:1:4: the float is out of range"},
		{"a: 2006-01-02",
			"x.conf:1:4: a date has the form 2006-01-02T15:04:05Z; put text that begins with " +
				"digits and '-' in quotes"},
		{"a: 2006-02-30T15:04:05Z",
			"x.conf:1:4: a date has the form 2006-01-02T15:04:05Z; put text that begins with " +
				"digits and '-' in quotes"},

		// variables and includes
		{"a: 1\n\n  b: $NO_SUCH_NAME\n",
			"x.conf:3:6: variable reference for 'NO_SUCH_NAME' can not be found"},
		{"a: $", "x.conf:1:4: variable reference for '' can not be found"},
		{"a: $a", "x.conf:1:4: variable reference for 'a' can not be found"},
		{"$a: $a", "x.conf:1:5: variable reference for 'a' can not be found"},
		{"a: $b\nb: $a", "x.conf:1:4: variable reference for 'b' can not be found"},
		{"b {\n include\n}", "x.conf:2:9: include needs the name of a file, found '\\n'"},
		{"include [a]", "x.conf:1:9: include needs the name of a file, found '['"},
		{"include a'b'", `x.conf:1:10: include needs the name of a file, found "'"`},
		{"include ''", "x.conf:1:1: include '': the name is empty"},
		{"a: 1; include no.conf",
			"x.conf:1:7: include 'no.conf': stat no.conf: no such file or directory"},
	} {
		m, err := natsconf.Parse("x.conf", c.text)
		if err == nil {
			t.Errorf("%q: accepted as %v, want the error %s", c.text, tree(m), c.want)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%q:\ngot:  %v\nwant: %s", c.text, err, c.want)
		}
		if !within(c.text, err) {
			t.Errorf("%q: the position is not in the text: %v", c.text, err)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, c := range []struct{ opening, closing string }{{"[", "]"},
		{"{a:", "}"}, {"[{a:", "}]"}} {
		for _, n := range []int{201, 1e6} {
			_, err := natsconf.Parse("x.conf", "a: "+strings.Repeat(c.opening, n))
			const want = ": maps and arrays are nested more than 200 deep"
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%d times %s: %v", n, c.opening, err)
			}
		}
		n := 200 / strings.Count(strings.ReplaceAll(c.opening, "{", "["), "[")
		text := "a: " + strings.Repeat(c.opening, n) + "b" + strings.Repeat(c.closing, n)
		if _, err := natsconf.Parse("x.conf", text); err != nil {
			t.Errorf("%d times %s: %v", n, c.opening, err)
		}
	}
}

// A parser that reads its text more than once, or a line again for every position, takes hours
// here.
func TestLongTextsAreReadOnce(t *testing.T) {
	const n = 50_000
	for name, text := range map[string]string{
		"entries on one line":  strings.Repeat("a:1,", n),
		"elements on one line": "a: [" + strings.Repeat("b,", n) + "]",
		"variables":            "k: 1\n" + strings.Repeat("a:$k\n", n),
		"comments":             strings.Repeat("#\n//\n", n),
		"open blocks":          "a: (" + strings.Repeat("\n)x", n),
		"escapes":              "a: \"" + strings.Repeat(`\x41`, n) + "\"",
		"slashes":              strings.Repeat("/", n),
		"blanks":               "a" + strings.Repeat(" ", n) + ": b" + strings.Repeat(" ", n),
		"one long word":        "a: " + strings.Repeat("b", n),
		"closed maps":          strings.Repeat("a {}\n", n),
	} {
		_, err := natsconf.Parse("", text)
		if failed, want := err != nil, name == "open blocks"; failed != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseFileGivesTheErrorOfTheSystem(t *testing.T) {
	dir := t.TempDir()
	if _, err := natsconf.ParseFile(filepath.Join(dir, "no.conf")); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := natsconf.ParseFile(dir); err == nil ||
		!strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
}
