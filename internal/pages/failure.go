package pages

import (
	"net/http"
	"strings"
)

// failure is what the page for an error shows.
type failure struct {
	Title string
	Lines []string
}

// failureTitles are sentences for statuses. They say what it means for a person; the text from
// httpapi says what to do.
var failureTitles = map[int]string{
	http.StatusUnauthorized:       "This page needs a user and a password",
	http.StatusForbidden:          "This user may not see this page",
	http.StatusNotFound:           "There is nothing here",
	http.StatusTooManyRequests:    "Too many attempts to log in",
	http.StatusServiceUnavailable: "This can't be shown now",
}

// failureOf describes an error. text is what other clients get. It may repeat a name or a path that
// the client has sent, so it is shown as Name does. Empty lines are left out.
func failureOf(status int, text string) failure {
	f := failure{Title: failureTitles[status]}
	if f.Title == "" {
		f.Title = "This can't be shown"
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			f.Lines = append(f.Lines, Name(line))
		}
	}
	return f
}
