//go:build unix

package httpserver

import "syscall"

// connLimit returns how many connections this process may have open.
func connLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return maxConns
	}
	return connsWithin(uint64(limit.Cur))
}
