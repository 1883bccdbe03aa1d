package httpapi

import (
	_ "embed"
	"net/http"
)

// helpPage begins with an empty line, as the original's does.
//
//go:embed help.md
var helpPage string

// getHelp serves the page about all routes.
func getHelp(w http.ResponseWriter, _ *http.Request, _ string) error {
	send(w, http.StatusOK, typeBare, helpPage)
	return nil
}
