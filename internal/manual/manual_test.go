package manual_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"nats-account-server/internal/manual"
)

// documents are the README, the map of the code and the pages of the manual.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) < 2 {
		t.Fatal(pages, err)
	}
	return append(pages, "../../README.md", "../README.md")
}

func TestTheReadmeIsShort(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(readme) >= 8<<10 {
		t.Errorf("README.md has %d bytes: what is not for the first hour belongs on a page of the manual",
			len(readme))
	}
}

func TestTheIndexHasEveryPage(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		topic := strings.TrimSuffix(file, ".md")
		if topic == "README" {
			topic = ""
		}
		page, found := manual.Find(topic)
		if !found || page.Title == "" || strings.HasPrefix(page.Title, "#") {
			t.Errorf("%s: found %t, title %q", file, found, page.Title)
		}
	}
	if n := len(manual.Pages()); n != len(files) {
		t.Errorf("the index has %d pages, the directory %d", n, len(files))
	}
}

// anchors returns the anchors of a document, as hosts of code make them from headings.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return all
}

func TestLinksLeadToFilesAndHeadingsThatExist(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			file := document
			if path != "" {
				file = filepath.Join(filepath.Dir(document), path)
			}
			target, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: %v", document, err)
				continue
			}
			if anchor != "" && !anchors(string(target))[anchor] {
				t.Errorf("%s: no heading for %s", document, link[1])
			}
		}
	}
}

// What a host of the code and the program make of the pages agrees: each anchor is there in both.
func TestAnchorsAreTheSameOnTheServer(t *testing.T) {
	t.Parallel()
	for _, page := range manual.Pages() {
		for anchor := range anchors(page.Text) {
			if !strings.Contains(string(page.HTML()), `id="`+anchor+`"`) {
				t.Errorf("%s: no %s", page.Topic, anchor)
			}
		}
	}
}

func TestLinksOfTheServerLeadToPages(t *testing.T) {
	t.Parallel()
	links := 0
	for _, page := range manual.Pages() {
		html := string(page.HTML())
		for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(html, -1) {
			path, _, _ := strings.Cut(link[1], "#")
			topic, isHelp := strings.CutPrefix(path, manual.Root)
			if _, found := manual.Find(strings.TrimPrefix(topic, "/")); path != "" &&
				!strings.Contains(path, "://") && !(isHelp && found) {
				t.Errorf("%s: %s", page.Topic, link[1])
			}
			links++
		}
	}
	if links < len(manual.Pages()) {
		t.Errorf("only %d links", links)
	}
}

func TestTablesNameTheirColumnsInEachCell(t *testing.T) {
	t.Parallel()
	page, _ := manual.Find("delivery")
	for _, want := range []string{`<div class="scroll"><table class="stack">`, `<th scope="col">`,
		`<td data-l="meaning">`} {
		if !strings.Contains(string(page.HTML()), want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestHTMLInAPageIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, page := range manual.Pages() {
		if strings.Contains(string(page.HTML()), "<!-- raw HTML omitted -->") {
			t.Errorf("%s has HTML; write < as a code span", page.Topic)
		}
	}
}

func TestPlainTextHasShortLinesAndNoMarkup(t *testing.T) {
	t.Parallel()
	for _, page := range manual.Pages() {
		for line := range strings.Lines(page.Plain(72)) {
			line = strings.TrimRight(line, "\n")
			isLong := utf8.RuneCountInString(line) > 72 && strings.Contains(strings.TrimSpace(line), " ")
			isCode := strings.HasPrefix(line, "    ")
			if isLong && !isCode ||
				strings.Contains(line, "](") || strings.HasPrefix(line, "|") {
				t.Errorf("%s: %s", page.Topic, line)
			}
		}
	}
	page, _ := manual.Find("configuration")
	if !strings.Contains(page.Plain(72), "`http.port`\n    type: integer\n    default: `9090`\n") {
		t.Error("the table of keys is not a list")
	}
}

func TestSearchFindsWhatQuestionsAreAbout(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"How do I rotate the operator's key?":   "help operating: Rotate a signing key of the operator",
		"rotating keys":                         "help operating: Rotate a signing key of the operator",
		"which nats-servers lack the last push": "help troubleshooting: Which nats-server lacks",
		"accounts expiring":                     "help operating: Which accounts expire this week",
		"who imports from X":                    "help operating: Who imports from an account",
		"what would this push break":            "help operating: See before what a push will break",
		"when to renew an exporter":             "help operating: Renew an account before it expires",
		"revocation":                            "help operating: Revoke a user",
		"kubernets":                             "help deploying: In a container",
		"configuraton language":                 "help configuration: ",
		"acknowledged by 3 of 3":                "help delivery: ",
		"maxreplicationpack":                    "help configuration: ",
		"MAX-AGE":                               "help differences: ",
		"systemd":                               "help deploying: ",
		"import command":                        "help command-line: ",
		"a newer JWT is stored: it was issued at 2026-": "help troubleshooting: What you see",
	} {
		hits := manual.Search(query)
		if len(hits) == 0 {
			t.Errorf("%q: nothing is found", query)
		} else if text := hits[0].Plain(80); len(text) > 900 || !strings.HasPrefix(text, want) {
			t.Errorf("%q: %s", query, text)
		}
	}
}

// A line of the log, as it stands there, finds its row.
func TestALineOfTheLogFindsItsExplanation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(page), "\n| line | cause | do |\n")
	code := regexp.MustCompile("`([^`]+)`")
	n := 0
	cells := regexp.MustCompile(`(?m)^\| ([^|]*) \|`)
	for _, row := range cells.FindAllStringSubmatch(tables, -1) {
		for _, line := range code.FindAllStringSubmatch(row[1], -1) {
			if len(line[1]) < 20 {
				continue
			}
			n++
			text := strings.ReplaceAll(strings.Trim(line[1], "… "), "…", `AB5SKKHRJFD4 "x y" 17`)
			hits := manual.Search("[31337] 2026/11/28 15:13:43.123456 [WRN] AB5SKKHRJFD4 - " + text +
				" at 15:13")
			if len(hits) == 0 || !strings.Contains(hits[0].Plain(1000), line[0]) {
				t.Errorf("%s finds %v", text, hits)
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d lines", n)
	}
}

func TestSearchTakesAnything(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"", " ", "the", "?", "qqqqq", "\xff\xff", "(", "[a", `\`,
		strings.Repeat("é", 1000)} {
		if hits := manual.Search(query); len(hits) > 0 && query == "" {
			t.Errorf("%q: %v", query, hits)
		}
	}
	if hits := manual.Search("account"); len(hits) == 0 || len(hits) > 30 {
		t.Errorf("%d hits", len(hits))
	}
}

func FuzzSearch(f *testing.F) {
	f.Add("operator's key")
	f.Fuzz(func(t *testing.T, query string) {
		for _, h := range manual.Search(query) {
			for _, part := range h.Snippet {
				if !utf8.ValidString(part.Text) {
					t.Errorf("%q", part.Text)
				}
			}
		}
	})
}
