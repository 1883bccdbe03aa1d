package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/dryrun"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/tools"
	"nats-account-server/internal/trust"
)

// The exit codes of a dry run. 2 is a difference, as it is for the command diff, so that a script
// can tell "something would change" from "it would be refused".
const (
	exitSame    = 0 // nothing would change in meaning
	exitRefused = 1 // the push would be refused, or the server can't be asked
	exitDiffers = 2 // something would change
	exitFailOn  = 3 // there is an effect that --fail-on names, or may be
)

// pushOptions are the flags of the command. All but url and access are values of flags that are
// parsed.
type pushOptions struct {
	url    func() string // the server: flag, environment or default
	access *tools.Access // filled in while flags are parsed

	dryRun, connections, json bool

	// failOn is a list with commas, such as "cut,stop"; "" names no effect.
	failOn string
	// ifMatch is an ETag, with or without its quotes, or * for any stored JWT. With "" the push
	// does not depend on what is stored.
	ifMatch string
}

// pushCommand is the command push.
func pushCommand() command {
	return command{
		name: "push", args: "FILE", operands: [2]int{1, 1}, misuse: exitRefused,
		does: "send the JWT of an account to a server, or with --dry-run ask what that would do",
		help: helpOf("push"),
		set: func(s *flag.FlagSet) func(context.Context, []string) int {
			o := &pushOptions{url: setURL(s), access: setAccess(s)}
			s.BoolVar(&o.dryRun, "dry-run", false, "store nothing, and show what the push would do")
			s.StringVar(&o.failOn, "fail-on", "", "with --dry-run: `effects` that give exit code "+
				"3, such as cut,stop; of cut, stop, starts, later, lost and unknown")
			s.BoolVar(&o.connections, "connections", false,
				"with --dry-run: look at each connection in any case, also of more than 5,000")
			s.BoolVar(&o.json, "json", false, "print JSON")
			s.StringVar(&o.ifMatch, "if-match", "",
				"push only if the stored JWT has this `ETag`; * is any")
			return func(ctx context.Context, operands []string) int {
				code, err := o.push(ctx, operands[0])
				if err != nil {
					return fails(err)
				}
				return code
			}
		},
	}
}

// push pushes the JWT in a file, or makes a dry run of that. It returns the exit code. An error has
// exit code 1. It names the file or the server.
func (o *pushOptions) push(ctx context.Context, file string) (code int, err error) {
	failOn, err := o.kinds()
	if err != nil {
		return 0, err
	}
	p := tools.Push{IfMatch: o.ifMatch, Connections: o.connections}
	if p.JWT, p.Key, err = readAccount(file); err != nil {
		return 0, err
	}
	server, err := tools.NewClient(o.url(), *o.access)
	switch {
	case err != nil:
		return 0, err
	case o.dryRun:
		return o.try(ctx, server, p, failOn)
	}
	return o.store(ctx, server, p)
}

// kinds returns the effects of --fail-on. Without it there are none. A word that is no effect is an
// error, since a script with a typing error would let everything pass.
func (o *pushOptions) kinds() (kinds []effect.Kind, err error) {
	if !o.dryRun && (o.failOn != "" || o.connections) {
		return nil, errors.New("--fail-on and --connections are for --dry-run")
	}
	for word := range strings.SplitSeq(o.failOn, ",") {
		kind := effect.Kind(strings.TrimSpace(word))
		switch {
		case word == "": // as in "", or in "cut,"
		case !slices.Contains(effect.Kinds, kind):
			return nil, fmt.Errorf("--fail-on: %q is none of %v", word, effect.Kinds)
		default:
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// readAccount returns the account JWT in a file, and the key of the account. "-" is standard input.
// A file with a private key in it is an error, so that none leaves this machine. What surrounds the
// token in a file of nsc is cut off. The signature is not looked at: the server does that.
func readAccount(file string) (token []byte, key string, err error) {
	var content []byte
	if file == "-" {
		content, err = io.ReadAll(os.Stdin)
	} else {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, "", err
	}
	if token, err = trust.Bare(content); err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	head, err := trust.Peek(token)
	if err == nil && !trust.IsAccountKey(head.Subject) {
		err = errors.New("its sub is not the key of an account")
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: it is no JWT of an account: %w", file, err)
	}
	return token, head.Subject, nil
}

// store pushes, and prints what the server says. With --json a refusal is printed too, and is only
// an exit code. 202 is the answer of a server that passes JWTs to a signing service. The shape of
// the JSON is {"status": 200, "text": "…"}.
func (o *pushOptions) store(ctx context.Context, s *tools.Client, p tools.Push) (int, error) {
	status, text, err := s.Push(ctx, p)
	isStored := status == http.StatusOK || status == http.StatusAccepted
	switch {
	case err != nil:
		return 0, noAnswer(s, err)
	case o.json:
		if err := printJSON(map[string]any{"status": status, "text": text}); err != nil {
			return 0, err
		}
	case isStored:
		fmt.Println(text)
	default:
		return 0, fmt.Errorf("%s: %d %s: %s", s, status, http.StatusText(status), text)
	}
	if !isStored {
		return exitRefused, nil
	}
	return 0, nil
}

// noAnswer says which server an error is about, and what to look at if it can't be reached.
func noAnswer(s *tools.Client, err error) error {
	if e, isNet := errors.AsType[*net.OpError](err); isNet && e.Op == "dial" {
		return fmt.Errorf("%s can't be reached: %w: see if the server runs, and if --url is right",
			s, e)
	}
	return fmt.Errorf("%s: %w", s, err)
}

// try makes a dry run, and prints what the server says. With --json it is the server's JSON as it
// came, described in the manual's page on HTTP.
func (o *pushOptions) try(
	ctx context.Context, s *tools.Client, p tools.Push, failOn []effect.Kind,
) (int, error) {
	answer, text, err := s.DryRun(ctx, p)
	switch {
	case err != nil:
		return 0, noAnswer(s, err)
	case o.json:
		fmt.Println(text)
	default:
		fmt.Print(answer.Text())
	}
	return exitCode(answer, failOn), nil
}

// exitCode is that of a dry run. A refusal counts before effects, which then do not happen. A push
// that would be sent to a signing service counts as a difference: what it signs is not known.
func exitCode(a *dryrun.Answer, failOn []effect.Kind) int {
	isNamed := func(line effect.Line) bool { return slices.Contains(failOn, line.Kind) }
	switch {
	case a.Verdict == dryrun.Refused:
		return exitRefused
	case slices.ContainsFunc(a.Effects, isNamed), mayHave(a, failOn):
		return exitFailOn
	case len(a.Changes) > 0 || a.Changes == nil && a.Verdict == dryrun.Stored,
		a.Verdict == dryrun.Signing:
		return exitDiffers
	}
	return exitSame
}

// mayHave reports whether an effect of these kinds can't be excluded: a change can have one, and
// something is unknown. A nats-server that does not answer is such an unknown. Without changes
// nothing can happen. If they are not known, since what is stored is damaged, anything can.
func mayHave(a *dryrun.Answer, kinds []effect.Kind) bool {
	isUnknown := func(line effect.Line) bool { return line.Kind == effect.Unknown }
	isMeant := func(c claimdiff.Change) bool {
		// Cut, Stop and Later have the same values in both types.
		return slices.Contains(kinds, effect.Kind(c.Effect))
	}
	return slices.ContainsFunc(a.Effects, isUnknown) && (slices.ContainsFunc(a.Changes, isMeant) ||
		a.Changes == nil && len(kinds) > 0)
}
