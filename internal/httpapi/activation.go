package httpapi

import (
	"context"
	"net/http"

	"nats-account-server/internal/activations"
)

// postActivation stores an activation token. As the original's, a 200 has no body.
func (a *API) postActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	token, err := a.readBody(w, r, "")
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // as for an account
	activation, changed, err := a.Activations.Put(ctx, token, originOf(r))
	if err != nil {
		return err
	}
	a.Activations.Announce(activation, changed)
	sendEmpty(w, http.StatusOK)
	return nil
}

// getActivation serves an activation token like an account's JWT, but without check.
func (a *API) getActivation(w http.ResponseWriter, r *http.Request, hash string) error {
	if hash == "" {
		return activations.ErrNotFound
	}
	f := flagsOf(r)
	if f.asText() {
		token, err := a.Activations.GetRaw(r.Context(), hash)
		if err != nil {
			return err
		}
		return sendText(w, token, f)
	}
	activation, err := a.Activations.Get(r.Context(), hash)
	switch {
	case err != nil:
		return err
	case isKnown(r.Header["If-None-Match"], activation.ETag):
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.set("notify") {
		a.Activations.Announce(activation, false)
	}
	a.sendJWT(w, &activation.Account)
	return nil
}
