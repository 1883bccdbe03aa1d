package pages

import (
	"cmp"
	"net/http"
	"strings"
)

// failure is what the page for an error shows.
type failure struct {
	Title string
	Lines []string
}

// failureTitles are sentences for statuses. They say what it means for a person; the text from
// httpapi says what to do. A status that is not here has a title that fits all.
var failureTitles = map[int]string{
	http.StatusUnauthorized:       "This page needs a user and a password",
	http.StatusForbidden:          "This user may not see this page",
	http.StatusNotFound:           "There is nothing here",
	http.StatusTooManyRequests:    "Too many attempts to log in",
	http.StatusServiceUnavailable: "This can't be shown now",
}

// Failure returns the page for an error. text is what other clients get; each of its lines is a
// paragraph, and empty ones are left out. It may repeat a name or a path that the client has sent,
// so it is shown as Name does.
func Failure(status int, text string) Page {
	f := failure{Title: cmp.Or(failureTitles[status], "This can't be shown")}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			f.Lines = append(f.Lines, Name(line))
		}
	}
	return Page{Title: f.Title, Main: main("failure", f)}
}
