package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
)

// manEscapes makes a text safe in a manual page: a dash is a minus sign that can be copied. A quote
// at the start of a line would begin a request. The backslash comes first, because the others make
// new ones: strings.NewReplacer goes through the text once.
var manEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`)

// manPage returns the manual page. Its date is that of the build, so that the same source gives the
// same page; without one it is today.
func manPage(flags []config.Flag) string {
	day, _, _ := strings.Cut(daemon.Build().Date, "T")
	date := cmp.Or(day, time.Now().Format(time.DateOnly))
	return fill("man.1", "@date@", date, "@version@", daemon.Version, "@synopses@", manSynopses(),
		"@flags@", manFlags(flags), "@commands@", manCommands())
}

// manSynopses returns a line for each command.
func manSynopses() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, ".br\n%s\n", manBold(c.usage()))
	}
	return b.String()
}

// manCommands returns what each command does, with its help as it is printed. .nf and .fi keep the
// lines of the help: they have columns and examples.
func manCommands() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, ".SS %s\n%s\n", manEscapes.Replace(c.usage()), manEscapes.Replace(c.does))
		if c.help != "" {
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", manText(c.help))
		}
		b.WriteString(manFlags(c.flags()))
	}
	return b.String()
}

// manBold returns a text in bold. \fB and \fR are troff's change of the font and back.
func manBold(text string) string { return `\fB` + manEscapes.Replace(text) + `\fR` }

// manText returns lines that are shown as they are. A line that begins with a dot would be a macro.
// \& is nothing of no width, and keeps the dot from being the first character.
func manText(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		lines = append(lines, `\&`+manEscapes.Replace(line))
	}
	return strings.Join(lines, "\n")
}

// manFlags returns a paragraph for each flag. A paragraph is .TP, a line with all names and the
// value, and the usage.
func manFlags(flags []config.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		var names []string
		for _, n := range f.Names {
			names = append(names, manBold(n))
		}
		line := strings.Join(names, ", ")
		if f.Value != "" {
			line += ` \fI` + manEscapes.Replace(f.Value) + `\fR`
		}
		fmt.Fprintf(&b, ".TP\n%s\n%s\n", line, manEscapes.Replace(f.Usage))
	}
	return b.String()
}
