package manual_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logging are the names of the functions that write WRN and ERR lines.
var logging = []string{"Warn", "Error", "warn", "warnf", "errorf", "warnOnce", "addServer", "postpone", "Log",
	"NewRecord"}

// logLine is a call of one of these functions.
type logLine struct {
	at   string // file and line
	in   string // package and function
	text string // the format, with … for what differs; "" if another expression has it
}

// program is what the sources say.
type program struct {
	lines []logLine
	texts map[string][]string // all texts, by the package and the function or variable with them
}

// readProgram reads the sources. Packages for tests and for other commands write no log.
func readProgram(t *testing.T) *program {
	t.Helper()
	p := &program{texts: map[string][]string{}}
	tools := regexp.MustCompile(`/(demo|bench|tools|testcheck|[a-z]+test)/`)
	walk := func(path string, d fs.DirEntry, err error) error {
		isSource := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go")
		if err != nil || d.IsDir() || !isSource || tools.MatchString(filepath.ToSlash(path)) {
			return err
		}
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, path, nil, 0)
		if err == nil {
			p.read(files, tree)
		}
		return err
	}
	for _, root := range []string{"../../internal", "../../cmd"} {
		if err := filepath.WalkDir(root, walk); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// read reads a file.
func (p *program) read(files *token.FileSet, tree *ast.File) {
	add := func(name string, n ast.Node) {
		in := tree.Name.Name + "." + name
		p.texts[in] = append(p.texts[in], textsIn(n)...)
		ast.Inspect(n, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && slices.Contains(logging, called(call)) && isBad(call) {
				p.lines = append(p.lines, logLine{files.Position(call.Pos()).String(), in,
					textOf(call.Args)})
			}
			return true
		})
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			add(d.Name.Name, d)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					add(v.Names[0].Name, v)
				}
			}
		}
	}
}

// textsIn returns the texts that have two words.
func textsIn(n ast.Node) (all []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr, *ast.BasicLit:
			text := pattern(n.(ast.Expr))
			if regexp.MustCompile(`[a-z'] [^ ]*[a-z…]`).MatchString(text) {
				all = append(all, strings.TrimSpace(text))
				return false // what it is made of is no text by itself
			}
		}
		return true
	})
	return all
}

// isBad reports whether a call of one of the functions writes a WRN or ERR line. Some have the level as an
// argument, and a condition that is over has nil.
func isBad(call *ast.CallExpr) bool {
	for _, arg := range call.Args {
		if level, ok := arg.(*ast.SelectorExpr); ok &&
			slices.Contains([]string{"LevelInfo", "LevelDebug", "LevelTrace"}, level.Sel.Name) {
			return false
		}
		if value, ok := arg.(*ast.Ident); ok && value.Name == "nil" {
			return false
		}
	}
	return len(call.Args) > 0 // an error has a method Error without arguments
}

// called returns the name of the function that is called, without what it belongs to.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

// textOf returns the first argument that has words.
func textOf(args []ast.Expr) string {
	for _, arg := range args {
		if text := pattern(arg); regexp.MustCompile(`[a-z]{3}`).MatchString(text) {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// pattern returns the text of an expression with … for what is not a literal.
func pattern(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil || e.Kind != token.STRING {
			return "…"
		}
		return regexp.MustCompile(`%[+#]?[.0-9]*[a-z]`).ReplaceAllString(text, "…")
	case *ast.BinaryExpr:
		return pattern(e.X) + pattern(e.Y)
	case *ast.CallExpr:
		if name := called(e); len(e.Args) > 0 && (name == "Sprintf" || name == "Errorf" || name == "New" ||
			name == "Count" || name == "Sprint") {
			return textOf(e.Args)
		}
	}
	return "…"
}

// madeBy says which functions and variables have the texts of lines that the call itself does not have, by
// the function with the call. All texts in them that have three words are lines. Some texts stand here
// themselves, since others beside them are no such lines. A function without any passes on what other
// calls have, or what the manual explains elsewhere.
var madeBy = map[string][]string{
	"accounts.reportUnread": {"directory or file of the store can't be read"},
	"bucket.openRevisions":  {"bucket.readCursor"},
	"bucket.judgeLocked":    {"not all nats-servers of the bucket sync each change"},
	"config.unknown":        {"unknown key …"},
	"daemon.warnAccess":     {"daemon.secret", "daemon.expired"},
	"daemon.reload":         {"daemon.reload"},
	"daemon.tell":           {"systemd can't be told"},
	"daemon.log":            {"daemon.warnings"},
	"dirsync.wait":          {"dirsync.Unwatched"},
	"dirsync.logUnreadable": {"what is served can't be read whole",
		"which has none of the files that were there"},
	"dirsync.decide":       {"dirsync.decide", "dirsync.explain"},
	"dirsync.compareStore": {"dirsync.errEmpty"},
	"logging.reportFailed": {"logging.reportFailed"},
	"logging.omitted":      {"logging.omitted"},
	"natsconn.failed": {"failed to connect to NATS", "failed to connect to the nats-servers of the bucket",
		"natsconn.hint", "natsconn.hintSigningKey", "natsconn.hintServerCertificate",
		"natsconn.hintHandshake", "natsconn.hintClientCertificate"},
	"natsconn.Reload": {"the certificates that were read before go on"},
	"natsconn.session": {"nats disconnected", "nats reconnected",
		"disconnected from the nats-servers of the bucket",
		"connected to the nats-servers of the bucket again"},
	"natsconn.announceRetry": {"will try to connect again in … milliseconds"},
	"resolver.delete":        {"resolver.delete"},
	"resolver.report":        {"another server's accounts are refused"},

	"daemon.warnf":        {}, // its calls have the texts
	"daemon.errorf":       {},
	"notifier.unlock":     {},
	"notifier.postpone":   {},
	"logging.Log":         {},
	"logging.Handle":      {}, // how many lines like the next one were left out
	"httpapi.postAccount": {}, // tells the client, not the log
	"httpapi.failure":     {}, // what the client got: see the page about the API
	"winsvc.Run":          {}, // what Windows says
	"main.logFailure":     {}, // why the server does not start: the configuration, or the system
	"main.serve":          {},
	"main.warn":           {},
}

// containing returns the texts that have a text in them.
func (p *program) containing(text string) (all []string) {
	for _, texts := range p.texts {
		for _, t := range texts {
			if strings.Contains(t, text) {
				all = append(all, t)
			}
		}
	}
	return all
}

// isNoLine reports whether a text is too short for a line, or is one that errors of others are compared
// with.
func isNoLine(text string) bool {
	compared := []string{"invalid websocket connection", "remote error: tls:",
		"closed by remote after TLS handshake"}
	return slices.Contains(compared, text) || strings.Count(text, " ") < 2
}

// entries returns the lines that the manual explains, as expressions.
func entries(t *testing.T) (all []*regexp.Regexp) {
	t.Helper()
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(page), "\n| line | cause | do |\n")
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(tables, -1) {
		for _, line := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			text := strings.ReplaceAll(regexp.QuoteMeta(strings.Trim(line[1], "… ")), "…", ".*")
			all = append(all, regexp.MustCompile(text))
		}
	}
	return all
}

// Each WRN and ERR line of the program has its cause and its cure in the manual, and each line there is
// one of the program.
func TestEveryLineOfTheLogIsExplained(t *testing.T) {
	t.Parallel()
	p := readProgram(t)
	var lines []logLine
	for _, l := range p.lines {
		if l.text != "" {
			lines = append(lines, l)
			continue
		}
		makers, isKnown := madeBy[l.in]
		if !isKnown {
			t.Errorf("%s: %s has no text: say in madeBy what makes it", l.at, l.in)
		}
		for _, maker := range makers {
			texts := slices.DeleteFunc(slices.Clone(p.texts[maker]), isNoLine)
			if strings.Contains(maker, " ") {
				texts = p.containing(maker)
			}
			if len(texts) == 0 {
				t.Errorf("madeBy: the program has no %s", maker)
			}
			for _, text := range texts {
				lines = append(lines, logLine{at: l.at, in: l.in, text: text})
			}
		}
	}
	explained := entries(t)
	used := make([]bool, len(explained))
	for _, l := range lines {
		found := false
		for i, entry := range explained {
			if entry.MatchString(l.text) {
				used[i], found = true, true
			}
		}
		if !found {
			t.Errorf("%s: troubleshooting.md does not explain: %s", l.at, l.text)
		}
	}
	for i, entry := range explained {
		if !used[i] {
			t.Errorf("no line of the log has: %s", entry)
		}
	}
}
