// Command nats-account-server keeps the account JWTs of a NATS operator and serves them to nats-servers.
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

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/winsvc"
)

func main() {
	os.Exit(winsvc.Run(func(ctx context.Context, out io.Writer, ready func()) int {
		return run(ctx, os.Args[1:], out, ready)
	}))
}

// run returns the exit code: 0 after a signal, -h, -v or a good -t; 2 for a wrong flag; 1 for any other failure.
func run(ctx context.Context, args []string, out io.Writer, ready func()) int {
	var usage bytes.Buffer // one event, where the log is Windows'
	flags, err := config.ParseFlags(args, &usage)
	if usage.Len() > 0 {
		_, _ = out.Write(usage.Bytes())
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.Version:
		fmt.Printf("nats-account-server: v%s\n", daemon.Version)
		return 0
	}
	handler := logging.New(out, logging.Format{Time: true, Colors: true})
	log := slog.New(handler)
	c, warnings, err := config.Load(flags)
	if flags.Test {
		return check(c, warnings, err)
	}
	if err != nil {
		return fail(log, err)
	}
	handler.SetFormat(daemon.LogFormat(c.Logging))
	warn(log, warnings)
	if err := serve(ctx, c, flags, handler, ready); err != nil {
		return fail(log, err)
	}
	return 0
}

// serve lives until SIGINT or SIGTERM, or until ctx ends.
func serve(ctx context.Context, c config.Config, flags config.Flags, handler *logging.Handler, ready func()) error {
	log := slog.New(handler)
	ctx, stop := untilSignal(ctx, log)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	reopen := make(chan os.Signal, 1)
	if len(reopenSignals) > 0 { // none would mean all
		signal.Notify(reopen, reopenSignals...)
	}
	return daemon.Run(ctx, daemon.Options{
		Config:  c,
		Logging: handler,
		Dump:    flags.Dump,
		Ready:   ready,
		Hangup:  hangup,
		Reopen:  reopen,
		Reload: func() (config.Config, error) {
			log.Info("received sig-hup, restarting")
			c, warnings, err := config.Load(flags)
			warn(log, warnings)
			return c, err
		},
	})
}

// untilSignal gives a context that ends with SIGINT or SIGTERM. The empty line on standard output is the
// original's.
func untilSignal(ctx context.Context, log *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, winsvc.StopSignals()...)
	go func() {
		name := "interrupt"
		if s := <-signals; s == syscall.SIGTERM {
			name = "term"
		}
		fmt.Println()
		log.Info(fmt.Sprintf("received sig-%s, shutting down", name))
		cancel()
	}()
	return ctx, cancel
}

// check is -t: every mistake is named, and warnings about keys are mistakes too.
func check(c config.Config, warnings []config.Warning, err error) int {
	bad := err != nil
	for _, w := range warnings {
		bad = bad || w.Strict
		fmt.Fprintf(os.Stderr, "nats-account-server: %s\n", w.Text)
	}
	if err == nil {
		err = daemon.Check(c)
		bad = bad || err != nil
	}
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(os.Stderr, "nats-account-server: %s\n", line)
		}
	}
	if bad {
		return 1
	}
	what := "configuration"
	if c.File != "" {
		what += " file " + c.File
	}
	fmt.Fprintf(os.Stderr, "nats-account-server: %s is valid\n", what)
	return 0
}

func warn(log *slog.Logger, warnings []config.Warning) {
	for _, w := range warnings {
		log.Warn(w.Text)
	}
}

// fail writes why, a line for each cause.
func fail(log *slog.Logger, err error) int {
	for _, line := range strings.Split(err.Error(), "\n") {
		log.Error(line)
	}
	return 1
}
