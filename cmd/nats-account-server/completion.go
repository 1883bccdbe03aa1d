package main

import (
	"fmt"
	"slices"
	"strings"

	"nats-account-server/internal/config"
)

// signalWords are the commands of --signal.
const signalWords = "reload reopen stop"

// commandWords are the names of the commands that can be the first argument.
const commandWords = "completion healthcheck man"

// isSignal reports whether a flag is --signal.
func isSignal(f config.Flag) bool { return slices.Contains(f.Names, "--signal") }

// bashCompletion returns the completion for bash.
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
	return fmt.Sprintf(`# bash completion, made by "nats-account-server completion bash"
_nats_account_server() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $prev in
    %s)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
        return ;;
    %s)
        COMPREPLY=($(compgen -W "%s" -- "$cur"))
        return ;;
    %s)
        return ;;
    completion)
        COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur"))
        return ;;
    esac
    local words="%s"
    if ((COMP_CWORD == 1)); then
        words="$words %s"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _nats_account_server nats-account-server
`, strings.Join(paths, "|"), strings.Join(signals, "|"), signalWords, strings.Join(others, "|"),
		strings.Join(all, " "), commandWords)
}

// zshCompletion returns the completion for zsh.
func zshCompletion(flags []config.Flag) string {
	var b strings.Builder
	b.WriteString("#compdef nats-account-server\n" +
		"# made by \"nats-account-server completion zsh\"\n_arguments \\\n")
	for _, f := range flags {
		// Of several names of a flag, one is enough.
		names := f.Names[0]
		if len(f.Names) > 1 {
			names = fmt.Sprintf("(%s)'{%s}'", strings.Join(f.Names, " "), strings.Join(f.Names, ","))
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
		usage := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Usage)
		fmt.Fprintf(&b, "    '%s[%s]%s' \\\n", names, usage, value)
	}
	fmt.Fprintf(&b, "    '1:command:(%s)' \\\n", commandWords)
	b.WriteString("    '2:shell:(bash zsh fish)'\n")
	return b.String()
}

// fishCompletion returns the completion for fish.
func fishCompletion(flags []config.Flag) string {
	const begin = "complete -c nats-account-server"
	var b strings.Builder
	b.WriteString("# fish completion, made by \"nats-account-server completion fish\"\n" + begin + " -f\n")
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
			fmt.Fprintf(&b, " %s %s", kind, bare)
		}
		switch {
		case f.IsPath():
			b.WriteString(" -r -F")
		case isSignal(f):
			fmt.Fprintf(&b, " -x -a '%s'", signalWords)
		case f.Value != "":
			b.WriteString(" -x")
		}
		fmt.Fprintf(&b, " -d '%s'\n", strings.ReplaceAll(f.Usage, "'", `\'`))
	}
	fmt.Fprintf(&b, "%s -n __fish_use_subcommand -a '%s'\n", begin, commandWords)
	fmt.Fprintf(&b, "%s -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n", begin)
	return b.String()
}
