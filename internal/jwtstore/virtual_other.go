//go:build !linux

package jwtstore

// isVirtual is not known here.
func isVirtual(string) bool { return false }
