//go:build unix

package process

import "syscall"

// reopenSignal asks for files to be opened anew, as nats-server takes it.
const reopenSignal = syscall.SIGUSR1
