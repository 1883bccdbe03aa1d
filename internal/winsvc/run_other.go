//go:build !windows

package winsvc

import (
	"context"
	"os"
	"syscall"
)

// Run runs the program and returns its exit code. The context never ends: signals stop the program.
func Run(program Program) int { return program(context.Background(), os.Stderr, func() {}) }

// StopSignals returns the signals that stop the program.
func StopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
