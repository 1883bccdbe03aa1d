package bench_test

import (
	"strings"
	"testing"

	"nats-account-server/internal/bench"
)

func TestVerdict(t *testing.T) {
	steady, noisy := []float64{100, 110, 190}, []float64{100, 110, 210}
	for _, c := range []struct {
		name    string
		row     bench.Row
		verdict string
	}{
		{"no limit", bench.Row{Values: []float64{1}}, ""},
		{"below a limit", bench.Row{Values: []float64{1, 9, 2}, Want: bench.AtMost(2)}, "pass"},
		{"above a limit", bench.Row{Values: []float64{1, 9, 3}, Want: bench.AtMost(2)}, "miss"},
		{"nothing may be lost", bench.Row{Values: []float64{0}, Want: bench.AtMost(1)}, "pass"},
		{"a ratio is of pairs", bench.Row{
			Values: []float64{90, 99, 171}, Reference: steady, Want: bench.RatioAtLeast(0.9),
		}, "pass"},
		{"a ratio below its limit", bench.Row{
			Values: []float64{90, 90, 170}, Reference: steady, Want: bench.RatioAtLeast(0.9),
		}, "miss"},
		{"one value, and a reference for all", bench.Row{
			Values: []float64{220}, Reference: steady, Want: bench.RatioAtMost(2),
		}, "pass"},
		{"a reference that varies too much", bench.Row{
			Values: []float64{1, 1, 1}, Reference: noisy, Want: bench.RatioAtMost(2),
		}, "too noisy"},
		{"a reference that varies too much, a limit of the value", bench.Row{
			Values: []float64{9}, Reference: noisy, Want: bench.AtMost(2),
		}, "too noisy"},
		{"what has to be steady is not", bench.Row{
			Values: []float64{1}, Reference: steady, Steady: noisy, Want: bench.AtMost(2),
		}, "too noisy"},
	} {
		if verdict := c.row.Verdict(); verdict != c.verdict {
			t.Errorf("%s: %q instead of %q", c.name, verdict, c.verdict)
		}
	}
}

func TestPrintedTable(t *testing.T) {
	rows := []bench.Row{
		{
			Name: "rate", Unit: "/s", Values: []float64{4125, 4000},
			Reference: []float64{5000, 5000}, Against: "bare", Want: bench.RatioAtLeast(0.9),
		},
		{Name: "memory", Unit: "MB", Values: []float64{47.25}},
	}
	var table, lines strings.Builder
	bench.Print(&table, "Reads", rows)
	bench.Lines(&lines, "get", rows)
	const wantTable = "\nReads\n" +
		"          measured             reference  ratio              wanted        verdict\n" +
		"  rate    4062 (4000–4125) /s  5000 bare  0.812 (0.8–0.825)  >= 0.9 times  miss\n" +
		"  memory  47.2 MB\n"
	if got := trimmed(table.String()); got != wantTable {
		t.Errorf("the table is\n%s", got)
	}
	const wantLines = "BenchmarkGet/rate 1 4125 /s 0.825 ratio\n" +
		"BenchmarkGet/rate 1 4000 /s 0.8 ratio\nBenchmarkGet/memory 1 47.25 MB\n"
	if lines.String() != wantLines {
		t.Errorf("the lines are\n%s", &lines)
	}
}

// trimmed removes the spaces at the ends of lines.
func trimmed(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}
