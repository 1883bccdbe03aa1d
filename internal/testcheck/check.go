package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; `go doc test2json` explains it.
type event struct {
	Action, Package, Test string
	Output                string // Action "output" and "build-output"
	Key, Value            string // Action "attr"
}

// name identifies one test. A package as a whole has an empty test.
type name struct{ pkg, test string }

// report is what the events have told so far.
type report struct {
	out     io.Writer
	output  map[name][]string // of tests and packages that have not ended
	results map[name]string   // "pass", "fail" or "skip"; "" before the end
	lacks   map[name]string   // why a skipped test can't run on this machine
	shown   map[name][]string // the tests that a behaviour names; the key is the behaviour's own test
}

// check reads events to their end. It prints the lines of the packages and the output of failed
// tests. The error names each package that failed or did not end, and each behaviour that was not
// shown.
func check(events io.Reader, out io.Writer) error {
	r := &report{out, map[name][]string{}, map[name]string{}, map[name]string{}, map[name][]string{}}
	for decoder := json.NewDecoder(events); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return errors.Join(r.unfinished(), r.notShown())
		} else if err != nil {
			return fmt.Errorf("this is not the output of go test -json: %w", err)
		}
		r.take(e)
	}
}

func (r *report) take(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		r.results[n] = ""
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[n] = append(r.output[n], e.Output)
	case "attr":
		r.attribute(n, e.Key, e.Value)
	case "pass", "fail", "skip":
		r.results[n] = e.Action
		r.print(n, e.Action)
	}
}

func (r *report) attribute(n name, key, value string) {
	switch key {
	case "shown-by":
		r.shown[n] = append(r.shown[n], value)
	case "lacks":
		r.lacks[n] = value
		fmt.Fprintf(r.out, "skip\t%s: without %s\n", n.test, value)
	}
}

// print writes what is worth reading of a test or a package that has ended, and forgets the rest.
func (r *report) print(ended name, result string) {
	if ended.test == "" {
		if result == "fail" { // a test that a panic or the timeout ended has no end of its own
			for n := range r.output {
				if n.pkg == ended.pkg && n.test != "" {
					r.print(n, "fail")
				}
			}
		}
		for _, line := range r.output[ended] {
			if line != "PASS\n" {
				fmt.Fprint(r.out, line)
			}
		}
	} else if result == "fail" {
		for _, line := range r.output[ended] {
			if !strings.HasPrefix(line, "=== ") {
				fmt.Fprint(r.out, line)
			}
		}
	}
	delete(r.output, ended)
}

// unfinished is an error if a package failed or has no end, or if there is none.
func (r *report) unfinished() error {
	var errs []error
	packages := 0
	for n, result := range r.results {
		if n.test != "" {
			continue
		}
		packages++
		if result != "pass" && result != "skip" {
			errs = append(errs, fmt.Errorf("%s did not pass", n.pkg))
		}
	}
	if packages == 0 {
		errs = append(errs, errors.New("no package was tested"))
	}
	return errors.Join(errs...)
}

// notShown is an error if a behaviour names a test that did not pass, or if there is no behaviour.
// A test that this machine can't run is no error but a line.
func (r *report) notShown() error {
	var errs []error
	for row, tests := range r.shown {
		for _, test := range tests {
			missing, err := r.judge(test)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s is not shown: %w", row.test, err))
			} else if missing != "" {
				fmt.Fprintf(r.out, "not shown on this machine: %s: %s: %s\n", row.test, test, missing)
			}
		}
	}
	if len(r.shown) == 0 {
		errs = append(errs, errors.New("no behaviour names its test"))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// judge looks at every test of a name and at the tests within. The error says that one did not
// pass; missing says what kept one from running.
func (r *report) judge(test string) (missing string, err error) {
	found := false
	for n, result := range r.results {
		if n.test != test && !strings.HasPrefix(n.test, test+"/") {
			continue
		}
		found = found || n.test == test
		reason, lacks := r.lacks[n]
		switch {
		case result == "pass":
		case result == "skip" && lacks:
			missing = reason
		case result == "":
			return "", fmt.Errorf("%s did not end", n.test)
		default:
			return "", fmt.Errorf("the result of %s is %s", n.test, result)
		}
	}
	if !found {
		return "", fmt.Errorf("%s was not run", test)
	}
	return missing, nil
}
