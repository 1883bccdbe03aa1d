//go:build !linux

package bench_test

import (
	"os/exec"
	"testing"
	"time"
)

// The tables are measured on Linux only: lockCache skips them elsewhere.

func lockCache(t testing.TB)                { t.Skip("measured on Linux only") }
func cpuTime(testing.TB, int) time.Duration { return 0 }
func anonymous(int) (mb float64, ok bool)   { return 0, false }
func allocated(string) float64              { return 0 }
func endWithUs(*exec.Cmd)                   {}
func alive(int) bool                        { return true }
func processor() string                     { return "" }
