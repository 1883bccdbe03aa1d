package natsconf_test

import (
	"strings"
	"testing"

	"nats-account-server/internal/natsconf"
)

// FuzzParse looks for texts that make the parser panic or hang, for errors without a position in
// the text, and for texts that nats-server reads differently for no known reason.
func FuzzParse(f *testing.F) {
	for _, text := range corpusTexts(f) {
		f.Add(text)
	}
	for _, group := range differences {
		for _, d := range group.texts {
			f.Add(d.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		// With variables that refer to maps, a small text can be a very large tree. An include may
		// find any file.
		if len(text) > 2000 || strings.Count(text, "$") > 6 ||
			strings.Contains(strings.ToLower(text), "include") {
			_, err := natsconf.Parse("", text)
			if err != nil && err.(*natsconf.Error).Pos.Line < 1 {
				t.Errorf("no position: %v", err)
			}
			return
		}
		checkAgainstOracle(t, text)
	})
}
