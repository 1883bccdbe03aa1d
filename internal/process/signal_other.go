//go:build !unix

package process

import "syscall"

// reopenSignal is never sent here.
const reopenSignal = syscall.Signal(0)
