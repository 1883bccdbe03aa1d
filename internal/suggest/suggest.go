// Package suggest compares a misspelt word with a known one. It imports no other package of this
// program, and every package may import it.
package suggest

import "strings"

// Distance returns how many bytes of a must be inserted, removed or changed to get b. Letter case
// is ignored. The time it takes grows with the product of the lengths.
func Distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	// row[j] is the distance from the part of a read so far to b[:j].
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0] // the distance from a[:i] to b[:j]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
