package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
)

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
