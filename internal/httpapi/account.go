package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/monitor"
)

// getAccount serves an account's JWT. The order is the original's: text comes before decode, and
// either before everything below. An expired JWT with check is a 404 even if the client knows it,
// and a 304 announces nothing. key is "" for a segment that is no account key.
func (a *API) getAccount(w http.ResponseWriter, r *http.Request, key string) error {
	f := flagsOf(r)
	switch {
	// The answer is the original's.
	case f.value("jti") != "":
		return errJTI
	// What stands in the path can be no key of an account, so nothing is looked up.
	case key == "":
		return accounts.ErrNotFound
	}
	a.log.trace(r, "request for JWT for - ", key)
	switch {
	case f.set("history"):
		return a.sendHistory(w, r, key)
	case f.asText():
		return a.showAccount(w, r, key, f)
	}
	account, err := a.Accounts.Get(r.Context(), key)
	switch {
	case err != nil:
		a.countRead(err)
		return err
	// It asks about the announcement, so it is no read of the JWT.
	case f.set("delivery"):
		return a.sendDelivery(w, r, account, f)
	}
	return a.answerAccount(w, r, account, f)
}

// answerAccount sends the JWT that was asked for, unless the client has it or does not want it.
func (a *API) answerAccount(
	w http.ResponseWriter, r *http.Request, account *accounts.Account, f flags,
) error {
	a.Metrics.Served(account.Key, account.Expires)
	switch {
	// A JWT without an end never expires.
	case f.set("check") && account.Expires > 0 && account.Expires <= a.Now().Unix():
		a.countRead(errExpired)
		return errExpired
	case isKnown(r, account.ETag):
		a.Metrics.Read(monitor.HTTP, monitor.NotModified)
		w.WriteHeader(http.StatusNotModified)
		return nil
	case f.set("notify"):
		a.log.trace(r, "trying to send notification for - ", account.Key)
		// The request counts even if the client has left.
		err := a.Accounts.Announce(context.WithoutCancel(r.Context()), account.Key)
		if err != nil {
			return err
		}
	}
	// The lines at TRC are the original's, with its dashes.
	a.log.trace(r, "returning JWT for - ", account.Key)
	a.countRead(nil)
	a.sendJWT(w, account)
	return nil
}

// showAccount sends what is stored for an account, verified or not. The text is sent as text/plain
// with what GetRaw has, also if it is damaged.
func (a *API) showAccount(w http.ResponseWriter, r *http.Request, key string, f flags) error {
	stored, err := a.Accounts.GetRaw(r.Context(), key)
	a.countRead(err)
	if err != nil {
		return err
	}
	form := "JWT"
	if !f.set("text") {
		form = "decoded JWT"
	}
	a.log.trace(r, "returning "+form+" as text for - ", key)
	return sendText(w, stored, f)
}

// sendJWT sends a JWT with what caches need. It is the answer that is sent most, so it allocates
// little. Headers of CORS are set already. The bytes are those of the store, and must not be
// changed.
func (a *API) sendJWT(w http.ResponseWriter, account *accounts.Account) {
	// One allocation has the values of all headers. The names are in their canonical form.
	values := [...]string{
		account.ETag, cacheControl(account.Expires, a.Now()),
		strconv.Itoa(len(account.JWT)), typeJWT,
	}
	h := w.Header()
	for i, name := range [...]string{"Etag", "Cache-Control", "Content-Length", "Content-Type"} {
		h[name] = values[i : i+1 : i+1]
	}
	_, _ = w.Write(account.JWT) // an error means that the client has left
}

// staleForAnHour lets a cache serve an older JWT while it asks for the current one, and while this
// server does not answer. See RFC 5861. A revocation is not late by it: nats-servers are told of
// changes over NATS.
const staleForAnHour = ", stale-while-revalidate=3600, stale-if-error=3600"

// cacheControl lets a JWT be kept until it expires. expires is in Unix seconds. A JWT that never
// expires (0) is asked for again each time, and so is one that has expired. The original sends a
// negative age for that, which not every cache understands. Example: "max-age=86399,
// stale-while-revalidate=3600, stale-if-error=3600".
func cacheControl(expires int64, now time.Time) string {
	left := expires - now.Unix()
	if now.Nanosecond() > 0 {
		left-- // whole seconds only
	}
	if expires <= 0 || left <= 0 {
		return "max-age=0" + staleForAnHour // a constant: it costs no allocation
	}
	return "max-age=" + strconv.FormatInt(left, 10) + staleForAnHour
}
