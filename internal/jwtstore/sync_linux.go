package jwtstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the content of f durable, and of its metadata only what it takes to read it.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
