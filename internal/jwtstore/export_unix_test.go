//go:build !windows

package jwtstore

// SetFlock replaces the system call until the function that it returns is called.
func SetFlock(f func(fd, how int) error) (undo func()) {
	before := flock
	flock = f
	return func() { flock = before }
}
