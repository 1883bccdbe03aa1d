package natsconf_test

import (
	"strings"
	"testing"

	"nats-account-server/internal/natsconf"
)

// FuzzParse looks for texts that make the parser panic or hang, for errors that stand nowhere, and for texts that
// mean something else to nats-server for no known reason.
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
		// A variable that names a map with variables that name maps makes a small text a large tree, and an include
		// may find anything.
		if len(text) > 2000 || strings.Count(text, "$") > 6 || strings.Contains(strings.ToLower(text), "include") {
			_, err := natsconf.Parse("", text)
			if err != nil && err.(*natsconf.Error).Pos.Line < 1 {
				t.Errorf("no position: %v", err)
			}
			return
		}
		checkAgainstOracle(t, text)
	})
}
