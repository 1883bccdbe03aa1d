// Command nats-account-server keeps the account JWTs of a NATS operator and serves them to
// nats-servers.
//
// With flags it is the server: main.go reads the configuration and calls daemon.Run, and signals.go
// has what signals do. check.go is -t. With the name of a command as the first argument it is a
// tool beside a server: commands.go has the table of commands, tools.go and push.go those that need
// package tools, and healthcheck.go, help.go, completion.go and manpage.go the others.
//
// Only this package parses arguments, writes to standard output and chooses exit codes.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/process"
	"nats-account-server/internal/winsvc"
)

// flushTimeout is how long the last lines of the log may take when the program ends.
const flushTimeout = time.Second

// main is the whole program, also as a Windows service.
func main() {
	// Without this, a line for a closed pipe would end the program.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(winsvc.Run(run))
}

// run returns the exit code: 0 after a signal, -h, -v or a good -t; 2 for a wrong flag; 1 for any
// other failure. out gets the log and the usage. ready is called once the server serves.
func run(ctx context.Context, out io.Writer, ready func()) int {
	if code, found := runCommand(os.Args[1:]); found {
		return code
	}
	var usage bytes.Buffer
	// The flag set has written what is wrong into usage, so the error itself says nothing new.
	flags, err := config.ParseFlags(os.Args[1:], &usage)
	if usage.Len() > 0 {
		printCommands(&usage)
		_, _ = out.Write(usage.Bytes()) // one call: the Windows event log makes each call an event
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.Version:
		// The version goes to standard output, and the log elsewhere.
		fmt.Printf("nats-account-server: v%s\n", daemon.FullVersion())
		return 0
	case flags.Signal != "":
		return sendSignal(flags)
	case flags.Test:
		// -t starts no log: its output has no times and no levels.
		return check(config.Load(flags))
	}
	// Until the configuration is read, lines look as they do without one.
	handler := logging.NewQueued(out, logging.Format{Time: true})
	defer handler.Flush(flushTimeout)
	log := slog.New(handler)
	if err := serve(ctx, flags, handler, log, ready); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // one for each cause
			// The log escapes line ends, so each cause is a line of its own.
			log.Error(line)
			if handler.IsRedirected() {
				// What has started the program shows its standard error.
				fmt.Fprintf(out, "nats-account-server: %s\n", line)
			}
		}
		return 1
	}
	return 0
}

// serve runs the account server. It returns nil after SIGINT or SIGTERM, or when ctx ends: the
// Windows service is stopped in that way. Otherwise it returns what keeps the server from running.
func serve(ctx context.Context, flags config.Flags, handler *logging.Handler, log *slog.Logger,
	ready func()) error {
	c, warnings, err := config.Load(flags)
	if err != nil {
		return err
	}
	// From here on the lines look as configured, those about the warnings too.
	target, err := c.Logging.Target.Open()
	if err != nil {
		return err
	}
	handler.SetFormat(c.Logging.Format)
	handler.Use(target)
	warn(log, warnings)
	// The signals are taken before the server starts, so that a slow start can be stopped too.
	ctx, stop := untilSignal(ctx, log)
	defer stop()
	return daemon.Run(ctx, daemon.Options{
		Config:  c,
		Logging: handler,
		Dump:    flags.Dump,
		Ready:   ready,
		Hangup:  notify(syscall.SIGHUP),
		Reopen:  notify(reopenSignals...),
		Systemd: process.NewSystemd(),
		Reload: func(running config.Config) (config.Config, error) {
			// The words are the original's, though nothing restarts. The flags are those of the
			// start.
			log.Info("received sig-hup, restarting")
			c, warnings, err := config.Reload(flags, running)
			warn(log, warnings)
			return c, err
		},
	})
}

// warn logs what is odd in a configuration. The server runs all the same.
func warn(log *slog.Logger, warnings []config.Warning) {
	for _, w := range warnings {
		log.Warn(w.Text)
	}
}
