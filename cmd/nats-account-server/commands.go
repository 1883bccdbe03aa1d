package main

import (
	"fmt"
	"os"

	"nats-account-server/internal/config"
)

// commands are what the first argument can be instead of a flag. Each gets the arguments after it and
// returns the exit code.
var commands = map[string]func(args []string) int{
	"healthcheck": healthcheck,
	"completion":  completion,
	"man":         man,
}

// command runs the command that the first argument names. It returns false if that names none.
func command(args []string) (code int, found bool) {
	if len(args) == 0 || commands[args[0]] == nil {
		return 0, false
	}
	return commands[args[0]](args[1:]), true
}

// completion writes the completion for a shell to standard output.
func completion(args []string) int {
	shells := map[string]func([]config.Flag) string{
		"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
	}
	if len(args) != 1 || shells[args[0]] == nil {
		report("completion is for bash, zsh or fish, as in: " +
			"source <(nats-account-server completion bash)")
		return 2
	}
	fmt.Print(shells[args[0]](config.AllFlags()))
	return 0
}

// man writes the manual page to standard output.
func man(args []string) int {
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "man has no arguments, as in: nats-account-server man | man -l -")
		return 2
	}
	fmt.Print(manPage(config.AllFlags()))
	return 0
}
