package main

// This file makes the program a part of its test binary. The tests run it as a process, of which
// `go test` knows nothing: without this, it would take the result of a run before the last change
// from its cache.
