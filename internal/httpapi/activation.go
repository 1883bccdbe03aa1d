package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"nats-account-server/internal/accounts"
)

const (
	pathActivations = "/jwt/v1/activations"
	pathActivation  = "/jwt/v1/activations/" // the hash of a token follows
)

// postActivation lets an activation token in. As the original's, a 200 has no body.
func (a *API) postActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	token, err := readBody(w, r)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // as a push of an account
	activation, _, err := a.gate.Activate(ctx, token, accounts.Source{Door: "http", Address: r.RemoteAddr, User: userOf(r)})
	if err != nil {
		return err
	}
	a.gate.AnnounceActivation(activation)
	sendEmpty(w, http.StatusOK)
	return nil
}

// getActivation serves an activation token like an account's JWT; there is no check.
func (a *API) getActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	hash := strings.TrimPrefix(r.URL.Path, pathActivation)
	f := readFlags(r)
	activation, err := a.gate.LookupActivation(r.Context(), hash)
	switch {
	case errors.Is(err, accounts.ErrNoActivation) && accounts.IsActivationHash(hash):
		return &unknownActivationError{hash}
	case err != nil:
		return err
	}
	switch {
	case f.text:
		send(w, http.StatusOK, typeBare, string(activation.JWT))
		return nil
	case f.decode:
		return sendDecoded(w, activation.JWT)
	case isKnown(r.Header["If-None-Match"], activation.ETag):
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.notify {
		a.gate.AnnounceActivation(activation)
	}
	a.sendJWT(w, &activation.Account)
	return nil
}

// unknownActivationError says of which token the hash is unknown.
type unknownActivationError struct{ hash string }

func (e *unknownActivationError) Error() string {
	return "unable to find requested activation JWT for " + e.hash
}

func (e *unknownActivationError) Unwrap() error { return accounts.ErrNoActivation }
