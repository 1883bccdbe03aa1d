package natsconf_test

import (
	"fmt"
	"testing"

	"nats-account-server/internal/natsconf"
)

func TestEnvironmentErrors(t *testing.T) {
	t.Setenv("SPACES", "a b")
	t.Setenv("SELF", "$SELF")
	t.Setenv("PING", "{a: $PONG}")
	t.Setenv("PONG", "[$PING]")
	t.Setenv("OPEN", "{a: 1")
	t.Setenv("URLS", "nats://a:1,nats://b:2")
	t.Setenv("NEWLINE", "\n1")
	const at = "x.conf:2:4: variable reference for "
	for _, c := range []struct{ name, want string }{
		{"SPACES", "'SPACES' could not be parsed: found 'b' after a value: end it with a new " +
			"line, ',' or ';', or put text in quotes"},
		{"SELF", "'SELF' could not be parsed: variable reference cycle for 'SELF'"},
		{"PING", "'PING' could not be parsed: variable reference for 'PONG' could not be parsed: " +
			"variable reference cycle for 'PING'"},
		{"OPEN", "'OPEN' could not be parsed: the map opened at line 2 is never closed"},
		{"URLS", "'URLS' could not be parsed: it has more than one value: " +
			"found 'n' after the first"},
		{"NEWLINE", "'NEWLINE' could not be parsed: it begins with a new line"},
	} {
		_, err := natsconf.Parse("x.conf", "\na: $"+c.name)
		if err == nil || err.Error() != at+c.want {
			t.Errorf("%s:\ngot:  %v\nwant: %s", c.name, err, at+c.want)
		}
	}
}

// A variable in the value of an environment variable does not see the entries of the file.
func TestEnvironmentValueHasAScopeOfItsOwn(t *testing.T) {
	t.Setenv("OUTER", "{x: 1, y: $x, z: $INNER}")
	t.Setenv("INNER", "2")
	m, err := natsconf.Parse("x.conf", "INNER: 3\n\n a: $OUTER")
	if got := outcome(m, err); got != "map[INNER:3 a:map[x:1 y:1 z:2]]" {
		t.Fatal(got)
	}
	at := natsconf.Pos{File: "x.conf", Line: 3, Column: 5}
	a := m.Entries[1].Value
	if a.Pos != at {
		t.Errorf("the value is at %v, want %v", a.Pos, at)
	}
	for _, e := range a.Data.(*natsconf.Map).Entries {
		if e.Pos != at || e.Value.Pos != at {
			t.Errorf("%s is at %v, its value at %v; both must be where the variable is used, at %v",
				e.Key, e.Pos, e.Value.Pos, at)
		}
	}
}

func TestAVariableMarksTheEntryThatItRefersTo(t *testing.T) {
	m, err := natsconf.Parse("", `
		a: 1
		a: 2
		b: 3
		m { a: 4, c: $a, d: $b }
		e: $a
		f: '$b'
		g { h: 5 }
		i: $g
		k { a: 6 }`)
	if err != nil {
		t.Fatal(err)
	}
	want := "a false, a true, b true, m.a true, m.c false, m.d false, m false, e false, " +
		"f false, g.h false, g true, i.h false, i false, k.a false, k false, "
	if got := used("", m); got != want {
		t.Errorf("got:  %s\nwant: %s", got, want)
	}
}

func used(path string, m *natsconf.Map) (out string) {
	for _, e := range m.Entries {
		if inner, ok := e.Value.Data.(*natsconf.Map); ok {
			out += used(path+e.Key+".", inner)
		}
		out += fmt.Sprintf("%s%s %v, ", path, e.Key, e.Used)
	}
	return out
}

func TestPositions(t *testing.T) {
	const text = "# é\n\"é\":\t\"ü\", b: [1, {c: $é}]\r\nd {\n  e = -5kb\n}\na: (\n)\nb: 2\n"
	m, err := natsconf.Parse("x.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	want := "é 2:1 2:6, b 2:11 2:14 [2:15 2:18{c 2:19 2:22, }], d 3:1 3:3{e 4:3 4:7, }, " +
		"a 6:1 6:4, b 8:1 8:4, "
	if got := positions(m); got != want {
		t.Errorf("got:  %s\nwant: %s", got, want)
	}
	if m.Pos != (natsconf.Pos{File: "x.conf", Line: 1, Column: 1}) {
		t.Errorf("the file begins at %v", m.Pos)
	}
}

// positions returns the positions of keys and values, in the order of the file.
func positions(m *natsconf.Map) (out string) {
	short := func(p natsconf.Pos) string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }
	var value func(v natsconf.Value) string
	value = func(v natsconf.Value) string {
		out := short(v.Pos)
		switch d := v.Data.(type) {
		case *natsconf.Map:
			if d.Pos != v.Pos {
				out += " map " + short(d.Pos)
			}
			return out + "{" + positions(d) + "}"
		case []natsconf.Value:
			out += " ["
			for i, v := range d {
				if i > 0 {
					out += " "
				}
				out += value(v)
			}
			return out + "]"
		}
		return out
	}
	for _, e := range m.Entries {
		out += e.Key + " " + short(e.Pos) + " " + value(e.Value) + ", "
	}
	return out
}

func TestKeysGivenTwiceStayInOrder(t *testing.T) {
	m, err := natsconf.Parse("", "a: 1\nb: 2\na: 3\n'a' {}\n")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, e := range m.Entries {
		got += fmt.Sprint(e.Key, plain(e.Value.Data), " ")
	}
	if want := "a1 b2 a3 amap[] "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAVariableSharesTheMapThatItRefersTo(t *testing.T) {
	m, err := natsconf.Parse("", "a {b: 1}\nc: $a")
	if err != nil {
		t.Fatal(err)
	}
	if m.Entries[0].Value.Data != m.Entries[1].Value.Data {
		t.Error("there are two maps")
	}
}

// Without quotes, only a hash that begins with $2a$ is text; another one is a variable. The error
// must not show it.
func TestAHashWithoutQuotesIsNotShown(t *testing.T) {
	for _, hash := range []string{"$2b$10$abcdef./", "$2y$05$abcdef./"} {
		_, err := natsconf.Parse("", "password: "+hash)
		want := "1:11: a bcrypt hash that begins with " + hash[:4] + " must be in quotes"
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	const hash = "$2a$10$abc./d"
	m, err := natsconf.Parse("", "password: "+hash)
	if err != nil || m.Entries[0].Value.Data != hash {
		t.Errorf("%v, %v", m, err)
	}
}
