package natsconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxIncludes is how deep files may include files. A chain that never ends, with a new file each
// time, must not go on for ever.
const maxIncludes = 20

// include reads the name of a file and adds the entries of that file to the current map. A relative
// name is relative to the file with the include, so that a set of files can be moved together.
//
// An error in the file has its position in that file, and says where the file is included. at is
// where the word include begins.
func (p *parser) include(at Pos) {
	name := p.includeName()
	if p.err != nil {
		return
	}
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(p.file), name)
	}
	text, err := p.readInclude(name, path)
	if err != nil {
		p.failAt(at, "include '%s': %v", name, err)
		return
	}
	// The file has a scope of its own, so variables in it see only its own entries.
	q := p.inner(path, text)
	q.files = append(slices.Clip(p.files), path)
	m := q.document()
	for _, e := range m.Entries {
		p.scope.add(e)
	}
	p.scope.m.Surplus = append(p.scope.m.Surplus, m.Surplus...)
	if q.err != nil {
		p.failAt(q.err.Pos, "%s (included at %s)", q.err.Msg, at)
	}
}

// includeName reads the name of a file. A name has no escapes, and a bare one may contain a ','.
// After a mistake the result is not used.
func (p *parser) includeName() string {
	p.skipBlanks()
	r := p.peek()
	if r == '"' || r == '\'' {
		return p.raw("file name")
	}
	name := ""
	if !strings.ContainsRune(`([{\`, r) {
		name = p.take(func(r rune) bool {
			return !isBlank(r) && !isNewline(r) && !strings.ContainsRune(";}'", r)
		})
	}
	if name == "" || p.peek() == '\'' {
		p.fail("include needs the name of a file, found %s", quoteRune(p.peek()))
	}
	return name
}

// readInclude returns the text of the file at path. It must be a regular file that is not being
// read already.
func (p *parser) readInclude(name, path string) (string, error) {
	if name == "" {
		return "", errors.New("the name is empty")
	}
	// The first file is in the list too, so it may have one more element.
	if len(p.files) > maxIncludes {
		return "", fmt.Errorf("files include files more than %d deep", maxIncludes)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	// Opening a pipe could block, so its kind is checked first.
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	// A link is another name of the same file, so names are not compared.
	for _, outer := range p.files {
		if o, err := os.Stat(outer); err == nil && os.SameFile(o, info) {
			return "", fmt.Errorf("%s includes itself, by way of %s", path,
				strings.Join(p.files, ", "))
		}
	}
	text, err := os.ReadFile(path)
	return string(text), err
}
