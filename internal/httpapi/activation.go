package httpapi

import (
	"context"
	"net/http"

	"nats-account-server/internal/activations"
)

// postActivation stores an activation token. The hash and the path are what the token is found by.
// The order is that of an account: read whole, store, announce, answer. A client that has left
// meanwhile has its token stored.
func (a *API) postActivation(w http.ResponseWriter, r *http.Request, _ string) error {
	token, err := a.readOffer(w, r, "")
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // as for an account
	a.extendAnswer(w)
	activation, changed, err := a.Activations.Put(ctx, token, originOf(r))
	if err != nil {
		return err
	}
	// The answer does not wait for this, and does not say what came of it.
	a.Activations.Announce(activation, changed)
	send(w, http.StatusOK, typeText, "stored; its hash is "+activation.Key+", and it is served at "+
		pathActivation+activation.Key+"\n")
	return nil
}

// getActivation serves an activation token like an account's JWT, but without check. A hash that is
// not known is a 404 with the original's text, see errors.go.
func (a *API) getActivation(w http.ResponseWriter, r *http.Request, hash string) error {
	if hash == "" {
		return activations.ErrNotFound
	}
	// The flags check and delivery mean nothing here: a token is not owed to a nats-server.
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
	// As for an account, a 304 announces nothing.
	case isKnown(r, activation.ETag):
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.set("notify") {
		a.Activations.Announce(activation, false)
	}
	// The headers are those of an account's JWT, with the token's own end.
	a.sendJWT(w, &activation.Account)
	return nil
}
