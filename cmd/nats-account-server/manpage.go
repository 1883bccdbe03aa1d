package main

import (
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
)

// manHead and manTail are what the manual page has around the flags, in the language of man.
const (
	manHead = `.\" made by "nats-account-server man"
.TH NATS\-ACCOUNT\-SERVER 1 "%s" "nats\-account\-server %s" "NATS"
.SH NAME
nats\-account\-server \- store, serve and announce the account JWTs of a NATS
operator
.SH SYNOPSIS
.B nats\-account\-server
.RI [ flags ]
%s.SH DESCRIPTION
The server takes account JWTs that the operator has signed, over HTTP and NATS,
keeps them on stable storage, serves
them to nats\-servers, and announces each change to every nats\-server until
that one has acknowledged it.
.PP
Flags are read after the configuration file and override it. One dash is enough
for each flag, and
.B \-x=value
is the same as
.BR "\-x value" .
.SH OPTIONS
`
	manTail = `.TP
.B \-h, \-\-help
print the flags and exit
.SH COMMANDS
%s.SH SIGNALS
.TP
.B SIGHUP
reads the configuration and all its files again. If they are wrong, the old ones
stay.
.TP
.B SIGUSR1
opens the log file and the audit file anew, after they were renamed.
.TP
.BR SIGTERM ", " SIGINT
stop the server in order and within two seconds. A second one ends it at once.
.SH EXIT STATUS
0 after SIGTERM, SIGINT, \-h, \-v, a successful \-t, \-\-signal or healthcheck;
2 for a wrong flag; 1 for any other
failure, with a line that says why.
.SH SEE ALSO
.BR nats\-server (8)
`
)

// manEscapes makes a text safe in a manual page: a dash is a minus sign that can be copied.
var manEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`)

// manPage returns the manual page.
func manPage(flags []config.Flag) string {
	_, date := daemon.Build()
	if date, _, _ = strings.Cut(date, "T"); date == "" { // the day is enough
		date = time.Now().Format(time.DateOnly)
	}
	var b strings.Builder
	fmt.Fprintf(&b, manHead, date, daemon.Version, manSynopses())
	writeManFlags(&b, flags)
	fmt.Fprintf(&b, manTail, manCommands())
	return b.String()
}

// manSynopses returns a line for each command.
func manSynopses() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, ".br\n%s\n", manBold(c.usage()))
	}
	return b.String()
}

// manCommands returns what each command does, with its help as it is printed.
func manCommands() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, ".SS %s\n%s\n", manEscapes.Replace(c.usage()), manEscapes.Replace(c.does))
		if c.help != "" {
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", manText(c.help))
		}
		writeManFlags(&b, c.flags())
	}
	return b.String()
}

// manBold returns a text in bold.
func manBold(text string) string { return `\fB` + manEscapes.Replace(text) + `\fR` }

// manText returns lines that are shown as they are. A line that begins with a dot would be a macro.
func manText(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		lines = append(lines, `\&`+manEscapes.Replace(line))
	}
	return strings.Join(lines, "\n")
}

// writeManFlags writes a paragraph for each flag.
func writeManFlags(b *strings.Builder, flags []config.Flag) {
	for _, f := range flags {
		var names []string
		for _, n := range f.Names {
			names = append(names, manBold(n))
		}
		line := strings.Join(names, ", ")
		if f.Value != "" {
			line += ` \fI` + manEscapes.Replace(f.Value) + `\fR`
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", line, manEscapes.Replace(f.Usage))
	}
}
