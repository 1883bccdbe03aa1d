package natsconf_test

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nats-account-server/internal/natsconf"
)

// files writes files into a new directory, which becomes the working directory.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestIncludesMeanTheSameToNatsServer(t *testing.T) {
	setEnvironment(t)
	t.Setenv("ENVINC", "{include inc.conf}")
	files(t, map[string]string{
		"inc.conf": "v: 1\n", "json.conf": `{"v": 1}`, "empty.conf": "", "uses.conf": "z: $v\n",
		"d/x.conf": "include y.conf\nw: 1",
		"d/y.conf": "s: 2\n", "a b.conf": "v: 3", "a,b": "v: 4", "$v": "v: 5", "true": "v: 6",
		"]": "v: 7", "#": "v: 8",
		"x": "k: 9", ":": "v: 10", "two.conf": "v: 1\nv: 2\nm {v: $v}",
	})
	for _, text := range []string{
		"include inc.conf", "include 'inc.conf'", `include "inc.conf"`, "include\tinc.conf",
		"include  \t inc.conf\nb: 1",
		"include inc.conf; b: 1", "include inc.conf b: 1", "include 'inc.conf' b: 1",
		"include 'inc.conf', b: 1",
		"include inc.conf #c\nb: 1", "include inc.conf#c\nb: 1", "include 'inc.conf' #c\nb: 1",
		"include 'inc.conf'#c\nb: 1",
		"include inc.conf // c", "a {include inc.conf}", "a {include inc.conf }",
		"a {include 'inc.conf'}",
		"a {include 'inc.conf' }", "a {\ninclude inc.conf\n}", "a {include inc.conf\nb:1}",
		"a {include inc.conf;b:1}",
		"a {include inc.conf,b:1}", "a {b: 1, include inc.conf}", "{include inc.conf}",
		"{include 'inc.conf'}\nb: 1",
		"a: [{include inc.conf}]", "INCLUDE inc.conf", "iNcLuDe 'inc.conf'", "include json.conf",
		"include empty.conf\nb: 1",
		"v: 1\ninclude uses.conf", "v: 9\na {include uses.conf}", "include inc.conf\nz: $v",
		"v: 9\ninclude inc.conf\nz: $v",
		"a {include inc.conf\nz: $v}", "a {include inc.conf}\nz: $v", "include two.conf\nz: $v",
		"include 'a b.conf'",
		"include a b.conf", "include a,b", "include $v", "include true", "include ]", "include #",
		"include :", "include x",
		"include d/x.conf", "include ./d/../inc.conf", "include no.conf", "include d",
		"include inc\\x2econf",
		`include "inc\x2econf"`, "include (inc.conf\n)\n", "include [inc.conf]", "include",
		"include ", "include\n",
		"include\ninc.conf", "include ;", "include ''", "include 'inc.conf", `include "inc.conf`,
		`"include" inc.conf`,
		"'include': inc.conf", "include: inc.conf", "include=inc.conf", "include : inc.conf",
		"include \\x69nc.conf",
		"include {a: 1}", "a: include", "a include", "a: [include inc.conf]", "a: {include}",
		"a: {include\n}", "includes 1",
		"include inc.conf\ninclude inc.conf", "include 'inc.conf'include 'inc.conf'", "a: $ENVINC",
		"a: $ENVINC\nb: $v",
	} {
		if diff := agree(text); diff != "" {
			t.Errorf("%q\n%s", text, diff)
		}
	}
}

func TestAnIncludeIsRelativeToTheFileThatHasIt(t *testing.T) {
	dir := files(t, map[string]string{
		"conf/main.conf":       "a: 1\nhttp {\n  include 'parts/http.conf'\n  port: 2\n}\nb: $c",
		"conf/parts/http.conf": "host: h\n\n  include ../more.conf\n",
		"conf/more.conf":       "tls { x: 1 }",
		"more.conf":            "wrong: 1",
	})
	more := "include " + filepath.Join(dir, "conf/more.conf")
	text := strings.Replace(mustRead(t, "conf/main.conf"), "b: $c", more, 1)
	m, err := natsconf.Parse("conf/main.conf", text)
	const whole = "map[a:1 http:map[host:h port:2 tls:map[x:1]] tls:map[x:1]]"
	if got := outcome(m, err); got != whole {
		t.Fatalf("got:  %s\nwant: %s", got, whole)
	}
	var places []string
	for _, e := range append(m.Entries[1].Value.Data.(*natsconf.Map).Entries, m.Entries[2]) {
		places = append(places, e.Key+" "+e.Pos.String()+" "+e.Value.Pos.String())
	}
	want := []string{
		"host conf/parts/http.conf:1:1 conf/parts/http.conf:1:7",
		"tls conf/more.conf:1:1 conf/more.conf:1:5",
		"port conf/main.conf:4:3 conf/main.conf:4:9",
		"tls " + dir + "/conf/more.conf:1:1 " + dir + "/conf/more.conf:1:5",
	}
	if !reflect.DeepEqual(places, want) {
		t.Errorf("got:  %q\nwant: %q", places, want)
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestIncludedEntriesCanBeUsedAndAreMarked(t *testing.T) {
	files(t, map[string]string{"main.conf": "include sub.conf\nc: $b", "sub.conf": "a: 1\nb: 2"})
	m, err := natsconf.ParseFile("main.conf")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := used("", m), "a false, b true, c false, "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIncludeErrors(t *testing.T) {
	t.Setenv("BAD", "{include bad.conf}")
	t.Setenv("AGAIN", "{include via.conf}")
	deep := map[string]string{
		"self.conf": "\n  include self.conf", "ping.conf": "a {\n include pong.conf\n}",
		"pong.conf": "include ./ping.conf",
		"via.conf":  "a: $AGAIN", "dir/x": "", "bad.conf": "a: 1\nb {",
		"outer.conf": "m { include bad.conf }", "text.conf": "a: \x00",
		"uses.conf": "a: $b", "here.conf": "a: 1 ; include linked.conf",
		"nested.conf": "a: " + strings.Repeat("[", 150) + strings.Repeat("]", 150),
	}
	for i := range 30 {
		deep["deep"+string(rune('A'+i))] = "include deep" + string(rune('A'+i+1))
	}
	dir := files(t, deep)
	if err := os.Symlink("here.conf", "linked.conf"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ name, text, want string }{
		{"m.conf", "a: 1\n include no.conf",
			"m.conf:2:2: include 'no.conf': stat no.conf: no such file or directory"},
		{"m.conf", "include dir", "m.conf:1:1: include 'dir': dir is not a regular file"},
		{"m.conf", "include /dev/zero",
			"m.conf:1:1: include '/dev/zero': /dev/zero is not a regular file"},
		{"m.conf", "include socket",
			"m.conf:1:1: include 'socket': socket is not a regular file"},
		{"m.conf", "include self.conf",
			"self.conf:2:3: include 'self.conf': self.conf includes itself, by way of m.conf, " +
				"self.conf (included at m.conf:1:1)"},
		{"self.conf", "include self.conf",
			"self.conf:1:1: include 'self.conf': self.conf includes itself, by way of self.conf"},
		{"ping.conf", deep["ping.conf"],
			"pong.conf:1:1: include './ping.conf': ping.conf includes itself, by way of " +
				"ping.conf, pong.conf (included at ping.conf:2:2)"},
		{"here.conf", deep["here.conf"],
			"here.conf:1:8: include 'linked.conf': linked.conf includes " +
				"itself, by way of here.conf"},
		{"via.conf", deep["via.conf"],
			"via.conf:1:4: variable reference for 'AGAIN' could not be parsed: include " +
				"'via.conf': via.conf includes itself, by way of via.conf"},
		{"m.conf", "a: $BAD",
			"m.conf:1:4: variable reference for 'BAD' could not be parsed: bad.conf:2:4: the map " +
				"opened at line 2 is never closed (included at m.conf:1:4)"},
		{"m.conf", "include outer.conf",
			"bad.conf:2:4: the map opened at line 2 is never closed (included at outer.conf:1:5) " +
				"(included at m.conf:1:1)"},
		{dir + "/m.conf", "include bad.conf",
			dir + "/bad.conf:2:4: the map opened at line 2 is never closed (included at " + dir +
				"/m.conf:1:1)"},
		{"", "include bad.conf",
			"bad.conf:2:4: the map opened at line 2 is never closed (included at 1:1)"},
		{"m.conf", "include text.conf",
			"text.conf:1:4: a NUL byte is not text; save UTF-16 as UTF-8 (included at m.conf:1:1)"},
		{"m.conf", "b: 1\ninclude uses.conf",
			"uses.conf:1:4: variable reference for 'b' can not be found (included at m.conf:2:1)"},
		{"m.conf", "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{include nested.conf}",
			"nested.conf:1:153: maps and arrays are nested more than 200 deep " +
				"(included at m.conf:1:55)"},
	} {
		_, err := natsconf.Parse(c.name, c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\ngot:  %v\nwant: %s", c.text, err, c.want)
		}
	}
	_, err = natsconf.ParseFile("deepA")
	const deepest = "files include files more than 20 deep (included at deepT:1:1)"
	if err == nil || !strings.Contains(err.Error(), deepest) {
		t.Errorf("thirty files: %v", err)
	}
	if _, err = natsconf.ParseFile("self.conf"); err == nil ||
		!strings.Contains(err.Error(), "includes itself") {
		t.Errorf("a file that includes itself: %v", err)
	}
}
