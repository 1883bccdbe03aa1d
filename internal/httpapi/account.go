package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	typeJWT  = "application/jwt"
	typeText = "text/plain; charset=utf-8"
	typeBare = "text/plain" // where the original says no more than that
	typeHTML = "text/html; charset=utf-8"
)

// Shared by all answers, never appended to.
var (
	jwtType = []string{typeJWT}
	noCache = map[string]string{
		"Cache-Control": "no-cache, no-store, must-revalidate",
		"Pragma":        "no-cache",
		"Expires":       "0",
	}
)

// flags are the query parameters that account and operator routes know.
type flags struct {
	jti                         bool // there is one, whatever it says
	text, decode, check, notify bool
	delivery, verify            bool
}

func readFlags(r *http.Request) (f flags) {
	if r.URL.RawQuery == "" {
		return f
	}
	q := r.URL.Query()
	f.jti = q.Get("jti") != ""
	f.text = isTrue(q, "text")
	f.decode = isTrue(q, "decode")
	f.check = isTrue(q, "check")
	f.notify = isTrue(q, "notify")
	f.delivery = isTrue(q, "delivery")
	f.verify = isTrue(q, "verify")
	return f
}

func isTrue(q url.Values, name string) bool { return strings.EqualFold(q.Get(name), "true") }

// getProbe answers what nats-server asks when it starts: whether its resolver URL leads here.
func (a *API) getProbe(w http.ResponseWriter, r *http.Request, _ string) error {
	for name, value := range noCache {
		w.Header().Set(name, value)
	}
	sendEmpty(w, http.StatusOK)
	a.traceKey(r, "server sent resolver check", "")
	return nil
}

func getHealth(w http.ResponseWriter, _ *http.Request, _ string) error {
	sendEmpty(w, http.StatusOK)
	return nil
}

// getAccount serves an account's JWT. The order is the original's: text beats decode, either beats everything
// after it, an expired JWT beats a 304, and a 304 keeps notify from happening.
func (a *API) getAccount(w http.ResponseWriter, r *http.Request, key string) error {
	f := readFlags(r)
	if f.jti {
		return errJTI
	}
	if key == "" {
		return accounts.ErrNotFound
	}
	a.traceKey(r, "request for JWT for - ", key)
	if f.text || f.decode {
		return a.inspect(w, r, key, f)
	}
	account, err := a.gate.Get(r.Context(), key)
	if err != nil {
		return err
	}
	if f.delivery {
		return a.sendDelivery(w, r, account, f.verify)
	}
	return a.serveAccount(w, r, account, f)
}

// inspect shows what is stored, whatever it is.
func (a *API) inspect(w http.ResponseWriter, r *http.Request, key string, f flags) error {
	stored, err := a.gate.GetRaw(r.Context(), key)
	if err != nil {
		return err
	}
	if f.text {
		a.traceKey(r, "returning JWT as text for - ", key)
		send(w, http.StatusOK, typeBare, string(stored))
		return nil
	}
	a.traceKey(r, "returning decoded JWT as text for - ", key)
	return sendDecoded(w, stored)
}

func sendDecoded(w http.ResponseWriter, token []byte) error {
	text, err := decode(token)
	if err != nil {
		return err
	}
	send(w, http.StatusOK, typeBare, text)
	return nil
}

func (a *API) serveAccount(w http.ResponseWriter, r *http.Request, account *accounts.Account, f flags) error {
	if f.check && account.Expires > 0 && account.Expires <= a.now().Unix() {
		return errExpired
	}
	if isKnown(r.Header["If-None-Match"], account.ETag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if f.notify {
		if err := a.announce(r, account.Key); err != nil {
			return err
		}
	}
	a.traceKey(r, "returning JWT for - ", account.Key)
	a.sendJWT(w, account)
	return nil
}

func (a *API) announce(r *http.Request, key string) error {
	a.traceKey(r, "trying to send notification for - ", key)
	// A client that leaves now has asked for it all the same.
	return a.gate.Announce(context.WithoutCancel(r.Context()), key)
}

// isKnown says whether the client has this version. As with the original the ETag may stand anywhere, also weak or
// in a list; "*" does not match.
func isKnown(ifNoneMatch []string, etag string) bool {
	for _, v := range ifNoneMatch {
		if strings.Contains(v, etag) {
			return true
		}
	}
	return false
}

// sendJWT is the hot path: one allocation for all values that differ, keys in net/http's own spelling.
func (a *API) sendJWT(w http.ResponseWriter, account *accounts.Account) {
	h := w.Header()
	values := []string{account.ETag, cacheControl(account.Expires, a.now()), strconv.Itoa(len(account.JWT))}
	h["Etag"] = values[0:1:1]
	h["Cache-Control"] = values[1:2:2]
	h["Content-Length"] = values[2:3:3]
	h["Content-Type"] = jwtType
	_, _ = w.Write(account.JWT) // an error means that the client has left
}

const staleForAnHour = ", stale-while-revalidate=3600, stale-if-error=3600"

// cacheControl lets a JWT be kept until it expires. One that never does is asked for again each time, as is one
// that has expired: the original's negative ages mean the same to a cache that does not choke on them.
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

// getOperator serves the operator's JWT; text and decode work as for accounts.
func (a *API) getOperator(w http.ResponseWriter, r *http.Request, _ string) error {
	f := readFlags(r)
	switch {
	case f.text:
		send(w, http.StatusOK, typeBare, string(a.operator))
	case f.decode:
		return sendDecoded(w, a.operator)
	default:
		send(w, http.StatusOK, typeJWT, string(a.operator))
	}
	return nil
}

// sendEmpty says that there is no body; HEAD would leave that open.
func sendEmpty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// send writes a whole answer. HEAD gets the same Content-Length.
func send(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // an error means that the client has left
}
