// Command testcheck runs `go test -json` with its own arguments and prints what `go test` prints
// without -json. It fails when a test fails, and also when a behaviour is not shown: when a test
// that a behaviour names did not run and pass.
//
//	go run ./internal/testcheck -race ./...
//
// Tests speak to it by attributes. "shown-by" names another test that shows a behaviour, by its
// full name. "lacks" says what this machine lacks for the test, which is then skipped.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// The exit code is 1 for any fault, as that of go test.
func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testcheck:", err)
		os.Exit(1)
	}
}

// run runs go test with the arguments and checks its events. The error joins the one of go test
// itself with what check has found. What the tests write to standard error goes there as it comes.
func run(args []string, out io.Writer) error {
	test := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	test.Stderr = os.Stderr
	events, err := test.StdoutPipe()
	if err != nil {
		return err
	}
	if err := test.Start(); err != nil {
		return err
	}
	checked := check(events, out)
	_, _ = io.Copy(io.Discard, events) // what is left if an event could not be read
	return errors.Join(test.Wait(), checked)
}
