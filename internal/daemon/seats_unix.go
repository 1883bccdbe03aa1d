//go:build unix

package daemon

import "syscall"

// seats is how many connections this process takes.
func seats() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return mostSeats
	}
	return seatsWithin(uint64(limit.Cur))
}
