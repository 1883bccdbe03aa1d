package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// Values of the header Content-Type.
const (
	typeJWT  = "application/jwt"
	typeText = "text/plain; charset=utf-8"
	typeBare = "text/plain" // where the original sends no charset
	typeHTML = "text/html; charset=utf-8"
)

// jwtType is shared by all answers, so it must not be appended to.
var jwtType = []string{typeJWT}

// flags are the query parameters of a request. A flag is set if its value is "true", in any case.
type flags url.Values

// flagsOf returns nil if there is no query, as in nearly all requests: that costs nothing.
func flagsOf(r *http.Request) flags {
	if r.URL.RawQuery == "" {
		return nil
	}
	return flags(r.URL.Query())
}

// set reports whether a flag is set.
func (f flags) set(name string) bool { return strings.EqualFold(f.value(name), "true") }

// value is the first value of a parameter, "" if there is none.
func (f flags) value(name string) string { return url.Values(f).Get(name) }

// getProbe answers what nats-server asks when it starts: whether its resolver URL leads here.
func (a *API) getProbe(w http.ResponseWriter, r *http.Request, _ string) error {
	forbidCaching(w.Header())
	sendEmpty(w, http.StatusOK)
	a.log.trace(r, "server sent resolver check", "")
	return nil
}

// forbidCaching is for what may be different a moment later.
func forbidCaching(h http.Header) {
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
}

// getHealth answers as long as the server is up: it asks neither the store nor NATS.
func getHealth(w http.ResponseWriter, _ *http.Request, _ string) error {
	sendEmpty(w, http.StatusOK)
	return nil
}

// getAccount serves an account's JWT. The order is the original's: text comes before decode, and
// either before everything below. An expired JWT with check is a 404 even if the client knows it,
// and a 304 announces nothing.
func (a *API) getAccount(w http.ResponseWriter, r *http.Request, key string) error {
	f := flagsOf(r)
	switch {
	case f.value("jti") != "":
		return errJTI
	case key == "":
		return accounts.ErrNotFound
	}
	a.log.trace(r, "request for JWT for - ", key)
	if f.set("text") || f.set("decode") {
		return a.showStored(w, r, key, f)
	}
	account, err := a.accounts.Get(r.Context(), key)
	switch {
	case err != nil:
		return err
	case f.set("delivery"):
		return a.sendDelivery(w, r, account, f.set("verify"))
	case f.set("check") && account.Expires > 0 && account.Expires <= a.now().Unix():
		return errExpired
	case isKnown(r.Header["If-None-Match"], account.ETag):
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.set("notify") {
		a.log.trace(r, "trying to send notification for - ", key)
		// The request counts even if the client has left.
		if err := a.accounts.Announce(context.WithoutCancel(r.Context()), key); err != nil {
			return err
		}
	}
	a.log.trace(r, "returning JWT for - ", key)
	a.sendJWT(w, account)
	return nil
}

// showStored sends what is stored for an account, verified or not.
func (a *API) showStored(w http.ResponseWriter, r *http.Request, key string, f flags) error {
	stored, err := a.accounts.GetRaw(r.Context(), key)
	if err != nil {
		return err
	}
	if f.set("text") {
		a.log.trace(r, "returning JWT as text for - ", key)
	} else {
		a.log.trace(r, "returning decoded JWT as text for - ", key)
	}
	return sendText(w, stored, f)
}

// sendText sends a JWT as text, or decoded if only that is asked for.
func sendText(w http.ResponseWriter, token []byte, f flags) error {
	text := string(token)
	if !f.set("text") {
		var err error
		if text, err = decode(token); err != nil {
			return err
		}
	}
	send(w, http.StatusOK, typeBare, text)
	return nil
}

// isKnown reports whether the client has this version. As with the original the ETag may stand
// anywhere, also weak or in a list. "*" does not match.
func isKnown(ifNoneMatch []string, etag string) bool {
	return slices.ContainsFunc(ifNoneMatch, func(v string) bool {
		return strings.Contains(v, etag)
	})
}

// sendJWT is the hot path. All values that differ share one allocation, and the keys have
// net/http's own spelling.
func (a *API) sendJWT(w http.ResponseWriter, account *accounts.Account) {
	h := w.Header()
	values := []string{account.ETag, cacheControl(account.Expires, a.now()),
		strconv.Itoa(len(account.JWT))}
	h["Etag"] = values[0:1:1]
	h["Cache-Control"] = values[1:2:2]
	h["Content-Length"] = values[2:3:3]
	h["Content-Type"] = jwtType
	_, _ = w.Write(account.JWT) // an error means that the client has left
}

// staleForAnHour lets a cache serve an older JWT while it asks for the current one, and while this
// server does not answer.
const staleForAnHour = ", stale-while-revalidate=3600, stale-if-error=3600"

// cacheControl lets a JWT be kept until it expires. One that never expires is asked for again each
// time, and so is one that has expired. The original sends a negative age for that, which not every
// cache understands.
func cacheControl(expires int64, now time.Time) string {
	left := int64(0)
	if expires > 0 {
		left = max(0, expires-now.Unix())
	}
	if left > 0 && now.Nanosecond() > 0 {
		left-- // whole seconds only
	}
	if left == 0 {
		return "max-age=0" + staleForAnHour
	}
	value := make([]byte, 0, 80)
	value = append(value, "max-age="...)
	value = strconv.AppendInt(value, left, 10)
	return string(append(value, staleForAnHour...))
}

// getOperator serves the operator's JWT. text and decode work as for accounts.
func (a *API) getOperator(w http.ResponseWriter, r *http.Request, _ string) error {
	if f := flagsOf(r); f.set("text") || f.set("decode") {
		return sendText(w, a.operator, f)
	}
	send(w, http.StatusOK, typeJWT, string(a.operator))
	return nil
}

// sendEmpty sends an answer without a body. It has a Content-Length, since an answer to HEAD would
// leave that open.
func sendEmpty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// send sends a whole answer. One to HEAD has the same Content-Length.
func send(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // an error means that the client has left
}
