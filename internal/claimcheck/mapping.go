package claimcheck

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// spaces are the characters that no token of a subject has. nats-server refuses a subject with one
// of them.
const spaces = " \t\n\r\f"

// What is wrong with a mapping, in nats-server's words.
var (
	// They have the same texts as in its log.
	errSubject    = errors.New("invalid subject")
	errTransform  = errors.New("invalid mapping destination: invalid transform")
	errUnknown    = errors.New("invalid mapping destination: unknown function")
	errOutOfRange = errors.New("invalid mapping destination: wildcard index out of range")
	errArgument   = errors.New("invalid mapping destination: function argument is invalid or in " +
		"the wrong format")
	errTooFewArgs = errors.New("invalid mapping destination: not enough " +
		"arguments passed to the function")
	errTooManyArgs = errors.New("invalid mapping destination: too many " +
		"arguments passed to the function")
)

// source is the subject that a mapping begins with. Example: "orders.*.>" has one wildcard and is
// open.
type source struct {
	wildcards int  // how many tokens are *
	isOpen    bool // the last token is >
}

// parseSource returns false if text is no subject.
func parseSource(text string) (s source, ok bool) {
	for token := range strings.SplitSeq(text, ".") {
		switch {
		case token == "", s.isOpen, strings.ContainsAny(token, spaces):
			return s, false
		case token == ">":
			s.isOpen = true
		case token == "*":
			s.wildcards++
		}
	}
	return s, true
}

// checkDestination returns why a subject can't be what this source is mapped to. A destination may
// have "$1" and calls of functions as tokens, and ends in ">" if the source does.
func (s source) checkDestination(destination string) error {
	tokens := strings.Split(destination, ".")
	isOpen := false
	for _, token := range tokens {
		switch f, _ := findCall(token); {
		case token == "", isOpen:
			return inToken(errTransform, token)
		case f == nil && isCall(token):
			return inToken(errUnknown, token)
		case f == nil && strings.ContainsAny(token, spaces):
			return errTransform
		}
		isOpen = token == ">"
	}
	if isOpen != s.isOpen || slices.Contains(tokens, "*") {
		return errSubject
	}
	for _, token := range tokens {
		if err := s.checkToken(token); err != nil {
			return err
		}
	}
	return nil
}

// checkToken returns why a token of a destination can't be filled in from this source. A token
// without a reference is taken as it is.
func (s source) checkToken(token string) error {
	if number, isReference := strings.CutPrefix(token, "$"); isReference {
		// A token that only begins like a reference is taken as it is: $JS is one.
		if n, err := strconv.Atoi(number); err == nil {
			return s.checkWildcards(token, []int{n}, true)
		}
		return nil
	}
	f, args := findCall(token)
	if f == nil {
		return nil
	}
	wildcards, err := f.parse(args)
	if err != nil {
		return inToken(err, token)
	}
	return s.checkWildcards(token, wildcards, f.needsWildcards)
}

// checkWildcards returns why a token can't refer to these wildcards of this source. Numbers below 1
// are taken, since nats-server takes them. Without any wildcard in the source, nats-server looks at
// no number.
func (s source) checkWildcards(token string, wildcards []int, isNeeded bool) error {
	if s.wildcards == 0 && !s.isOpen {
		if isNeeded {
			return inToken(errOutOfRange, token)
		}
		return nil
	}
	for _, n := range wildcards {
		if n > s.wildcards {
			return inToken(errOutOfRange, fmt.Sprintf("%s: [%d]", token, n))
		}
	}
	return nil
}

// inToken names the token that is wrong, unless it is empty.
func inToken(err error, token string) error {
	if token == "" {
		return err
	}
	return fmt.Errorf("%w in %s", err, token)
}
