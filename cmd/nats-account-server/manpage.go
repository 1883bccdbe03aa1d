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
.br
.B nats\-account\-server healthcheck
.RI [ url " | " flags ]
.br
.B nats\-account\-server completion bash
|
.B zsh
|
.B fish
.br
.B nats\-account\-server man
.SH DESCRIPTION
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
.PP
.B healthcheck
asks /healthz of the server at a URL, or of the one that the flags and their
configuration file describe. It is for
containers without a shell.
.SH OPTIONS
`
	manTail = `.TP
.B \-h, \-\-help
print the flags and exit
.SH SIGNALS
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
	fmt.Fprintf(&b, manHead, date, daemon.Version)
	for _, f := range flags {
		var names []string
		for _, n := range f.Names {
			names = append(names, `\fB`+manEscapes.Replace(n)+`\fR`)
		}
		line := strings.Join(names, ", ")
		if f.Value != "" {
			line += ` \fI` + manEscapes.Replace(f.Value) + `\fR`
		}
		fmt.Fprintf(&b, ".TP\n%s\n%s\n", line, manEscapes.Replace(f.Usage))
	}
	b.WriteString(manTail)
	return b.String()
}
