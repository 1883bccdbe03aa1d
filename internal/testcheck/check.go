package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; `go doc test2json` explains it. One line is
// {"Action":"pass","Package":"…","Test":"TestX"}.
type event struct {
	Action, Package, Test string // Package is empty for the events of a build, Test for a package
	Output                string // Action "output" and "build-output"
	Key, Value            string // Action "attr"
}

// name identifies one test. A package as a whole has an empty test. A test within a test is
// "TestX/row".
type name struct{ pkg, test string }

// test is what the events have told of one test or one package.
type test struct {
	result  string   // "pass", "fail" or "skip"; "" before the end
	output  []string // what is not printed yet
	lacks   string   // what a skipped test needs that this machine does not have; "" for nothing
	shownBy []string // the tests that a behaviour names, if this is the behaviour's own test
}

// report has every test and every package that has begun. Its size is that of the suite: some
// thousand tests.
type report map[name]*test

// check reads events to their end. It keeps them all, because a behaviour may name a test of a
// package that is tested later. It prints the lines of the packages and the output of failed tests.
// The error names each package that failed or did not end, and each behaviour that was not shown.
// It prints as it reads, so a long run shows how far it is.
func check(events io.Reader, out io.Writer) error {
	r := report{}
	for decoder := json.NewDecoder(events); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return r.verdict(out)
		} else if err != nil {
			return fmt.Errorf("this is not the output of go test -json: %w", err)
		}
		r.take(e, out)
	}
}

// take adds an event to the report. Output stays in the report until it is known whether the test
// has passed; then it is printed or forgotten.
func (r report) take(e event, out io.Writer) {
	n := name{e.Package, e.Test}
	if r[n] == nil && e.Package != "" { // the events of a build have no package
		r[n] = &test{}
	}
	switch t := r[n]; e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		// These lines only say that a test begins, pauses or ends.
		if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "=== ") {
			t.output = append(t.output, e.Output)
		}
	// testing.T.Attr writes it.
	case "attr":
		if e.Key == "shown-by" {
			t.shownBy = append(t.shownBy, e.Value)
		}
		if e.Key == "lacks" {
			t.lacks = e.Value
			fmt.Fprintf(out, "skip\t%s: without %s\n", e.Test, e.Value)
		}
	case "pass", "fail", "skip":
		t.result = e.Action
		r.print(n, out)
	}
}

// print writes the output of a package that has ended or of a test that has failed, and forgets it.
// A test that a panic or the timeout has ended has no result; its output comes with the package's.
func (r report) print(ended name, out io.Writer) {
	t := r[ended]
	if ended.test == "" && t.result == "fail" {
		for n, unfinished := range r {
			if n.pkg == ended.pkg && unfinished.result == "" {
				t.output = append(unfinished.output, t.output...)
			}
		}
	}
	if ended.test == "" || t.result == "fail" {
		fmt.Fprint(out, strings.Join(t.output, ""))
	}
	t.output = nil
}

// verdict is an error unless every package has passed and every behaviour is shown. It prints which
// behaviours this machine can't show; they are no error. A package without tests has the result
// skip.
func (r report) verdict(out io.Writer) error {
	var errs []error
	packages, behaviours := 0, 0
	for n, t := range r {
		if n.test == "" {
			packages++
			if t.result != "pass" && t.result != "skip" {
				errs = append(errs, fmt.Errorf("%s did not pass", n.pkg))
			}
		}
		for _, shows := range t.shownBy {
			behaviours++
			missing, err := r.judge(shows)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s is not shown: %w", n.test, err))
			} else if missing != "" {
				fmt.Fprintf(out, "not shown on this machine: %s: %s: %s\n", n.test, shows, missing)
			}
		}
	}
	// A run that tests nothing must not look like a good one.
	if packages == 0 {
		errs = append(errs, errors.New("no package was tested"))
	}
	if behaviours == 0 {
		errs = append(errs, errors.New("no behaviour names its test"))
	}
	// The order of a map would be another one each time.
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// judge looks at every test of a name, in all packages, and at the tests within. The error says
// that one did not pass, for whatever other reason than that the machine lacks something. missing
// says what it lacks; "" means that all of the tests passed.
func (r report) judge(shows string) (missing string, err error) {
	found := false
	for n, t := range r {
		// A test within a test is not enough: the whole of it must have passed.
		found = found || n.test == shows
		within := n.test == shows || strings.HasPrefix(n.test, shows+"/")
		switch {
		case !within || t.result == "pass":
		case t.result == "skip" && t.lacks != "":
			missing = t.lacks
		default:
			return "", fmt.Errorf("the result of %s is %s", n.test, cmp.Or(t.result, "missing"))
		}
	}
	if !found {
		return "", fmt.Errorf("%s was not run", shows)
	}
	return missing, nil
}
