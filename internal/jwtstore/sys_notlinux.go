//go:build !linux

package jwtstore

import "os"

// syncData makes the content of f durable.
func syncData(f *os.File) error { return f.Sync() }

// syncAll is not there: each file is synced by itself.
func syncAll(*os.File) error { return nil }

func canSyncAll(*os.File) bool { return false }

// isVirtual is not known here.
func isVirtual(string) bool { return false }
