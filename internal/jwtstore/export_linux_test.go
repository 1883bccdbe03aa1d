package jwtstore

// TellsAll reports whether changes of files in a directory are noticed without a look at them.
func TellsAll(dir string) bool { return tellsAll(dir) }

// LoseEvents lets it seem that events were lost, as after very many changes.
func (d *Dir) LoseEvents() {
	w := d.directory.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recordLocked(-1, 0)
}
