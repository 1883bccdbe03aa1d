//go:build !windows

package winsvc

import (
	"context"
	"os"
)

// Run runs the program and returns its exit code.
func Run(program Program) int { return program(context.Background(), os.Stderr, func() {}) }
