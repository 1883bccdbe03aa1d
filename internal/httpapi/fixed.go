package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
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

// getHealth answers as long as the server is up: it asks neither the store nor NATS.
func getHealth(w http.ResponseWriter, _ *http.Request, _ string) error {
	sendEmpty(w, http.StatusOK)
	return nil
}

// getProbe answers what nats-server asks when it starts: whether its resolver URL leads here. One
// that is refused is started again later; one that does not find its accounts would run without
// them.
func (a *API) getProbe(w http.ResponseWriter, r *http.Request, _ string) error {
	if a.Incomplete() {
		return errIncomplete
	}
	forbidCaching(w.Header())
	sendEmpty(w, http.StatusOK)
	a.log.trace(r, "server sent resolver check", "")
	return nil
}

// getOperator serves the operator's JWT. text and decode work as for accounts.
func (a *API) getOperator(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	switch {
	// With an Authorizer, only those who log in get here.
	case a.Secret && a.Authorizer == nil:
		return errSecret
	case f.asText():
		return sendText(w, a.Operator, f)
	}
	send(w, http.StatusOK, typeJWT, string(a.Operator))
	return nil
}

// openAPI describes all routes for programs. TestMain compares it with what the handlers answered
// in all tests: each of its routes, statuses, headers and parameters must have been seen, and no
// other.
//
//go:embed openapi.json
var openAPI string

// openAPITag is its ETag.
var openAPITag = fmt.Sprintf("\"%x\"", sha256.Sum256([]byte(openAPI)))

// getOpenAPI serves it. A cache asks each time whether it is still the same.
func getOpenAPI(w http.ResponseWriter, r *http.Request, _ string) error {
	if isKnown(r, openAPITag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Etag", openAPITag)
	w.Header().Set("Cache-Control", "no-cache")
	send(w, http.StatusOK, typeJSON, openAPI)
	return nil
}
