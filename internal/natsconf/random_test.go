package natsconf_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nats-account-server/internal/natsconf"
)

// A writer makes random texts that follow the grammar. It avoids the texts in differences.
type writer struct {
	*rand.Rand
	depth int
	names []string // keys that a variable may name here
}

func (w *writer) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w *writer) some(low, high int, part func() string) string {
	var b strings.Builder
	for range low + w.IntN(high-low+1) {
		b.WriteString(part())
	}
	return b.String()
}

// document returns a whole text, sometimes in braces.
func (w *writer) document() string {
	if w.IntN(5) == 0 {
		return w.space() + "{" + w.entries(true) + "}" + w.space()
	}
	return w.entries(false)
}

// space returns what may come between entries and between elements.
func (w *writer) space() string {
	return w.some(0, 2, func() string {
		return w.pick("", " ", "\t", "\n", "\r\n", "  ", "# it's {a} comment\n", "// [another\r\n",
			"#\n", "//\n")
	})
}

// end returns what may come after a value.
func (w *writer) end() string {
	return w.pick("\n", "\r\n", ",", ", ", " ,", " \n", "\t# end, of; line\n", " // that's it\n",
		",#\n", "\n\n")
}

func (w *writer) entries(inMap bool) string {
	var b strings.Builder
	known := len(w.names)
	for n := w.IntN(5); n > 0; n-- {
		key, name := w.key()
		text, needs := w.value(true)
		b.WriteString(w.space() + key + text)
		if name != "" {
			w.names = append(w.names, name)
		}
		switch {
		case needs == "\n":
			b.WriteString(needs)
		case inMap && n == 1 && w.IntN(2) == 0:
			w.names = w.names[:known]
			return b.String() + w.pick("", " ")
		case w.IntN(5) == 0:
			b.WriteString(";")
		default:
			b.WriteString(w.end())
		}
	}
	w.names = w.names[:known]
	return b.String() + w.space()
}

// key returns a key with its separator. name is empty if no variable can have that name.
func (w *writer) key() (text, name string) {
	blanks := w.pick("", "", " ", "\t ", "\n", " \r\n", "\v", "\u00a0")
	separator := blanks + w.pick(":", "=", ": ", " = ", ":\t")
	if w.depth > 0 {
		separator += w.pick("", "", "\n", "\r\n\t", "\v")
	}
	switch w.IntN(6) {
	case 0:
		return w.pick(`""`, `"a key"`, `'a "key"'`, `"a,b"`, `'a;b:c=d'`, `"include"`, `"a{b}"`,
			`"\"`, "'a\nb'") +
			w.pick("", " ", ":", " = "), ""
	case 1:
		return w.pick("*", ">", "$k", "a.b", "a-b", "k#", "k//x", `k"`, "k'", "k[0]", "(k", "true",
			"12", "-1", "ключ", "k\xff") +
			separator, ""
	}
	name = w.pick("a", "b", "c", "d", "e", "Key", "key_2", "включено")
	return name + w.pick(separator, separator, " ", "\t"), name
}

// value returns one value. needs is what must come after it: a new line after a block, a blank
// between a number and a bracket.
func (w *writer) value(paths bool) (text, needs string) {
	if w.depth < 4 {
		switch w.IntN(6) {
		case 0:
			return w.inner(func() string { return "{" + w.entries(true) + "}" }), ""
		case 1:
			return w.inner(w.array), ""
		}
	}
	switch w.IntN(9) {
	case 0:
		return `"` + w.some(0, 8, w.quotedPart) + `"`, ""
	case 1:
		return `'` + w.some(0, 8, w.rawPart) + `'`, ""
	case 2:
		return "(" + w.some(0, 5, w.blockLine) + "\n)", "\n"
	case 3, 4:
		return w.number(), " "
	case 5:
		return w.pick("true", "FALSE", "yes", "No", "on", "oFF"), ""
	case 6:
		if len(w.names) > 0 {
			return "$" + w.names[w.IntN(len(w.names))], ""
		}
		return w.pick("$ENVX", "$ENVM", "$2a$10$abc"), ""
	case 7:
		if paths {
			return w.pick("/a/b", "//a", "#a", "/"), ""
		}
	}
	first := w.pick("a", "Z", "_", "é", "nats://", "+", "*", "_::", "$2a$", `\t`, "k")
	return first + w.some(0, 8, w.barePart), ""
}

func (w *writer) inner(body func() string) string {
	w.depth++
	defer func() { w.depth-- }()
	return body()
}

func (w *writer) rawPart() string {
	return w.pick("a", " ", `\`, `"`, "\n", "#", "//", "}", "]", "ü")
}

func (w *writer) blockLine() string {
	return w.pick("line\n", "  {\n", "\n", " )\n", "#'\"\\\n", ")x\n")
}

func (w *writer) quotedPart() string {
	return w.pick("a", " ", "$x", `\t`, `\n`, `\r`, `\"`, `\\`, `\x41`, `\xfF`, "'", "\n", "#",
		"//", "}", "]", ",", ";", "é", "\xfe")
}

func (w *writer) barePart() string {
	return w.pick("a", "5", ":", "/", "//", "#", `"`, ".", "-", "@", "=", "(", ")", "[", "{", "$",
		`\\`, `\t`, `\x7e`, "é", "\v", "\xfe")
}

func (w *writer) number() string {
	n := fmt.Sprint(w.IntN(1000))
	switch w.IntN(5) {
	case 0:
		return w.pick("", "-") + n +
			w.pick("k", "K", "kb", "Ki", "kIB", "m", "MB", "mi", "g", "GiB", "t", "tb", "p", "Pib")
	case 1:
		return w.pick("", "-", "00") + n + "." + n
	case 2:
		return w.pick("2006-01-02T15:04:05Z", "1999-12-31T23:59:59Z", "0000-01-01T00:00:00Z")
	case 3:
		return w.pick("127.0.0.1", "10.0.0.1:4222", "1.2.3", "5s", "1:2", "100ms", "5kx", "1_000",
			"0x1f", "5#c", "5/6", "12h30m")
	}
	return w.pick("", "-") + n
}

func (w *writer) array() string {
	var b strings.Builder
	b.WriteString("[")
	for n := w.IntN(5); n > 0; n-- {
		text, needs := w.value(false)
		b.WriteString(w.space() + text)
		switch {
		case needs == "\n":
			b.WriteString(needs)
		case n > 1 || w.IntN(2) == 0:
			b.WriteString(w.end())
		default:
			return b.String() + needs + "]"
		}
	}
	return b.String() + w.space() + "]"
}

// corrupt makes a few small changes to a text.
func (w *writer) corrupt(text string) string {
	for range 1 + w.IntN(3) {
		at := w.IntN(len(text) + 1)
		to := min(len(text), at+w.IntN(3))
		insert := w.pick("", "", "{", "}", "[", "]", "(", ")", ":", "=", ",", ";", "'", `"`, `\`,
			"\n", " ", "/", "#", "-", ".", "5",
			"k", "a", "$", "\r", "\n)\n", "true", "\x00", text[at:to])
		text = text[:at] + insert + text[to:]
	}
	return text
}

func TestRandomTextsMeanTheSameToNatsServer(t *testing.T) {
	setEnvironment(t)
	for seed := range uint64(5000) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 1))}
		text := w.document()
		if _, err := natsconf.Parse("", text); err != nil {
			t.Errorf("seed %d: %q\nrefused: %v", seed, text, err)
		}
		if diff := agree(text); diff != "" {
			t.Errorf("seed %d: %q\n%s", seed, text, diff)
		}
		if t.Failed() {
			return
		}
	}
}

func TestCorruptTextsDifferForKnownReasonsOnly(t *testing.T) {
	setEnvironment(t)
	for seed := range uint64(15000) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 2))}
		if text := w.corrupt(w.document()); !checkAgainstOracle(t, text) {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestTheOracleDecidesAboutMostOfTheCorpus(t *testing.T) {
	setEnvironment(t)
	unexplained := slices.DeleteFunc(corpusTexts(t), func(text string) bool {
		_, err := natsconf.Parse("", text)
		return explained(text, err)
	})
	if n := len(unexplained); n < 300 {
		t.Errorf("only %d texts of the corpus would show an unknown difference", n)
	}
}
