package tools

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

var (
	// They are why something is no Entry with a JWT. Faults have their texts.
	errEmpty    = errors.New("it is empty")
	errCircle   = errors.New("a symbolic link leads back to where it is")
	errPackLine = errors.New("the line is not one key and one JWT")
	errIsStores = errors.New("it has the folders of several operators of nsc: give one of them")
)

// directory is a directory of JWTs: of an account server, of a nats-server's resolver, of nsc, or
// of people. The names of files end in .jwt; others are left out, and so is what begins with a dot.
//
//	AB…YZ.jwt, YZ/AB…YZ.jwt        flat and sharded, accounts and activation tokens
//	accounts/<name>/<name>.jwt     of nsc, if there is a file .nsc
//	<anything>.jwt                 whatever it is, at any depth
//
// It is listed once, by openDirectory, and is then only read.
type directory struct {
	// root is the directory; below a folder of several stores of nsc, the one store that it has.
	root string
	// isNSC says that it is the folder in which nsc keeps an operator.
	isNSC bool
	// files are in the order in which Each reads them.
	files []path
	// faults are directories that can't be read. Each has them first, so that a long run says it at
	// once.
	faults []Entry
	// journaled is, by key or hash, what the journal of a store has and its files do not have yet:
	// the JWT, or nil for a deletion.
	journaled map[string][]byte
}

// path is a file of a directory, or a JWT that will be one. name is the key or hash that its name
// says, "" if it says none.
type path struct{ place, name string }

// openDirectory lists a directory. The files are read by Each, so one that comes later is left out.
// If it is the store of an account server, its journal has what the files do not have yet. A
// running server goes on writing. What it commits after this call is not in the Source, and a file
// that it replaces is read as it is then.
func openDirectory(root string) (Source, error) {
	d := &directory{root: filepath.Clean(root)}
	if err := d.findNSC(); err != nil {
		return nil, err
	}
	if !d.isNSC {
		var err error
		if d.journaled, err = jwtstore.Journaled(root); err != nil {
			d.faults = append(d.faults, Entry{Place: root, Err: fmt.Errorf("the journal: %w", err)})
		}
	}
	d.list("", nil)
	for name, token := range d.journaled {
		if token != nil {
			d.files = append(d.files, path{filepath.Join(d.root, name+".jwt"), name})
		}
	}
	// By key, and those without one after them by path: so an import sends what names its account
	// first.
	slices.SortFunc(d.files, func(a, b path) int {
		if (a.name == "") != (b.name == "") {
			return cmp.Compare(b.name, a.name)
		}
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.place, b.place))
	})
	return d, nil
}

// findNSC finds out whether it is the folder in which nsc keeps an operator, or the one above it,
// which becomes the root then. The folder above those of several operators is an error: their
// accounts do not belong together. nsc marks the folder of an operator with an empty file .nsc.
func (d *directory) findNSC() error {
	if isFile(filepath.Join(d.root, ".nsc")) {
		d.isNSC = true
		return nil
	}
	below, _ := fs.Glob(os.DirFS(d.root), "*/.nsc")
	for i := range below {
		below[i] = strings.TrimSuffix(below[i], "/.nsc")
	}
	switch len(below) {
	case 0:
		return nil
	case 1:
		d.root, d.isNSC = filepath.Join(d.root, below[0]), true
		return nil
	}
	return fmt.Errorf("%w: %q", errIsStores, below)
}

// OperatorOf returns the path of the operator's JWT that a Source has, "" if it has none. nsc names
// that file after the folder, as in Acme/Acme.jwt.
func OperatorOf(s Source) string {
	d, is := s.(*directory)
	if !is || !d.isNSC {
		return ""
	}
	if file := filepath.Join(d.root, filepath.Base(d.root)+".jwt"); isFile(file) {
		return file
	}
	return ""
}

// isFile reports whether there is a regular file. A symbolic link to one is one.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// list adds the files of a directory below the root, and of those in it. Symbolic links are
// followed. above are the directories that lead there: one that is in itself ends. below is
// relative to the root; "" is the root. What can't be listed is a fault, and the rest is listed all
// the same.
func (d *directory) list(below string, above []fs.FileInfo) {
	at := filepath.Join(d.root, below)
	info, err := os.Stat(at)
	// The same directory under two names is no fault, only one that contains itself.
	isSame := func(other fs.FileInfo) bool { return os.SameFile(info, other) }
	if err == nil && slices.ContainsFunc(above, isSame) {
		err = errCircle
	}
	var found []fs.DirEntry
	if err == nil {
		found, err = os.ReadDir(at)
	}
	if err != nil {
		d.faults = append(d.faults, Entry{Place: at, Err: err})
	}
	for _, e := range found {
		path := filepath.Join(below, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case d.isDirectory(path, e):
			d.list(path, append(above, info))
		case d.isNSC && !isNSCAccount(path):
		case strings.HasSuffix(e.Name(), ".jwt"):
			d.add(path)
		}
	}
}

// isDirectory reports whether something is a directory, or a symbolic link to one or to nothing
// that can be read. A link with the name of a file is a file. What can't be read is taken for a
// directory, so that list says why.
func (d *directory) isDirectory(path string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(d.root, path))
	if err != nil {
		return !strings.HasSuffix(e.Name(), ".jwt")
	}
	return info.IsDir()
}

// isNSCAccount reports whether nsc keeps the JWT of an account at a path below the operator's
// folder. Others that end in .jwt there are of the operator and of users. The path is
// accounts/<name>/<name>.jwt.
func isNSCAccount(at string) bool {
	parts := strings.Split(at, string(filepath.Separator))
	return len(parts) == 3 && parts[0] == "accounts" && parts[2] == parts[1]+".jwt"
}

// add adds a file, unless the journal has a later change. nsc names files after accounts, and a
// name may look like a key: it says none. at is relative to the root, and decides by its last two
// parts whether it names a key.
func (d *directory) add(at string) {
	name := ""
	if !d.isNSC {
		name, _ = jwtstore.KeyOf(at)
	}
	if _, isJournaled := d.journaled[name]; !isJournaled {
		d.files = append(d.files, path{filepath.Join(d.root, at), name})
	}
}

// Len implements Source. It is exact, since the files are listed.
func (d *directory) Len() int { return len(d.faults) + len(d.files) }

// Each implements Source. One file is in memory at a time.
func (d *directory) Each(ctx context.Context, take func(Entry) error) error {
	for _, e := range d.faults {
		if err := take(e); err != nil {
			return err
		}
	}
	for _, f := range d.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := take(d.read(f)); err != nil {
			return err
		}
	}
	return nil
}

// read reads a file, or takes what the journal has of it. In the journal, nil is a deletion. A file
// that is gone by now is an Entry with fs.ErrNotExist.
func (d *directory) read(f path) Entry {
	if token := d.journaled[f.name]; token != nil {
		return newEntry(f.place, f.name, token)
	}
	content, _, err := jwtstore.ReadFile(f.place, jwtstore.Stamp{})
	if err != nil {
		return Entry{Place: f.place, Name: f.name, Err: err}
	}
	return newEntry(f.place, f.name, content)
}

// entries is a Source in memory: what is in a file.
type entries []Entry

// maxPackBytes bounds the file of a pack, which is read whole. A pack of a million accounts has
// about a gigabyte.
const maxPackBytes = 4 << 30

// openFile reads a file with a JWT, or with a pack. It is a pack if its first line is one. A pack
// without a good first line is taken for one JWT, and is a fault then.
func openFile(place string, info fs.FileInfo) (Source, error) {
	if info.Size() > maxPackBytes || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file with JWTs", place)
	}
	content, err := os.ReadFile(place)
	if err != nil {
		return nil, err
	}
	first, _, _ := bytes.Cut(bytes.TrimSpace(content), []byte("\n"))
	if key, _, ok := accounts.CutPackLine(first); ok && jwtstore.IsName(key) {
		return packEntries(place, content), nil
	}
	return entries{newEntry(place, "", content)}, nil
}

// packEntries returns the entries of a pack. Each line is an Entry, also one that is no line of a
// pack. Empty lines are left out.
func packEntries(place string, content []byte) (all entries) {
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, len(content)+1)
	for n := 1; lines.Scan(); n++ {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			all = append(all, packEntry(fmt.Sprintf("%s, line %d", place, n), line))
		}
	}
	return all
}

// packEntry returns the Entry of a line of a pack. It keeps nothing of line. The form is "<key or
// hash>|<JWT>", as accounts.CutPackLine reads it.
func packEntry(place string, line []byte) Entry {
	key, token, ok := accounts.CutPackLine(bytes.Clone(line))
	if !ok || !jwtstore.IsName(key) {
		return Entry{Place: place, Err: errPackLine}
	}
	return newEntry(place, key, token)
}

// Len implements Source.
func (all entries) Len() int { return len(all) }

// Each implements Source.
func (all entries) Each(_ context.Context, take func(Entry) error) error {
	for _, e := range all {
		if err := take(e); err != nil {
			return err
		}
	}
	return nil
}
