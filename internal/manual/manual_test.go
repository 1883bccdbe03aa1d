package manual_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
