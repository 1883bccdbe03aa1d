package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"nats-account-server/internal/config"
)

// command is what the first argument can be instead of a flag. The help, the completions and the
// manual page are made of this, so that a new command is a row of commands and no more. Exactly one
// of set and raw is not nil.
type command struct {
	// name is the first argument, as in "verify".
	name string
	// args is what follows the flags in the line of usage, as in "SOURCE TARGET"; "" for nothing. A
	// command with set has some.
	args string
	// does says in a few words what the command does, for the list of commands. It is no sentence.
	does string
	// help is the text of -h: paragraphs, an example and the exit codes, in lines of at most 78
	// characters, which a terminal shows unwrapped. The manual page has it as it is.
	help string
	// words complete the first operand. Without them, and with operands, files do.
	words []string
	// operands is how many there are at least and at most.
	operands [2]int
	// set defines the flags, and returns what runs the command when they are parsed. The number is
	// the exit code. ctx ends with SIGINT or SIGTERM. The completions call set only for the flags.
	set func(*flag.FlagSet) func(ctx context.Context, operands []string) int
	// misuse is the exit code for wrong arguments; 0 stands for 2. It differs where 2 has a meaning
	// of its own, as for push and diff.
	misuse int
	// raw runs a command that reads all its arguments itself, flags too.
	raw func(args []string) int
}

// commands returns all commands, in the order of the help. It is no variable, because the
// completion and the manual page, which are commands, read it. The rows are made anew for each
// call.
func commands() []command {
	return []command{
		{name: "healthcheck", args: "[url | flags]", raw: healthcheck,
			does: "ask /healthz of the server at a URL, or of the one that the flags and their " +
				"file describe; exit code 0 if it lives"},
		pushCommand(), verifyCommand(), importCommand(), exportCommand(), diffCommand(),
		{name: "completion", args: "bash|zsh|fish", does: "completion for a shell",
			words: []string{"bash", "zsh", "fish"}, raw: completion},
		{name: "help", args: "[topic | words]", words: topicWords(), raw: help,
			does: "a page of the manual, or where words are in it; without arguments, the topics"},
		{name: "man", does: "manual page", raw: man},
	}
}

// runCommand runs the command that the first argument names. It returns false if that names none.
// Then the arguments are flags of the server. A flag is no command, as it begins with a dash.
func runCommand(args []string) (code int, found bool) {
	if len(args) == 0 {
		return 0, false
	}
	all := commands()
	at := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	switch {
	case at < 0:
		return 0, false
	case all[at].raw != nil:
		return all[at].raw(args[1:]), true
	}
	return all[at].run(args[1:]), true
}

// run parses the arguments and runs the command, until a signal ends it. Flags may stand behind
// operands, unlike those of the server. It returns the exit code. What is wrong with the arguments
// goes to standard error, as one line.
func (c command) run(args []string) int {
	s := flag.NewFlagSet(c.name, flag.ContinueOnError)
	// The flag set would write the error and all flags. The line below says what is wrong and where
	// to read more.
	s.SetOutput(io.Discard)
	begin := c.set(s)
	operands, err := parse(s, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.printHelp(os.Stdout)
		return 0
	case err == nil && (len(operands) < c.operands[0] || len(operands) > c.operands[1]):
		err = fmt.Errorf("it has the arguments %s", c.args)
	}
	if err != nil {
		report(fmt.Sprintf("%s: %s, see: nats-account-server %s -h", c.name, err, c.name))
		return cmp.Or(c.misuse, 2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return begin(ctx, operands)
}

// parse parses flags wherever they stand. What follows "--" is no flag. The result is never longer
// than args. The flag package ends at the first operand, so parse calls it again behind each of
// them: "a.jwt --json" is operand a.jwt and flag --json.
func parse(s *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		before := len(args)
		if err := s.Parse(args); err != nil {
			return nil, err
		}
		rest := s.Args()
		// Parse has taken a "--" if that is the last word that it took.
		isEnd := before > len(rest) && args[before-len(rest)-1] == "--"
		if isEnd || len(rest) == 0 {
			return append(operands, rest...), nil
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
}

// printHelp writes the help of a command. The flags follow the help in the form that -h of the
// server has.
func (c command) printHelp(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s\n\n%s", c.usage(), c.help)
	if flags := c.flags(); len(flags) > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		for _, f := range flags {
			fmt.Fprintf(w, "  %s\n    \t%s\n", f.Synopsis(), f.Usage)
		}
	}
}

// usage returns the line that shows how a command is called. Example: "nats-account-server export
// [flags] SOURCE TARGET".
func (c command) usage() string {
	words := []string{"nats-account-server", c.name}
	if c.raw == nil {
		words = append(words, "[flags]")
	}
	return strings.TrimRight(strings.Join(append(words, c.args), " "), " ")
}

// flags returns the flags of a command. The word between backquotes in a usage is the value. A
// command without set has none. The order is that of the names. The set is thrown away: only parse
// reads values.
func (c command) flags() (flags []config.Flag) {
	if c.set == nil {
		return nil
	}
	s := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.set(s)
	s.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		flags = append(flags, config.Flag{
			Names: []string{"--" + f.Name}, Value: value, Usage: usage})
	})
	return flags
}

// printCommands writes what the commands are, below the flags of the program.
func printCommands(w io.Writer) {
	fmt.Fprint(w, "\nInstead of flags, the first argument can be a command:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s\n    \t%s\n", strings.TrimSpace(c.name+" "+c.args), c.does)
	}
}

// completion writes the completion for a shell to standard output. It needs no configuration and no
// server. Distributions install it; see "make dist".
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
