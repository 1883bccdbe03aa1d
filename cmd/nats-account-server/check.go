package main

import (
	"fmt"
	"os"
	"strings"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
)

// check is -t. It takes what config.Load returns, writes every mistake to standard error, and
// returns the exit code. Warnings about keys are mistakes too. The lines have no time and no level,
// so that they can be read beside those of nats-server -t. What is checked is the file, its keys
// and every file that it names. Nothing listens, connects or is written.
func check(c config.Config, warnings []config.Warning, err error) int {
	// The files are read only if the configuration names them without a mistake.
	if err == nil {
		var more []config.Warning
		// A joined error has one line for each mistake.
		more, err = daemon.Check(c)
		warnings = append(warnings, more...)
	}
	bad := false // there is a mistake
	for _, w := range warnings {
		bad = bad || w.Strict
		report(w.Text)
	}
	if err != nil {
		bad = true
		for line := range strings.SplitSeq(err.Error(), "\n") {
			report(line)
		}
	}
	// The exit code is for scripts. Each mistake has its own line by now.
	if bad {
		return 1
	}
	// The file is named if there is one: the flags alone can be a configuration.
	what := "configuration"
	if c.File != "" {
		what += " file " + c.File
	}
	report(what + " is valid")
	return 0
}

// report writes a line to standard error, where -t has all of its output.
func report(text string) { fmt.Fprintf(os.Stderr, "nats-account-server: %s\n", text) }
