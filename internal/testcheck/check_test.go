package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// events makes a stream of one package. A text is "action", "action test" or "attr test key value".
func events(texts ...string) string {
	var b strings.Builder
	for _, text := range append([]string{"start"}, texts...) {
		fields := append(strings.SplitN(text, " ", 4), "", "", "")
		e := event{Action: fields[0], Package: "p", Test: fields[1],
			Key: fields[2], Value: fields[3]}
		if e.Action == "output" {
			e.Output, e.Key, e.Value = fields[2]+" "+fields[3]+"\n", "", ""
		}
		line, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}

func TestABehaviourIsShownOnlyByATestThatRanAndPassed(t *testing.T) {
	row := []string{"run Row", "attr Row shown-by Test", "pass Row"}
	for _, c := range []struct {
		name   string
		events []string
		want   string // "" is no error
		says   string
	}{
		{"it passed", []string{"run Test", "pass Test", "pass"}, "", ""},
		{"it was not run", []string{"pass"}, "Row is not shown: Test was not run", ""},
		{"only one with a longer name was run", []string{"run Test2", "pass Test2", "pass"},
			"Test was not run", ""},
		{"only a test within was run",
			[]string{"run Test/a", "pass Test/a", "pass"}, "Test was not run", ""},
		{"it was skipped", []string{"run Test", "skip Test", "pass"},
			"the result of Test is skip", ""},
		{"a test within was skipped", []string{"run Test", "run Test/a", "skip Test/a", "pass Test",
			"pass"}, "the result of Test/a is skip", ""},
		{"the machine lacks something",
			[]string{"run Test", "attr Test lacks strace", "skip Test", "pass"}, "",
			"skip\tTest: without strace\nnot shown on this machine: Row: Test: strace\n"},
		{"another test lacks something",
			[]string{"run Other", "attr Other lacks strace", "run Test",
				"skip Test", "pass"}, "the result of Test is skip",
			"skip\tOther: without strace\n"},
		{"it failed", []string{"run Test", "output Test it failed", "fail Test", "fail"},
			"the result of Test is fail", "it failed\n"},
		{"it did not end", []string{"run Test", "output Test panic: x", "fail"},
			"the result of Test is missing", "panic: x\n"},
		{"the package did not end", []string{"run Test", "pass Test"}, "p did not pass", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := check(strings.NewReader(events(append(row, c.events...)...)), &out)
			if c.want == "" && err != nil || c.want != "" &&
				(err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if out.String() != c.says {
				t.Errorf("printed is %q, want %q", out.String(), c.says)
			}
		})
	}
}

func TestARunWithoutBehavioursOrPackagesFails(t *testing.T) {
	for stream, want := range map[string]string{
		"":             "no package was tested",
		events("pass"): "no behaviour names its test",
		"no JSON":      "this is not the output of go test -json",
	} {
		if err := check(strings.NewReader(stream), &strings.Builder{}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}
