package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"nats-account-server/internal/activations"
	"nats-account-server/internal/trust"
)

// postActivation stores an activation token. As the original's, a 200 has no body.
func (a *API) postActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	token, err := a.readBody(w, r, "")
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // as for an account
	activation, changed, err := a.activations.Put(ctx, token, originOf(r))
	if err != nil {
		return err
	}
	a.activations.Announce(activation, changed)
	sendEmpty(w, http.StatusOK)
	return nil
}

// getActivation serves an activation token like an account's JWT, but without check.
func (a *API) getActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	hash := strings.TrimPrefix(r.URL.Path, pathActivation)
	err := a.serveActivation(w, r, hash, flagsOf(r))
	if errors.Is(err, activations.ErrNotFound) && trust.IsActivationHash(hash) {
		return &unknownActivationError{hash, err}
	}
	return err
}

// serveActivation sends the token with this hash as the flags say. hash may be anything.
func (a *API) serveActivation(w http.ResponseWriter, r *http.Request, hash string, f flags) error {
	if f.set("text") || f.set("decode") {
		token, err := a.activations.GetRaw(r.Context(), hash)
		if err != nil {
			return err
		}
		return sendText(w, token, f)
	}
	activation, err := a.activations.Get(r.Context(), hash)
	switch {
	case err != nil:
		return err
	case isKnown(r.Header["If-None-Match"], activation.ETag):
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.set("notify") {
		a.activations.Announce(activation, false)
	}
	a.sendJWT(w, &activation.Account)
	return nil
}

// unknownActivationError names the unknown hash, for the log.
type unknownActivationError struct {
	hash string
	err  error
}

// Error names the hash, which must be a valid one.
func (e *unknownActivationError) Error() string {
	return "unable to find requested activation JWT for " + e.hash + " - " + e.err.Error()
}

// Unwrap lets the table of answers find activations.ErrNotFound.
func (e *unknownActivationError) Unwrap() error { return e.err }
