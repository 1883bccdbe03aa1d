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

// defaultURL is where a server listens whose configuration names no port.
const defaultURL = "http://localhost:9090"

// setURL defines the flag for the server that a command uses. What it returns is called when flags
// are parsed, and returns what the flag, the environment or the default says, in this order.
func setURL(s *flag.FlagSet) func() string {
	url := s.String("url", "", "`url` of the account server, with user and password if it wants "+
		"them; default: $"+urlVariable+", or else "+defaultURL)
	return func() string { return cmp.Or(*url, os.Getenv(urlVariable), defaultURL) }
}

// setAccess defines the flags for TLS. They are in the Access when flags are parsed. "" means none:
// the authorities of the system, and no certificate of the client.
func setAccess(s *flag.FlagSet) *tools.Access {
	var a tools.Access
	s.StringVar(&a.CA, "ca", "", "PEM `file` with the authorities of the server's certificate")
	s.StringVar(&a.Cert, "cert", "", "PEM `file` with the client's certificate")
	s.StringVar(&a.Key, "key", "", "PEM `file` with the key of that certificate")
	return &a
}

// fails writes why a command failed and returns its exit code. The error may have texts of files
// and servers, which are quoted and cut off after 1000 bytes. The exit code is always 1.
func fails(err error) int {
	report(logging.Quote(err.Error(), 1000))
	return 1
}

// printFaults writes a line for each fault. Fault.String quotes what comes from files: names of
// accounts are chosen by tenants.
func printFaults(w io.Writer, faults []tools.Fault) {
	for _, f := range faults {
		fmt.Fprintln(w, f)
	}
}

// printJSON writes a value to standard output. Characters of HTML stay as they are, so that "a < b"
// can be read.
func printJSON(value any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// verifyCommand is the row of the command verify: a check of a backup, or of a store before and
// after it is moved. The source may be one that a server is using.
func verifyCommand() command {
	return command{
		name: "verify", args: "SOURCE", operands: [2]int{1, 1},
		does: "find what is wrong in a directory of JWTs",
		help: helpOf("verify"),
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

// verify is the command verify. operator is a path; "" takes the operator of a folder of nsc. It
// returns 1 if there is a fault, also if only one file could not be read.
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

// readOperator reads the JWT of an operator. Without a path there is none, and any issuer counts.
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

// progressOf tells on standard error how far a command is, so that standard output has the result
// only.
func progressOf(s tools.Source) *tools.Progress {
	return &tools.Progress{Out: os.Stderr, Total: s.Len()}
}

// importCommand is the row of the command import.
func importCommand() command {
	return command{
		name: "import", args: "SOURCE", operands: [2]int{1, 1},
		does: "push the JWTs of a directory, or of another server, to a server",
		help: helpOf("import"),
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			url, access := setURL(s), setAccess(s)
			return func(ctx context.Context, operands []string) int {
				return importAll(ctx, operands[0], url(), *access)
			}
		},
	}
}

// importAll is the command import. What it has done is printed also if it ends early. It returns 1
// unless the server has every JWT of the source.
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

// exportCommand is the row of the command export. It makes a backup of a server that runs, or moves
// a store to another layout.
func exportCommand() command {
	return command{
		name: "export", args: "SOURCE TARGET", operands: [2]int{2, 2},
		does: "write the JWTs of a server or a store into a directory or a pack",
		help: helpOf("export"),
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
				p := progressOf(source)
				switch {
				case *pack && operands[1] == "-":
					return exported(tools.ExportPack(ctx, source, os.Stdout, p))
				case *pack:
					return exported(tools.ExportPackFile(ctx, source, operands[1], p))
				}
				return exported(tools.Export(ctx, source, operands[1], *sharded, p))
			}
		},
	}
}

// exported prints what an export has done, and returns the exit code. It prints to standard error:
// the pack may be on standard output. The exit code is 1 if one JWT or more was not written.
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
		help: helpOf("diff"),
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

// diff is the command diff. Faults make 1, because what could not be read may differ too.
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

// sourceName returns how a Source is called: its path, or its URL without a password. The name
// stands in the output of diff. It may be given to others, so a password must not be in it.
func sourceName(where string) string {
	if c, err := tools.NewClient(where, tools.Access{}); err == nil {
		return c.String()
	}
	return where
}
