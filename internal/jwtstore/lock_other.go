//go:build !(linux || darwin || freebsd || windows)

package jwtstore

import (
	"io/fs"
	"os"
)

// grab opens the directory. There is no lock here that would end with the process.
func grab(path string) (held *os.File, dir fs.FileInfo, err error) {
	if held, err = os.Open(path); err != nil {
		return nil, nil, err
	}
	dir, err = held.Stat()
	return held, dir, err
}
