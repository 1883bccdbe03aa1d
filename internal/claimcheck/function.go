package claimcheck

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// function is one that a token of a destination may call, such as {{partition(5,1,2)}}. Its numbers
// are those of the wildcards of the source, from 1 on.
type function struct {
	call *regexp.Regexp // finds a call; its group is the arguments
	// parse checks the arguments of a call. It returns the numbers of the wildcards that they name.
	parse          func(args []string) (wildcards []int, err error)
	needsWildcards bool // it can't be called if the source has none
}

// functions are in the order in which nats-server looks for them. That matters for a token in which
// there are two.
var functions = []function{
	{call("wildcard"), parseWildcard, true},
	{call("partition"), parsePartition, false},
	{call("split", "from", "left"), parsePosition, true},
	{call("split", "from", "right"), parsePosition, true},
	{call("slice", "from", "left"), parsePosition, true},
	{call("slice", "from", "right"), parsePosition, true},
	{call("right"), parsePosition, true},
	{call("left"), parsePosition, true},
	{call("split"), parseSplit, true},
	{call("random"), parseRandom, false},
}

// call matches a call of the function with a name of these words. Each word may begin with a
// capital letter. Example: call("split", "from", "left") matches {{splitFromLeft(1,2)}} and {{
// SplitFromLeft(1, 2) }}.
func call(words ...string) *regexp.Regexp {
	name := ""
	for _, w := range words {
		name += "[" + w[:1] + strings.ToUpper(w[:1]) + "]" + w[1:]
	}
	return regexp.MustCompile(`\{\{\s*` + name + `\s*\((.*)\)\s*\}\}`)
}

// comma separates two arguments. Blanks before it stay with the argument before.
var comma = regexp.MustCompile(`,\s*`)

// isCall reports whether a token must be the call of a function. A shorter token, such as {{}}, is
// taken as it is.
func isCall(token string) bool {
	return len(token) > 4 && strings.HasPrefix(token, "{{") && strings.HasSuffix(token, "}}")
}

// findCall returns the function that a token calls, with the arguments. It returns nil if the token
// is no call, or that of no known function. Without arguments there is one that is empty, as in
// {{wildcard()}}.
func findCall(token string) (*function, []string) {
	if !isCall(token) {
		return nil, nil
	}
	for i := range functions {
		f := &functions[i]
		if found := f.call.FindStringSubmatch(token); found != nil {
			return f, comma.Split(found[1], -1)
		}
	}
	return nil, nil
}

// parseWildcard is for wildcard(number).
func parseWildcard(args []string) ([]int, error) {
	switch {
	case len(args) > 1:
		return nil, errTooManyArgs
	case args[0] == "":
		return nil, errTooFewArgs
	}
	return numbers(args)
}

// parsePartition is for partition(count, number, …). A count alone partitions by the whole subject.
func parsePartition(args []string) ([]int, error) {
	if !isCount(args[0]) {
		return nil, errArgument
	}
	return numbers(args[1:])
}

// parsePosition is for splitFromLeft(number, position) and those like it. The position may be any
// number of 32 bits, also one that no subject reaches.
func parsePosition(args []string) ([]int, error) {
	if err := checkTwo(args); err != nil {
		return nil, err
	}
	if _, err := strconv.ParseInt(trim(args[1]), 10, 32); err != nil {
		return nil, errArgument
	}
	return numbers(args[:1])
}

// parseSplit is for split(number, separator).
func parseSplit(args []string) ([]int, error) {
	if err := checkTwo(args); err != nil {
		return nil, err
	}
	if strings.Contains(args[1], " ") {
		return nil, errArgument
	}
	return numbers(args[:1])
}

// parseRandom is for random(count).
func parseRandom(args []string) ([]int, error) {
	switch {
	case len(args) > 1:
		return nil, errTooFewArgs // as nats-server says
	case !isCount(args[0]):
		return nil, errArgument
	}
	return nil, nil
}

// checkTwo returns an error unless there are two arguments.
func checkTwo(args []string) error {
	switch {
	case len(args) < 2:
		return errTooFewArgs
	case len(args) > 2:
		return errTooManyArgs
	}
	return nil
}

// numbers parses the numbers of wildcards.
func numbers(args []string) (all []int, err error) {
	for _, arg := range args {
		n, err := strconv.Atoi(trim(arg))
		if err != nil {
			return nil, errArgument
		}
		all = append(all, n)
	}
	return all, nil
}

// isCount reports whether an argument is a number of 32 bits. One below 0 is, of any size.
// nats-server checks only that it fits.
func isCount(arg string) bool {
	n, err := strconv.Atoi(trim(arg))
	return err == nil && n <= math.MaxInt32
}

// trim takes the spaces off that an argument may have around it.
func trim(arg string) string { return strings.Trim(arg, " ") }
