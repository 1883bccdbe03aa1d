package natsconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxIncludes is how deep files may include files.
const maxIncludes = 20

// include reads the name of a file and adds the entries of that file to the current map.
func (p *parser) include(at Pos) error {
	name, err := p.includeName()
	if err != nil {
		return err
	}
	m, err := p.includeFile(name, at)
	if err != nil {
		return err
	}
	for _, e := range m.Entries {
		p.scope.add(e)
	}
	return nil
}

// includeName reads the name of a file. A name has no escapes, and a bare one may contain a ','.
func (p *parser) includeName() (string, error) {
	p.skipBlanks()
	switch r := p.peek(); r {
	case '"', '\'':
		return p.raw("file name")
	case '(', '[', '{', '\\':
		return "", p.errorf("include needs the name of a file, found %s", quoteRune(r))
	}
	name := p.take(func(r rune) bool {
		return !isBlank(r) && !isNewline(r) && !strings.ContainsRune(";}'", r)
	})
	if name == "" || p.peek() == '\'' {
		return "", p.errorf("include needs the name of a file, found %s", quoteRune(p.peek()))
	}
	return name, nil
}

// includeFile reads an included file. A relative name is relative to the file with the include, so
// that a set of files can be moved together.
//
// An error in the file has its position in that file, and says where the file is included.
func (p *parser) includeFile(name string, at Pos) (*Map, error) {
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(p.file), name)
	}
	text, err := p.readInclude(name, path)
	if err != nil {
		return nil, errorAt(at, "include '%s': %v", name, err)
	}
	q := &parser{
		scanner:   newScanner(path, text),
		depth:     p.depth,
		files:     append(slices.Clip(p.files), path),
		variables: p.variables,
	}
	m, err := q.document()
	if mistake, ok := errors.AsType[*Error](err); ok {
		return nil, errorAt(mistake.Pos, "%s (included at %s)", mistake.Msg, at)
	}
	return m, err
}

// readInclude returns the text of the file at path. It must be a regular file that is not being
// read already.
func (p *parser) readInclude(name, path string) (string, error) {
	if name == "" {
		return "", errors.New("the name is empty")
	}
	if len(p.files) > maxIncludes {
		return "", fmt.Errorf("files include files more than %d deep", maxIncludes)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	// Opening a pipe could block, so its kind is checked first.
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file but %s", path, kind(info.Mode()))
	}
	for _, outer := range p.files {
		if o, err := os.Stat(outer); err == nil && os.SameFile(o, info) {
			return "", fmt.Errorf("%s includes itself, by way of %s", path, strings.Join(p.files, ", "))
		}
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// kind returns what a file is that is not a regular one.
func kind(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&os.ModeDevice != 0:
		return "a device"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}
