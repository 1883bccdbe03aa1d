package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlatforms checks the types of all packages and of their tests as the compiler does, for each
// of the platforms in PLATFORMS, such as "darwin/arm64". To compile all that would find the same
// errors, but take minutes of a processor for a platform instead of seconds. `make lint` runs the
// test.
func TestPlatforms(t *testing.T) {
	platforms := strings.Fields(os.Getenv("PLATFORMS"))
	if len(platforms) == 0 {
		t.Skip("PLATFORMS names no platform")
	}
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			goos, goarch, _ := strings.Cut(platform, "/")
			t.Setenv("GOOS", goos)
			t.Setenv("GOARCH", goarch)
			t.Setenv("CGO_ENABLED", "0")
			checkPackages(t, goarch, "nats-account-server/...")
		})
	}
}

// source is a package as `go list -json` prints it.
type source struct {
	ImportPath, Dir string
	GoFiles         []string
	ImportMap       map[string]string // what a file imports -> ImportPath, where they differ
}

// checkPackages checks the packages of the pattern, and all that they import before them.
func checkPackages(t *testing.T, goarch, pattern string) {
	list := exec.Command("go", "list", "-deps", "-test",
		"-json=ImportPath,Dir,GoFiles,ImportMap", pattern)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]*types.Package{"unsafe": types.Unsafe}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var s source
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if s.ImportPath != "unsafe" && !strings.HasSuffix(s.ImportPath, ".test") {
			checked[s.ImportPath] = s.check(t, goarch, checked)
		}
	}
}

// check checks one package. It leaves out the bodies of functions of other modules.
func (s *source) check(t *testing.T, goarch string, checked map[string]*types.Package) *types.Package {
	files := token.NewFileSet()
	var syntax []*ast.File
	for _, name := range s.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(s.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		syntax = append(syntax, file)
	}
	path, _, _ := strings.Cut(s.ImportPath, " ") // without [the test that it is compiled for]
	config := types.Config{
		Importer:         importer{s, checked},
		Sizes:            types.SizesFor("gc", goarch),
		IgnoreFuncBodies: !strings.HasPrefix(path, "nats-account-server/"),
		Error:            func(err error) { t.Error(err) },
	}
	p, _ := config.Check(path, files, syntax, nil)
	return p
}

// importer knows the packages that a source may import.
type importer struct {
	*source
	checked map[string]*types.Package
}

func (i importer) Import(path string) (*types.Package, error) {
	if mapped, ok := i.ImportMap[path]; ok {
		path = mapped
	}
	if p, ok := i.checked[path]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("go list has not listed %s before", path)
}
