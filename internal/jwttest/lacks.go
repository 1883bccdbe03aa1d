package jwttest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Lacks skips a test that this machine can't run, because what is missing. The test fails instead
// if the environment variable TEST_REQUIRES has what in its list of words. internal/testcheck reads
// the attribute.
func Lacks(t testing.TB, what string, why any) {
	t.Helper()
	if slices.Contains(strings.Fields(os.Getenv("TEST_REQUIRES")), what) {
		t.Fatalf("%s is required: %v", what, why)
	}
	t.Attr("lacks", what)
	t.Skipf("without %s: %v", what, why)
}
