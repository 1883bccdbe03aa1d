// Command nats-account-server keeps the account JWTs of a NATS operator and serves them to
// nats-servers.
//
// With flags it is the server. Read in this order:
//
//	main.go    reads the configuration and calls daemon.Run
//	signals.go what signals do, and --signal, which sends one
//	check.go   -t: what is wrong with a configuration
//
// With the name of a command as the first argument it is a tool beside a server:
//
//	commands.go     the table of commands, and how their arguments are parsed
//	tools.go        verify, import, export and diff, which call package tools
//	push.go         push, and the dry run of one
//	healthcheck.go  for containers without a shell
//	help.go         pages of the manual
//	completion.go, manpage.go  are made of the tables of flags and commands
//	text.go, text/  help texts and templates
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

// flushTimeout is how long the last lines of the log may take when the program ends. A log on a
// pipe that is not read would hold the end of the program up for ever.
const flushTimeout = time.Second

// main is the whole program, also as a Windows service. winsvc.Run calls run at once, unless the
// service manager of Windows has started the process.
func main() {
	// Without this, a line for a closed pipe would end the program. Writing returns EPIPE instead.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(winsvc.Run(run))
}

// run returns the exit code: 0 after a signal, -h, -v or a good -t; 2 for a wrong flag; 1 for any
// other failure. out gets the log and the usage. ready is called once the server serves. ctx ends
// when the service manager stops the service; elsewhere it never ends.
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
	handler := logging.New(out, logging.Format{Time: true})
	// The handler writes in a goroutine of its own, so the last lines may still be queued.
	defer handler.Flush(flushTimeout)
	if err := serve(ctx, flags, handler, ready); err != nil {
		logFailure(handler, out, err)
		return 1
	}
	return 0
}

// logFailure logs why the server does not run, with a line for each cause: the log escapes line
// ends. If the log goes elsewhere, the lines go to out too, since what has started the program shows
// its standard error.
func logFailure(handler *logging.Handler, out io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		slog.New(handler).Error(line)
		if handler.IsRedirected() {
			fmt.Fprintf(out, "nats-account-server: %s\n", line)
		}
	}
}

// serve runs the account server. It returns nil after SIGINT or SIGTERM, or when ctx ends: the
// Windows service is stopped in that way. Otherwise it returns what keeps the server from running.
// The warnings of the configuration are logged before the first line of the daemon. ready is called
// at most once, when HTTP serves; systemd is told at the same time.
func serve(
	ctx context.Context, flags config.Flags, handler *logging.Handler, ready func(),
) error {
	log := slog.New(handler)
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
		// Both channels live as long as the process. A signal while a reload runs waits in its
		// channel.
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
