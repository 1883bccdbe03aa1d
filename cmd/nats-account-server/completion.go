package main

import (
	"fmt"
	"slices"
	"strings"

	"nats-account-server/internal/config"
)

// signalWords are the commands of --signal, as process.Signal knows them.
const signalWords = "reload reopen stop"

// commandWords returns the names of the commands that can be the first argument.
func commandWords() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return strings.Join(names, " ")
}

// bashOperands returns how bash completes what follows the name of a command: the branches of a
// case that sets words, and files if names of files are completed too. Each branch is a line, such
// as "    diff) words="--json --ca" files=1 ;;". A command with neither has no branch, and its
// operands are not completed.
func bashOperands() string {
	var b strings.Builder
	for _, c := range commands() {
		var flags []string
		for _, f := range c.flags() {
			flags = append(flags, f.Names...)
		}
		switch {
		case len(c.words) > 0:
			fmt.Fprintf(&b, "    %s) words=\"%s\" ;;\n", c.name, strings.Join(c.words, " "))
		case c.set != nil:
			fmt.Fprintf(&b, "    %s) words=\"%s\" files=1 ;;\n", c.name, strings.Join(flags, " "))
		}
	}
	return b.String()
}

// isSignal reports whether a flag is --signal.
func isSignal(f config.Flag) bool { return slices.Contains(f.Names, "--signal") }

// bashCompletion returns the completion for bash. It needs no package bash-completion, which many
// machines do not have. flags are those of the server. They fall into four kinds: paths, which
// files complete; --signal; those with any other value, which nothing completes; and those without
// a value.
func bashCompletion(flags []config.Flag) string {
	var all, paths, others, signals []string
	for _, f := range flags {
		all = append(all, f.Names...)
		switch {
		case f.IsPath():
			paths = append(paths, f.Names...)
		case isSignal(f):
			signals = append(signals, f.Names...)
		case f.Value != "":
			others = append(others, f.Names...)
		}
	}
	return fill("completion.bash",
		"@paths@", strings.Join(paths, "|"),
		"@signals@", strings.Join(signals, "|"), "@signalWords@", signalWords,
		"@others@", strings.Join(others, "|"), "@flags@", strings.Join(all, " "),
		"@commands@", commandWords(), "@operands@", bashOperands())
}

// zshCompletion returns the completion for zsh. The result is a function file for a directory of
// $fpath, of the name _nats-account-server.
func zshCompletion(flags []config.Flag) string {
	var b strings.Builder
	b.WriteString("#compdef nats-account-server\n" +
		"# made by \"nats-account-server completion zsh\"\n" + zshOperands() + "_arguments \\\n")
	writeZshFlags(&b, flags)
	fmt.Fprintf(&b, "    '1:command:(%s)'\n", commandWords())
	return b.String()
}

// zshOperands returns how zsh completes what follows the name of a command. In a command, the flags
// of the server are not offered.
func zshOperands() string {
	var b strings.Builder
	b.WriteString("if ((CURRENT > 2)); then\n    case $words[2] in\n")
	for _, c := range commands() {
		switch {
		case len(c.words) > 0:
			fmt.Fprintf(&b, "    %s) _arguments '2:operand:(%s)'; return ;;\n", c.name,
				strings.Join(c.words, " "))
		case c.set != nil:
			fmt.Fprintf(&b, "    %s) _arguments \\\n", c.name)
			writeZshFlags(&b, c.flags())
			b.WriteString("    '*:file:_files'; return ;;\n")
		}
	}
	b.WriteString("    esac\nfi\n")
	return b.String()
}

// writeZshFlags writes flags as arguments of _arguments. A line is '(-c
// --config){-c,--config}[usage]:value:_files'. The part in round brackets are the names
// that are no longer offered once one of them is there.
func writeZshFlags(b *strings.Builder, flags []config.Flag) {
	for _, f := range flags {
		// Of several names of a flag, one is enough.
		names := f.Names[0]
		if len(f.Names) > 1 {
			names = fmt.Sprintf("(%s)'{%s}'", strings.Join(f.Names, " "),
				strings.Join(f.Names, ","))
		}
		value := ""
		switch {
		case f.IsPath():
			value = ":" + f.Value + ":_files"
		case isSignal(f):
			value = ":signal:(" + signalWords + ")"
		case f.Value != "":
			value = ":" + strings.ReplaceAll(f.Value, ":", `\:`) + ": "
		}
		// In the description, zsh gives these four characters a meaning.
		usage := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Usage)
		fmt.Fprintf(b, "    '%s[%s]%s' \\\n", names, usage, value)
	}
}

// fishCompletion returns the completion for fish. -f means that files are offered only where a line
// has -F. The condition of a line decides where its words are offered.
func fishCompletion(flags []config.Flag) string {
	const begin = "complete -c nats-account-server"
	var b strings.Builder
	b.WriteString("# fish completion, made by \"nats-account-server completion fish\"\n")
	b.WriteString(begin + " -f\n")
	writeFishFlags(&b, begin, flags)
	fmt.Fprintf(&b, "%s -n __fish_use_subcommand -a '%s'\n", begin, commandWords())
	for _, c := range commands() {
		condition := begin + " -n '__fish_seen_subcommand_from " + c.name + "'"
		writeFishFlags(&b, condition, c.flags())
		switch {
		case len(c.words) > 0:
			fmt.Fprintf(&b, "%s -a '%s'\n", condition, strings.Join(c.words, " "))
		case c.set != nil:
			b.WriteString(condition + " -F\n")
		}
	}
	return b.String()
}

// writeFishFlags writes a line for each flag. begin is the start of the lines. -l is a name with
// two dashes, -s one of a single letter, -x a value that is no file, -r -F one that is.
func writeFishFlags(b *strings.Builder, begin string, flags []config.Flag) {
	for _, f := range flags {
		b.WriteString(begin)
		for _, name := range f.Names {
			bare := strings.TrimLeft(name, "-")
			// fish calls a long name with one dash an old one.
			kind := "-o"
			switch {
			case strings.HasPrefix(name, "--"):
				kind = "-l"
			case len(bare) == 1:
				kind = "-s"
			}
			fmt.Fprintf(b, " %s %s", kind, bare)
		}
		switch {
		case f.IsPath():
			b.WriteString(" -r -F")
		case isSignal(f):
			fmt.Fprintf(b, " -x -a '%s'", signalWords)
		case f.Value != "":
			b.WriteString(" -x")
		}
		fmt.Fprintf(b, " -d '%s'\n", strings.ReplaceAll(f.Usage, "'", `\'`))
	}
}
