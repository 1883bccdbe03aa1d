package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/process"
	"nats-account-server/internal/winsvc"
)

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second one ends the
// process at once. The line about the signal, and an empty line on standard output, are the
// original's. stop must be called before the program ends, so that the empty line is written. If
// nothing reads standard output, stop does not wait for long.
func untilSignal(
	ctx context.Context, log *slog.Logger,
) (notified context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	// From here on a signal no longer ends the process by itself.
	signals := notify(winsvc.StopSignals()...)
	written := make(chan struct{})
	go func() {
		defer close(written)
		select {
		case s := <-signals:
			// From here on, the next signal does what it does to any program.
			signal.Reset(winsvc.StopSignals()...)
			// Every signal but SIGTERM has this name in the log.
			name := "interrupt"
			if s == syscall.SIGTERM {
				name = "term"
			}
			log.Info(fmt.Sprintf("received sig-%s, shutting down", name))
			cancel()
			fmt.Println()
		case <-ctx.Done(): // the server has ended without a signal
		}
	}()
	return ctx, func() {
		cancel()
		select {
		case <-written:
		case <-time.After(flushTimeout / 4): // the log is waited for besides
		}
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
