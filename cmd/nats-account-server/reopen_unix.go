//go:build unix

package main

import (
	"os"
	"syscall"
)

// reopenSignals ask for files to be opened anew, as nats-server takes them.
var reopenSignals = []os.Signal{syscall.SIGUSR1}
