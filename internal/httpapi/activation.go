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
	src := accounts.Origin{Kind: accounts.KindHTTP, Address: r.RemoteAddr, User: userOf(r)}
	token, err := readBody(w, r)
	if err != nil {
		a.gate.Refuse("", nil, src, unread(err), err)
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // as a push of an account
	activation, changed, err := a.gate.Activate(ctx, token, src)
	if err != nil {
		return err
	}
	a.gate.AnnounceActivation(activation, changed)
	sendEmpty(w, http.StatusOK)
	return nil
}

// getActivation serves an activation token like an account's JWT; there is no check.
func (a *API) getActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	hash := strings.TrimPrefix(r.URL.Path, pathActivation)
	err := a.serveActivation(w, r, hash, readFlags(r))
	if errors.Is(err, accounts.ErrNoActivation) && accounts.IsActivationHash(hash) {
		return &unknownActivationError{hash, err}
	}
	return err
}

func (a *API) serveActivation(w http.ResponseWriter, r *http.Request, hash string, f flags) error {
	if f.text || f.decode {
		token, err := a.gate.GetRawActivation(r.Context(), hash)
		switch {
		case err != nil:
			return err
		case f.decode && !f.text:
			return sendDecoded(w, token)
		}
		send(w, http.StatusOK, typeBare, string(token))
		return nil
	}
	activation, err := a.gate.GetActivation(r.Context(), hash)
	if err != nil {
		return err
	}
	if isKnown(r.Header["If-None-Match"], activation.ETag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.notify {
		a.gate.AnnounceActivation(activation, false)
	}
	a.sendJWT(w, &activation.Account)
	return nil
}

// unknownActivationError says of which token the hash is unknown.
type unknownActivationError struct {
	hash string
	err  error
}

func (e *unknownActivationError) Error() string {
	return "unable to find requested activation JWT for " + e.hash + " - " + e.err.Error()
}

func (e *unknownActivationError) Unwrap() error { return e.err }
