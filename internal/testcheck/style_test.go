package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxColumns is how wide a line may be. A tab counts as four columns.
const maxColumns = 110

// people are words for people, which a comment about servers, files and JWTs does not need. The
// system's user nobody is none of them.
var people = regexp.MustCompile(`(?i)//.*\b(some|any|every|no)body\b|//.*\bwhoever\b`)

func TestLinesAreNotTooWideAndCommentsSpeakOfThings(t *testing.T) {
	files := 0
	for _, dir := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			files++
			content, err := os.ReadFile(path)
			checkStyle(t, path, string(content))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files found", files)
	}
}

func checkStyle(t *testing.T, path, content string) {
	n := 0
	for line := range strings.Lines(content) {
		n++
		wide := utf8.RuneCountInString(strings.ReplaceAll(strings.TrimSuffix(line,
			"\n"), "\t", "    "))
		if wide > maxColumns {
			t.Errorf("%s:%d: %d columns, %d are allowed", path, n, wide, maxColumns)
		}
		if word := people.FindString(strings.ReplaceAll(line, "user nobody", "")); word != "" {
			t.Errorf("%s:%d: say what it is: %s", path, n, word)
		}
	}
}
