package natsconf_test

import (
	"fmt"
	"testing"

	"nats-account-server/internal/natsconf"
)

// A difference is a text that nats-server reads in another way.
type difference struct {
	text   string
	ours   string // the tree, or the error
	theirs string // the tree, or "refused"
}

// differences has every deliberate difference from nats-server. Most of them are mistakes that
// nats-server accepts and reads in a way that can't have been intended. Here they are errors.
var differences = []struct {
	reason string
	texts  []difference
}{
	{"a ']' ends a number too, so that arrays of numbers and JSON can be written as everywhere " +
		"else", []difference{
		{"a: [1, 2, 3]", `map[a:[1 2 3]]`, `refused`},
		{"a: [1\n2]", `map[a:[1 2]]`, `refused`},
		{"a: [[1],[2]]", `map[a:[[1] [2]]]`, `refused`},
		{"a: [1k,2]", `map[a:[1000 2]]`, `refused`},
		{"a: [5s, 6]", `map[a:[5s 6]]`, `refused`},
		{"a: [5kib,6]", `map[a:[5120 6]]`, `refused`},
		{"a: [5k]", `map[a:[5000]]`, `map[a:[5k]]`},
		{"a: [1]]", `1:7: nothing is open that ']' closes`, `map[a:[1]]]`},
		{"a: [[1][2]]",
			`1:8: found '[' after a value in the array opened at line 1: end it with a new line ` +
				`or ','`, `map[a:[[1][2]]]`},
		{"a: $ENVNUMBERS", `map[a:[1 2]]`, `refused`},
		{"x: [1]\na: $x", `map[a:[1] x:[1]]`, `refused`},
	}},
	{"a bare path may be an element of an array; nats-server skips a '/' there or takes it for a " +
		"separator", []difference{
		{"a: [/b]", `map[a:[/b]]`, `refused`},
		{"a: [/b, /c]", `map[a:[/b /c]]`, `refused`},
		{"a: [a\n/c]", `map[a:[a /c]]`, `refused`},
		{"a: [a /b]", `1:7: found '/' after a value in the array opened at line 1: end it with a ` +
			`new line or ','`, `map[a:[a b]]`},
	}},
	{"a '/' alone begins no comment and no key; nats-server skips it, and may move the entries " +
		"of a map to another key", []difference{
		{"a: {/ c\n}", `1:5: found '/' where a key must begin`, `map[ c:map[]]`},
		{"a {/b: 1}", `1:4: found '/' where a key must begin`, `map[a:map[b:1]]`},
		{"a {b: 1 /c\n}",
			`1:9: found '/' after a value in the map opened at line 1: end it with a new line, ` +
				`',' or ';', or put text in quotes`, `map[c:map[b:1]]`},
	}},
	{"an open brace must be closed; nats-server overlooks some that are not, at the top level " +
		"of a file, and takes a surplus one for an empty value", []difference{
		{"a=}", `1:3: the key 'a' has no value`, `map[a:]`},
		{"{", `1:2: the map opened at line 1 is never closed`, `map[]`},
		{"{\na:1\n", `3:1: the map opened at line 1 is never closed`, `map[a:1]`},
		{"{a:{b:1}\n", `2:1: the map opened at line 1 is never closed`, `map[a:map[b:1]]`},
		{"{a: x,", `1:7: the map opened at line 1 is never closed`, `map[a:x]`},
		{"]a: 1", `1:1: found ']' where a key must begin`, `map[]a:1]`},
		{"{{a:1}}", `1:2: found '{' where a key must begin`, `map[a:1]`},
		{"a { {b:1} }", `1:5: found '{' where a key must begin`, `map[a:map[{b:1]]`},
	}},
	{"a '{' sticks to no key: nats-server makes it a part of the key, and the map disappears",
		[]difference{
			{"a{\n}", `1:3: white space must come between the key 'a' and '{'`, `map[a{:]`},
			{"a{\nb:1\n}", `1:3: white space must come between the key 'a' and '{'`, `map[a{:b:1]`},
		}},
	{"a separator stands after an entry only; nats-server begins a key with a surplus one",
		[]difference{
			{"a:1,, b:2", `1:5: found ',' where a key must begin`, `map[,:b:2 a:1]`},
			{"a:1;; b:2", `1:5: found ';' where a key must begin`, `map[;:b:2 a:1]`},
			{",a:1", `1:1: found ',' where a key must begin`, `map[,a:1]`},
			{"a: {,b: 1}", `1:5: found ',' where a key must begin`, `map[a:map[,b:1]]`},
			{"a { b=1;c=2;; }", `1:13: found ';' where a key must begin`, `map[;:map[b:1 c:2]]`},
			{"a { b=1\n,c=2 }", `2:1: found ',' where a key must begin`, `map[a:map[,c:2 b:1]]`},
			{"a:1,\n,b:2", `2:1: found ',' where a key must begin`, `map[,b:2 a:1]`},
			{"{a:1},{b:2}", `1:6: found ',' where a key must begin`, `map[,{b:2 a:1]`},
			{"a: (foo\n)\n,b: 1", `3:1: found ',' where a key must begin`, "map[,b:1 a:foo\n]"},
		}},
	{"a key at the end of a map needs a value; nats-server gives the map the name of that key",
		[]difference{
			{"a {b: }", `1:7: the key 'b' has no value`, `map[b:map[]]`},
			{"a {b }", `1:6: the key 'b' has no value`, `map[b:map[]]`},
			{"a {b\n}", `2:1: the key 'b' has no value`, `map[b:map[]]`},
			{"a {b:\n}", `2:1: the key 'b' has no value`, `map[b:map[]]`},
			{"a { 'b' }", `1:9: the key 'b' has no value`, `map[b:map[]]`},
		}},
	{"a quote must have a partner; nats-server overlooks one that ends the text", []difference{
		{"'", `1:2: the key opened at line 1 is never closed`, `map[]`},
		{"{a\n['", `2:3: the string opened at line 2 is never closed`, `map[]`},
		{"a:1\n\"", `2:2: the key opened at line 2 is never closed`, `map[a:1]`},
		{"0 [\"\\t", `1:7: the string opened at line 1 is never closed`, `map[]`},
		{"0 [\"\\\\", `1:7: the string opened at line 1 is never closed`, `map[]`},
	}},
	{"a single quote in bare text is refused; nats-server ends the text there and drops the quote",
		[]difference{
			{"a: foo'", `1:7: text with a single quote in it must be in double quotes`,
				`map[a:foo]`},
			{"a: [foo']", `1:8: text with a single quote in it must be in double quotes`,
				`map[a:[foo]]`},
			{"a: true'", `1:8: text with a single quote in it must be in double quotes`,
				`map[a:true]`},
			{"a: 5'x'", `1:7: text with a single quote in it must be in double quotes`,
				`map[a:5'x]`},
			{"a: 5k'", `1:6: text with a single quote in it must be in double quotes`, `map[a:5k]`},
		}},
	{"a number that is too large is refused; nats-server lets it overflow", []difference{
		{"a: 50e", `1:4: the integer is out of range`, `map[a:-5340232221128654848]`},
		{"a: 50eib", `1:4: the integer is out of range`, `map[a:2305843009213693952]`},
	}},
	{"text that only begins like a size is text; nats-server drops the whole entry", []difference{
		{"a: 5kbb", `map[a:5kbb]`, `map[]`},
		{"a: 5kibb", `map[a:5kibb]`, `map[]`},
		{"a: 5kii", `map[a:5kii]`, `map[]`},
		{"a: [5kbb ]", `map[a:[5kbb]]`, `map[a:[]]`},
		{"a: 5mbb\nb: 1", `map[a:5mbb b:1]`, `map[b:1]`},
		{"a: -5kbb", `map[a:-5kbb]`, `map[]`},
	}},
	{"a block may end at the end of the text; nats-server then makes the ')' a part of it",
		[]difference{
			{"a: (foo\n)", "map[a:foo\n]", "map[a:foo\n)]"},
			{"a: (\n)", "map[a:\n]", "map[a:\n)]"},
			{"a: (x\\ty\n)", "map[a:x\\ty\n]", "map[a:x\\ty\n)]"},
		}},
	{"a block may have CRLF line ends", []difference{
		{"a: (foo\r\n)\r\nb: 1", "map[a:foo\r\n b:1]", `refused`},
		{"a: (foo\n)\r\nb: 1", "map[a:foo\n b:1]", `refused`},
	}},
	{"a byte order mark is no part of the first key", []difference{
		{"\ufeffa:1", `map[a:1]`, "map[\ufeffa:1]"},
		{"\ufeff{\"a\":1}", `map[a:1]`, "map[\ufeff{\"a\":1]"},
	}},
	{"a NUL byte is refused; nats-server stops reading there", []difference{
		{"a: \x00", `1:4: a NUL byte is not text; save UTF-16 as UTF-8`, `map[a:]`},
	}},
	{"digits of other scripts are no digits", []difference{
		{"a: ٣", `map[a:٣]`, `refused`},
		{"a: 0.0.٣", `1:8: found '٣' after a value: end it with a new line, ',' or ';', or put ` +
			`text in quotes`, `map[a:0.0.٣]`},
		{"a: 5٣", `map[a:5٣]`, `refused`},
	}},
	{"the value of an environment variable is one value; nats-server drops the rest of it",
		[]difference{
			{"a: $ENVN",
				`1:4: variable reference for 'ENVN' could not be parsed: it has more than ` +
					`one value: found 'b' after the first`, `map[a:1]`},
			{"a: $ENVURLS",
				`1:4: variable reference for 'ENVURLS' could not be parsed: it has more than one ` +
					`value: found 'n' after the first`, `map[a:nats://a:1]`},
			{"a: $ENVP",
				`1:4: variable reference for 'ENVP' could not be parsed: nothing is open ` +
					`that '}' closes`, `map[a:7]`},
		}},
}

func TestDifferencesFromNatsServer(t *testing.T) {
	setEnvironment(t)
	for _, group := range differences {
		for _, d := range group.texts {
			m, err := natsconf.Parse("", d.text)
			if got := outcome(m, err); got != d.ours {
				t.Errorf("%s: %q\ngot:  %s\nwant: %s", group.reason, d.text, got, d.ours)
			}
			theirs, err := oracle(d.text)
			got := "refused"
			if err == nil {
				got = fmt.Sprint(theirs)
			}
			if got != d.theirs || got == d.ours {
				t.Errorf("%s: %q\nnats-server now: %s\nit was:          %s", group.reason, d.text,
					got, d.theirs)
			}
		}
	}
}

// outcome returns the tree, or the error, as text.
func outcome(m *natsconf.Map, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(tree(m))
}
