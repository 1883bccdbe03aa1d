//go:build !unix

package httpserver

// connLimit returns how many connections this process may have open.
func connLimit() int { return maxConns }
