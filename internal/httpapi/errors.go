package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
)

// What this package refuses by itself.
var (
	errJTI       = errors.New("lookup by jti is no longer supported")
	errMethod    = errors.New("method not allowed")
	errExpired   = errors.New("the JWT has expired")
	errTooLarge  = errors.New("request body is larger than 1048576 bytes")
	errBrokenOff = errors.New("the request broke off")
	errVerifying = errors.New("others are asking the nats-servers: try again")
	errPack      = errors.New("error packing JWTs")
	errPacking   = errors.New("a pack is being sent to this address already: try again")
	errSecret    = errors.New("there is a password in the operator JWT, " +
		"and this server asks for no credentials")

	errHeader = errors.New("error unmarshalling account claim header")
	errClaim  = errors.New("error decoding account claim")
	errTokens = errors.New("error marshalling account tokens")
)

// primaryError is the answer to a push on a server that follows another one.
type primaryError struct{ url string }

// Error begins like errMethod's text: clients may look for that.
func (e *primaryError) Error() string {
	return textMethod + "\nthis server follows " + e.url + ": push there"
}

// noRouteError is the answer to a path that no route has. hint names the URL that was probably
// meant.
type noRouteError struct{ hint string }

// Error begins like the answer of net/http.
func (e *noRouteError) Error() string { return "404 page not found\n" + e.hint }

// Texts of the original and of net/http.
const (
	textMethod   = "Method Not Allowed"
	textInternal = "internal server error"
	textBlocked  = "The server was unable to update your account JWT. " +
		"One more more validation issues occurred."
)

// row is how errors of one kind are answered.
type row struct {
	find   finder
	status int
	page   bool // with a charset and against content sniffing, as http.Error does
	quiet  bool // it is no concern of the operator: a DBG line instead of an ERR line
}

// finder reports whether an error is of its kind. text is for the client, detail only for the log.
type finder func(err error) (text, detail string, found bool)

// answers is the one table of status codes. The first row that finds an error answers it. An error
// may wrap others: the order of the rows decides which one counts.
var answers = []row{
	// Reading.
	{find: is(accounts.ErrNotFound), status: http.StatusNotFound},
	{find: as(activations.ErrNotFound, "No Matching JWT"), status: http.StatusNotFound, page: true},
	{find: as(errExpired, ""), status: http.StatusNotFound},
	{find: is(errPack), status: http.StatusInternalServerError},
	{find: as(accounts.ErrUnreadable, "error loading JWT"), status: http.StatusServiceUnavailable},
	// The registry has logged a damaged file when it first read it.
	{find: as(accounts.ErrDamaged, "error loading JWT"), status: http.StatusInternalServerError,
		quiet: true},
	{find: is(accounts.ErrAnnounce, errHeader, errClaim, errTokens),
		status: http.StatusInternalServerError},
	{find: is(errJTI), status: http.StatusNotImplemented},
	{find: typed[*maxError], status: http.StatusBadRequest},
	{find: is(errPacking), status: http.StatusTooManyRequests},
	{find: is(errVerifying), status: http.StatusServiceUnavailable},

	// Pushes.
	{find: is(accounts.ErrBadJWT, accounts.ErrMismatch, accounts.ErrBadSubject,
		accounts.ErrUntrusted, accounts.ErrBadPair, accounts.ErrNotOwn),
		status: http.StatusBadRequest},
	{find: as(accounts.ErrSelfSigned, "Signing service not enabled"),
		status: http.StatusBadRequest},
	{find: as(accounts.ErrBadIssuer, "Bad JWT Issuer in request"), status: http.StatusBadRequest},
	{find: blocked, status: http.StatusBadRequest, page: true},
	{find: typed[*accounts.FutureError], status: http.StatusBadRequest},
	{find: as(errBrokenOff, accounts.ErrBadJWT.Error()), status: http.StatusBadRequest,
		quiet: true},
	{find: is(activations.ErrBadJWT, activations.ErrIssuer, activations.ErrSubject,
		activations.ErrHash), status: http.StatusBadRequest},
	{find: typed[*accounts.OlderError], status: http.StatusConflict},
	{find: typed[*accounts.DeletedError], status: http.StatusConflict},
	{find: typed[*accounts.TooLargeError], status: http.StatusRequestEntityTooLarge},
	{find: is(errTooLarge, activations.ErrTooLarge), status: http.StatusRequestEntityTooLarge},
	{find: saving(accounts.ErrSave, activations.ErrSave), status: http.StatusInternalServerError},
	{find: typed[*accounts.SignError], status: http.StatusInternalServerError, page: true},

	// Credentials. The rate limiter of package auth logs failed logins.
	{find: is(auth.ErrNoCredentials, auth.ErrBadCredentials), status: http.StatusUnauthorized,
		quiet: true},
	{find: is(auth.ErrForbidden, errSecret), status: http.StatusForbidden, quiet: true},
	{find: later(true), status: http.StatusTooManyRequests, quiet: true},
	{find: later(false), status: http.StatusServiceUnavailable, quiet: true},

	// Routes.
	{find: typed[*noRouteError], status: http.StatusNotFound, page: true},
	{find: typed[*primaryError], status: http.StatusMethodNotAllowed, page: true},
	{find: as(errMethod, textMethod), status: http.StatusMethodNotAllowed, page: true, quiet: true},
}

// is finds sentinel errors. The client gets the sentinel's text.
func is(sentinels ...error) finder {
	return func(err error) (text, detail string, found bool) {
		for _, s := range sentinels {
			if errors.Is(err, s) {
				return s.Error(), cause(err, s), true
			}
		}
		return "", "", false
	}
}

// as is like is, with another text for the client. If that is empty, the answer has no body.
func as(sentinel error, text string) finder {
	return func(err error) (string, string, bool) {
		if !errors.Is(err, sentinel) {
			return "", "", false
		}
		return text, cause(err, sentinel), true
	}
}

// cause is the text of err beyond the sentinel that it wraps, "" if that is nothing.
func cause(err, sentinel error) string {
	whole := err.Error()
	if whole == sentinel.Error() {
		return ""
	}
	return strings.TrimPrefix(whole, sentinel.Error()+": ")
}

// typed finds an error of type E. The client gets its text.
func typed[E error](err error) (text, detail string, found bool) {
	e, found := errors.AsType[E](err)
	if !found {
		return "", "", false
	}
	return e.Error(), "", true
}

// saving is like is. The client also gets the reason of the operating system, such as a full disk,
// but no path.
func saving(sentinels ...error) finder {
	find := is(sentinels...)
	return func(err error) (text, detail string, found bool) {
		text, detail, found = find(err)
		if number, ok := errors.AsType[syscall.Errno](err); ok {
			text += ": " + number.Error()
		}
		return text, detail, found
	}
}

// blocked finds a JWT with validation issues. The text is the original's, odd words included:
// scripts may look for it.
func blocked(err error) (text, detail string, found bool) {
	e, found := errors.AsType[*accounts.BlockedError](err)
	if !found {
		return "", "", false
	}
	lines := []string{textBlocked}
	for _, issue := range e.Issues {
		lines = append(lines, "\t - "+issue+"\n")
	}
	return strings.Join(lines, "\n"), "", true
}

// later finds a login that was not looked at, either since its address is slowed down or since
// there are too many.
func later(slowed bool) finder {
	return func(err error) (string, string, bool) {
		e, found := errors.AsType[*auth.RetryError](err)
		if !found || e.Slowed != slowed {
			return "", "", false
		}
		return e.Error(), "", true
	}
}

// answer is what the client gets instead of what it asked for.
type answer struct {
	status int
	page   bool   // see row
	text   string // without a line break at its end; "": the answer has no body
	detail string // for the log only
	quiet  bool
}

// answerFor returns the answer to any error. One that the table does not know is a 500.
func answerFor(err error) answer {
	an := answer{status: http.StatusInternalServerError, text: textInternal, detail: err.Error()}
	for _, r := range answers {
		if text, detail, found := r.find(err); found {
			an = answer{status: r.status, page: r.page, text: text, detail: detail, quiet: r.quiet}
			break
		}
	}
	// That a client leaves is no concern of the operator either.
	an.quiet = an.quiet || errors.Is(err, context.Canceled)
	return an
}

// write sends the answer.
func (an answer) write(w http.ResponseWriter) {
	if an.text == "" {
		sendEmpty(w, an.status)
		return
	}
	contentType := typeBare
	if an.page {
		contentType = typeText
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	send(w, an.status, contentType, an.text+"\n")
}

// fail answers a request that could not be served, and logs it.
func (a *API) fail(w http.ResponseWriter, key string, err error) {
	an := answerFor(err)
	a.log.failure(an, failureLine(key, an, err))
	if an.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="nats-account-server"`)
	}
	if e, found := errors.AsType[*auth.RetryError](err); found {
		w.Header().Set("Retry-After", strconv.Itoa(e.Seconds()))
	}
	an.write(w)
}
