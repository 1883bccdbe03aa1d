package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/tools"
	"nats-account-server/internal/trust"
)

// urlVariable has the URL of the server that commands use without --url. A password in it is in no
// list of processes.
const urlVariable = "NATS_ACCOUNT_SERVER_URL"

// defaultURL is where a server listens that is not configured otherwise.
const defaultURL = "http://localhost:9090"

// setURL defines the flag for the server that a command uses. What it returns is called when flags
// are parsed.
func setURL(s *flag.FlagSet) func() string {
	url := s.String("url", "", "`url` of the account server, with user and password if it wants "+
		"them; default: $"+urlVariable+", or else "+defaultURL)
	return func() string { return cmp.Or(*url, os.Getenv(urlVariable), defaultURL) }
}

// setAccess defines the flags for TLS. They are in the Access when flags are parsed.
func setAccess(s *flag.FlagSet) *tools.Access {
	var a tools.Access
	s.StringVar(&a.CA, "ca", "", "PEM `file` with the authorities of the server's certificate")
	s.StringVar(&a.Cert, "cert", "", "PEM `file` with the client's certificate")
	s.StringVar(&a.Key, "key", "", "PEM `file` with the key of that certificate")
	return &a
}

// sourceHelp says what a source can be.
const sourceHelp = `SOURCE is a directory, a file or a server:

  DIR   of an account server, flat or sharded, also while the server runs; of
        a nats-server's resolver; or the folder in which nsc keeps an operator.
        Files whose names end in .jwt are read, also those in directories
  FILE  with one JWT, or a pack: lines of a key, "|" and a JWT
  URL   of an account server: http://host:9090, or https://user:password@host
`

// fails writes why a command failed and returns its exit code. The error may have texts of files
// and servers, which are quoted.
func fails(err error) int {
	report(logging.Quote(err.Error(), 1000))
	return 1
}

// printFaults writes a line for each fault.
func printFaults(w io.Writer, faults []tools.Fault) {
	for _, f := range faults {
		fmt.Fprintln(w, f)
	}
}

// printJSON writes a value to standard output.
func printJSON(value any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// verifyCommand is the row of the command verify.
func verifyCommand() command {
	return command{
		name: "verify", args: "SOURCE", operands: [2]int{1, 1},
		does: "find what is wrong in a directory of JWTs",
		help: `
Finds what is wrong with account JWTs: expired, not signed by the operator,
misnamed, damaged, with claims that nats-servers refuse, two files of one
account, imports that nobody exports. Nothing is changed.

` + sourceHelp + `
Example:

  $ nats-account-server verify --operator /etc/operator.jwt /var/lib/jwt
  /var/lib/jwt/orders.jwt: it has expired on Mon 30 Nov 2026, 09:00 UTC
  1 fault in 12 JWTs of 12 accounts

Exit codes: 0 nothing is wrong, 1 something is, or can't be read, 2 wrong flag.
`,
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			operator := s.String("operator", "", "`file` with the JWT of the operator that must "+
				"have signed; default: that of the folder of nsc, or else any signature counts")
			asJSON := s.Bool("json", false, "print JSON, with a stable code for each kind of fault")
			access := setAccess(s)
			return func(ctx context.Context, operands []string) int {
				return verify(ctx, operands[0], *operator, *asJSON, *access)
			}
		},
	}
}

// verify is the command verify.
func verify(ctx context.Context, where, operator string, asJSON bool, access tools.Access) int {
	source, err := tools.Open(where, access)
	if err != nil {
		return fails(err)
	}
	operators, err := readOperator(cmp.Or(operator, tools.OperatorOf(source)))
	if err != nil {
		return fails(err)
	}
	found, err := tools.Verify(ctx, source, operators, time.Now(), progressOf(source))
	if err != nil {
		return fails(err)
	}
	if asJSON {
		err = printJSON(found)
	} else {
		printFaults(os.Stdout, found.Faults)
		fmt.Printf("%s in %s of %s\n", logging.Count(len(found.Faults), "fault", "faults"),
			logging.Count(found.JWTs, "JWT", "JWTs"),
			logging.Count(found.Accounts, "account", "accounts"))
		if len(operators) == 0 {
			fmt.Println("which operator has signed was not looked at: give its JWT with --operator")
		}
	}
	if err != nil || len(found.Faults) > 0 {
		return 1
	}
	return 0
}

// readOperator reads the JWT of an operator; none if there is no path.
func readOperator(path string) (trust.Operators, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o, err := trust.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return trust.Operators{o}, nil
}

// progressOf tells on standard error how far a command is.
func progressOf(s tools.Source) *tools.Progress {
	return &tools.Progress{Out: os.Stderr, Total: s.Len()}
}

// importCommand is the row of the command import.
func importCommand() command {
	return command{
		name: "import", args: "SOURCE", operands: [2]int{1, 1},
		does: "push the JWTs of a directory, or of another server, to a server",
		help: `
Pushes every JWT of a source to a server that runs. Each takes the way of any
push: the server's policy decides, the audit log has it, and nats-servers are
told. That is why the server must run: nothing else may write its store.

What is stored already is not pushed again, so an import that was interrupted
is repeated. What the server does not take is listed with the reason, and at
the end the imports that no account exports.

` + sourceHelp + `
Example:

  $ nats-account-server import ~/.local/share/nats/nsc/stores/Acme
  12 JWTs stored, 0 were there already, 0 not taken

Exit codes: 0 the server has everything, 1 something was not taken or can't be
read, or the import was interrupted, 2 wrong flag.
`,
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			url, access := setURL(s), setAccess(s)
			return func(ctx context.Context, operands []string) int {
				return importAll(ctx, operands[0], url(), *access)
			}
		},
	}
}

// importAll is the command import. What it has done is printed also if it ends early.
func importAll(ctx context.Context, where, url string, access tools.Access) int {
	source, err := tools.Open(where, access)
	if err != nil {
		return fails(err)
	}
	server, err := tools.NewClient(url, access)
	if err != nil {
		return fails(err)
	}
	done, err := tools.Import(ctx, source, server, progressOf(source))
	printFaults(os.Stderr, done.Warnings)
	printFaults(os.Stderr, done.Faults)
	fmt.Printf("%s stored, %d were there already, %d not taken\n",
		logging.Count(done.Stored, "JWT", "JWTs"), done.Same, len(done.Faults))
	switch {
	case ctx.Err() != nil:
		report("the import was interrupted: the same command goes on with it")
		return 1
	case err != nil:
		return fails(fmt.Errorf(
			"the import has ended early, the same command goes on with it: %w", err))
	case len(done.Faults) > 0:
		return 1
	}
	return 0
}

// exportCommand is the row of the command export.
func exportCommand() command {
	return command{
		name: "export", args: "SOURCE TARGET", operands: [2]int{2, 2},
		does: "write the JWTs of a server or a store into a directory or a pack",
		help: `
Writes every JWT of a source into the directory TARGET, as <key>.jwt. No file is
replaced with an older JWT, and none is removed. What is there already is left
alone, so an export that was interrupted is repeated.

` + sourceHelp + `
Example:

  $ nats-account-server export http://localhost:9090 backup
  12 JWTs written, 0 were there already, 0 not written

Exit codes: 0 everything is there, 1 something is not, 2 wrong flag.
`,
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			sharded := s.Bool("sharded", false,
				"write XX/<key>.jwt, with the last two characters of the key")
			pack := s.Bool("pack", false, "write one file, a pack; TARGET - is standard output")
			access := setAccess(s)
			return func(ctx context.Context, operands []string) int {
				source, err := tools.Open(operands[0], *access)
				if err != nil {
					return fails(err)
				}
				if *pack {
					return exportPack(ctx, source, operands[1])
				}
				p := progressOf(source)
				return exported(tools.Export(ctx, source, operands[1], *sharded, p))
			}
		},
	}
}

// exportPack is the command export with --pack.
func exportPack(ctx context.Context, source tools.Source, target string) int {
	if target == "-" {
		return exported(tools.ExportPack(ctx, source, os.Stdout, progressOf(source)))
	}
	f, err := os.Create(target)
	if err != nil {
		return fails(err)
	}
	done, err := tools.ExportPack(ctx, source, f, progressOf(source))
	return exported(done, cmp.Or(err, f.Sync(), f.Close()))
}

// exported prints what an export has done, and returns the exit code. It prints to standard error:
// the pack may be on standard output.
func exported(done tools.Exported, err error) int {
	printFaults(os.Stderr, done.Faults)
	fmt.Fprintf(os.Stderr, "%s written, %d were there already, %d not written\n",
		logging.Count(done.Written, "JWT", "JWTs"), done.Same, len(done.Faults))
	switch {
	case err != nil:
		return fails(fmt.Errorf("the export has ended early: %w", err))
	case len(done.Faults) > 0:
		return 1
	}
	return 0
}

// diffCommand is the row of the command diff. Its exit codes are those of diff(1), with 1 and 2
// exchanged: 2 is a difference, as it is for a dry run.
func diffCommand() command {
	return command{
		name: "diff", args: "A B", operands: [2]int{2, 2}, misuse: 1,
		does: "tell in words what differs between two JWTs, directories or servers",
		help: `
Tells in words what B changes. What is the same to a nats-server is no
difference, such as another order, or the same claims issued anew.
A and B are sources each. Two with one account each are compared with each other.

` + sourceHelp + `
Example:

  $ nats-account-server diff http://localhost:9090 new
  orders ACNW4GQZ6T5YH2JXK3LMRBVD7PSFE2OWU4QZ6T5YH2JXK3LMRBVDV2JU
    ~ may open 60 connections, was unlimited
    - service orders.place is no longer exported
  12 accounts, 1 differs

Exit codes: 0 no difference, 2 a difference, 1 anything else.
`,
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			asJSON := s.Bool("json", false,
				"print JSON, with a stable code for each kind of difference")
			access := setAccess(s)
			return func(ctx context.Context, operands []string) int {
				return diff(ctx, operands[0], operands[1], *asJSON, *access)
			}
		},
	}
}

// diff is the command diff.
func diff(ctx context.Context, first, second string, asJSON bool, access tools.Access) int {
	var sources []tools.Source
	for _, where := range []string{first, second} {
		s, err := tools.Open(where, access)
		if err != nil {
			return fails(err)
		}
		sources = append(sources, s)
	}
	found, err := tools.Diff(ctx, sources[0], sources[1])
	if err != nil {
		return fails(err)
	}
	if asJSON {
		err = printJSON(found)
	} else {
		printFaults(os.Stderr, found.Faults)
		found.Print(os.Stdout, sourceName(first), sourceName(second))
	}
	switch {
	case err != nil || len(found.Faults) > 0:
		return 1
	case len(found.Differ) > 0:
		return 2
	}
	return 0
}

// sourceName returns how a Source is called: its path, or its URL without a password.
func sourceName(where string) string {
	if c, err := tools.NewClient(where, tools.Access{}); err == nil {
		return c.String()
	}
	return where
}
