package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/process"
	"nats-account-server/internal/winsvc"
)

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second one ends the
// process at once. The empty line on standard output is the original's. stop must be called before
// the program ends, so that the empty line is written. It is not written while the process waits
// for something to read it. The line about the signal has the original's words.
func untilSignal(
	ctx context.Context, log *slog.Logger,
) (notified context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	output := logging.NewQueue(os.Stdout) // a process may have stopped reading it
	// From here on a signal no longer ends the process by itself.
	signals := notify(winsvc.StopSignals()...)
	go func() {
		// Every signal but SIGTERM has this name in the log.
		name := "interrupt"
		if s := <-signals; s == syscall.SIGTERM {
			name = "term"
		}
		// From here on, the next signal does what it does to any program.
		signal.Reset(winsvc.StopSignals()...)
		output.Put([]byte("\n"))
		log.Info(fmt.Sprintf("received sig-%s, shutting down", name))
		cancel()
	}()
	return ctx, func() {
		cancel()
		output.Flush(flushTimeout / 4) // the log is waited for besides
	}
}

// notify returns a channel of these signals. It is nil if there are none, because signal.Notify
// takes that for all. The channel is never closed, and signal.Stop is not called: the program ends
// first.
func notify(signals ...os.Signal) <-chan os.Signal {
	if len(signals) == 0 {
		return nil
	}
	// One pending signal is enough: a second one of the same kind asks for the same.
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	return c
}

// sendSignal is --signal. It returns the exit code. The configuration is read only for its pid
// file. Without a pid file, process.Signal looks for the process by its name, as nats-server does.
func sendSignal(f config.Flags) int {
	pidFile := ""
	if f.PIDFile != "" || f.Config != "" {
		c, _, err := config.Load(f)
		if err != nil {
			report(err.Error())
			return 1
		}
		pidFile = c.PIDFile
	}
	if err := process.Signal(f.Signal, pidFile); err != nil {
		report(err.Error())
		return 1
	}
	return 0
}
