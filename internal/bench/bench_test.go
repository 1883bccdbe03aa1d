// Package bench measures what the built program costs: starts, pushes, reads and deliveries, with
// real nats-servers, each in processes of their own. `make bench` prints the tables.
//
// Figures of one machine say little about another one, and a busy machine changes them from minute
// to minute. So each is measured in turn with a reference: the disk's own syncs, a bare net/http
// server, or the same work without what is to be measured. If the reference itself varies more than
// twofold, there is no verdict.
//
// All of it is tests, because only tests may use nats-server. This file has the arithmetic and the
// printing.
package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// maxVariation is how much the greatest value of a reference may exceed the least.
const maxVariation = 2

// Row is one measured quantity.
type Row struct {
	Name   string
	Unit   string    // of Values and Reference
	Values []float64 // at least one
	// Reference has what was measured in turn with Values; nil means that there is none. One that
	// has another length is for all values.
	Reference []float64
	Against   string // what Reference is
	// Steady must not vary much, or there is no verdict. nil means Reference.
	Steady []float64
	Want   Want
}

// Want is the limit of a row. The zero value is none.
type Want struct {
	limit   float64
	atLeast bool
	ratio   bool // the limit is for the ratio
}

// AtMost limits the value.
func AtMost(limit float64) Want { return Want{limit: limit} }

// RatioAtMost limits the ratio of value and reference.
func RatioAtMost(limit float64) Want { return Want{limit: limit, ratio: true} }

// RatioAtLeast limits the ratio of value and reference.
func RatioAtLeast(limit float64) Want { return Want{limit: limit, ratio: true, atLeast: true} }

// String is empty if there is no limit.
func (w Want) String() string {
	if w.limit == 0 {
		return ""
	}
	text := "<= "
	if w.atLeast {
		text = ">= "
	}
	text += short(w.limit)
	if w.ratio {
		text += " times"
	}
	return text
}

// Add appends a value, and what was measured in turn with it if that is given.
func (r *Row) Add(value float64, reference ...float64) {
	r.Values = append(r.Values, value)
	r.Reference = append(r.Reference, reference...)
}

// Ratios are the values divided by the reference, in pairs if there are as many of both.
func (r Row) Ratios() []float64 {
	if len(r.Reference) == 0 {
		return nil
	}
	ratios := make([]float64, len(r.Values))
	for i, v := range r.Values {
		reference := Median(r.Reference)
		if len(r.Reference) == len(r.Values) {
			reference = r.Reference[i]
		}
		ratios[i] = v / reference
	}
	return ratios
}

// Verdict is "pass", "miss" or "too noisy". It is empty if there is no limit.
func (r Row) Verdict() string {
	if r.Want.limit == 0 {
		return ""
	}
	steady := r.Steady
	if steady == nil {
		steady = r.Reference
	}
	if len(steady) > 0 && slices.Max(steady) > maxVariation*slices.Min(steady) {
		return "too noisy"
	}
	measured := Median(r.Values)
	if r.Want.ratio {
		measured = Median(r.Ratios())
	}
	if measured == r.Want.limit || measured > r.Want.limit == r.Want.atLeast {
		return "pass"
	}
	return "miss"
}

// Print writes rows as a table. Each figure is a median, with the least and the greatest value.
func Print(w io.Writer, title string, rows []Row) {
	fmt.Fprintf(w, "\n%s\n", title)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  \tmeasured\treference\tratio\twanted\tverdict")
	for _, r := range rows {
		reference := ""
		if len(r.Reference) > 0 {
			reference = spread(r.Reference) + " " + r.Against
		}
		fmt.Fprintf(table, "  %s\t%s %s\t%s\t%s\t%s\t%s\n", r.Name, spread(r.Values), r.Unit,
			reference, spread(r.Ratios()), r.Want, r.Verdict())
	}
	_ = table.Flush() // w's errors are those of standard output
}

// Lines writes rows in the format of Go's benchmarks, a line for each value, for benchstat.
func Lines(w io.Writer, table string, rows []Row) {
	for _, r := range rows {
		ratios := r.Ratios()
		name := "Benchmark" + strings.ToUpper(table[:1]) + table[1:] + "/" + dashed(r.Name)
		for i, v := range r.Values {
			fmt.Fprintf(w, "%s 1 %g %s", name, v, dashed(r.Unit))
			if ratios != nil {
				fmt.Fprintf(w, " %g ratio", ratios[i])
			}
			fmt.Fprintln(w)
		}
	}
}

// dashed makes one word of a text.
func dashed(text string) string {
	return strings.ReplaceAll(strings.NewReplacer(":", "", ",", "").Replace(text), " ", "-")
}

// Median returns the middle value, or the mean of the two.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Percentile returns the value which that share of all values does not exceed.
func Percentile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// spread is the median, with the least and the greatest value if these differ.
func spread(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	text := short(Median(values))
	if least, greatest := short(slices.Min(values)), short(slices.Max(values)); least != greatest {
		text += " (" + least + "–" + greatest + ")"
	}
	return text
}

// short has three digits, or all those before the point.
func short(v float64) string {
	if v >= 100 || v <= -100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
