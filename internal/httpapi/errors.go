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
		"and this server asks nobody for credentials")

	errHeader = errors.New("error unmarshalling account claim header")
	errClaim  = errors.New("error decoding account claim")
	errTokens = errors.New("error marshalling account tokens")
)

// primaryError is the answer to a push on a server that follows another one.
type primaryError struct{ url string }

func (e *primaryError) Error() string {
	return textMethod + "\nthis server follows " + e.url + ": push there"
}

// noRouteError says that no route has the path. hint names the URL that was probably meant.
type noRouteError struct{ hint string }

func (e *noRouteError) Error() string { return "404 page not found\n" + e.hint }

const (
	textMethod   = "Method Not Allowed"
	textInternal = "internal server error"
	textBlocked  = "The server was unable to update your account JWT. " +
		"One more more validation issues occurred."
)

// row says how one kind of error is answered.
type row struct {
	find   finder
	status int
	form   form
	quiet  bool // it is no concern of the operator: a DBG line instead of an ERR line
}

// form is how an answer is presented.
type form int

const (
	bare form = iota // as text/plain without a charset, where the original sends that
	page             // as http.Error does: with a charset and against content sniffing
)

// finder reports whether an error is of its kind. text is for the client, detail only for the log.
type finder func(err error) (text, detail string, found bool)

// answers is the one table of status codes. The first row that finds an error answers it.
var answers = []row{
	{find: is(accounts.ErrNotFound), status: http.StatusNotFound},
	{find: is(errPack), status: http.StatusInternalServerError},
	{find: as(accounts.ErrUnreadable, "error loading JWT"), status: http.StatusServiceUnavailable},
	// The registry has logged a damaged file when it first read it.
	{find: as(accounts.ErrDamaged, "error loading JWT"), status: http.StatusInternalServerError,
		quiet: true},
	{find: is(accounts.ErrAnnounce), status: http.StatusInternalServerError},

	{find: is(accounts.ErrBadJWT), status: http.StatusBadRequest},
	{find: is(accounts.ErrMismatch), status: http.StatusBadRequest},
	{find: is(accounts.ErrBadSubject), status: http.StatusBadRequest},
	{find: as(accounts.ErrSelfSigned, "Signing service not enabled"), status: http.StatusBadRequest},
	{find: as(accounts.ErrBadIssuer, "Bad JWT Issuer in request"), status: http.StatusBadRequest},
	{find: is(accounts.ErrUntrusted), status: http.StatusBadRequest},
	{find: is(accounts.ErrBadPair), status: http.StatusBadRequest},
	{find: is(accounts.ErrNotOwn), status: http.StatusBadRequest},
	{find: saving(accounts.ErrSave), status: http.StatusInternalServerError},
	{find: blocked, status: http.StatusBadRequest, form: page},
	{find: typed[*accounts.OlderError], status: http.StatusConflict},
	{find: typed[*accounts.DeletedError], status: http.StatusConflict},
	{find: typed[*accounts.FutureError], status: http.StatusBadRequest},
	{find: typed[*accounts.TooLargeError], status: http.StatusRequestEntityTooLarge},
	{find: typed[*accounts.SignError], status: http.StatusInternalServerError, form: page},

	{find: is(activations.ErrBadJWT), status: http.StatusBadRequest},
	{find: is(activations.ErrIssuer), status: http.StatusBadRequest},
	{find: is(activations.ErrSubject), status: http.StatusBadRequest},
	{find: is(activations.ErrHash), status: http.StatusBadRequest},
	{find: is(activations.ErrTooLarge), status: http.StatusRequestEntityTooLarge},
	{find: saving(activations.ErrSave), status: http.StatusInternalServerError},
	{find: as(activations.ErrNotFound, "No Matching JWT"), status: http.StatusNotFound, form: page},

	// The rate limiter of package auth logs failed logins.
	{find: is(auth.ErrNoCredentials), status: http.StatusUnauthorized, quiet: true},
	{find: is(auth.ErrBadCredentials), status: http.StatusUnauthorized, quiet: true},
	{find: is(auth.ErrForbidden), status: http.StatusForbidden, quiet: true},
	{find: is(errSecret), status: http.StatusForbidden, quiet: true},
	{find: later(true), status: http.StatusTooManyRequests, quiet: true},
	{find: later(false), status: http.StatusServiceUnavailable, quiet: true},

	{find: as(errBrokenOff, accounts.ErrBadJWT.Error()), status: http.StatusBadRequest, quiet: true},
	{find: is(errTooLarge), status: http.StatusRequestEntityTooLarge},
	{find: is(errVerifying), status: http.StatusServiceUnavailable},
	{find: is(errPacking), status: http.StatusTooManyRequests},
	{find: typed[*maxError], status: http.StatusBadRequest},
	{find: is(errJTI), status: http.StatusNotImplemented},
	{find: as(errExpired, ""), status: http.StatusNotFound},
	{find: is(errHeader), status: http.StatusInternalServerError},
	{find: is(errClaim), status: http.StatusInternalServerError},
	{find: is(errTokens), status: http.StatusInternalServerError},

	{find: typed[*noRouteError], status: http.StatusNotFound, form: page},
	{find: typed[*primaryError], status: http.StatusMethodNotAllowed, form: page},
	{find: as(errMethod, textMethod), status: http.StatusMethodNotAllowed, form: page, quiet: true},
}

// is finds a sentinel error. The client gets the sentinel's text, the log also what err says beyond
// it.
func is(sentinel error) finder { return as(sentinel, sentinel.Error()) }

// as is like is, with another text for the client. If that is empty, the answer has no body.
func as(sentinel error, text string) finder {
	return func(err error) (string, string, bool) {
		if !errors.Is(err, sentinel) {
			return "", "", false
		}
		whole := err.Error()
		if whole == sentinel.Error() {
			return text, "", true
		}
		return text, strings.TrimPrefix(whole, sentinel.Error()+": "), true
	}
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
func saving(sentinel error) finder {
	find := is(sentinel)
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
	form   form
	text   string // without a line break at its end; "": the answer has no body
	detail string // for the log only
	quiet  bool
}

// answerFor returns the answer to any error. One that the table does not know is a 500.
func answerFor(err error) answer {
	for _, r := range answers {
		if text, detail, found := r.find(err); found {
			// The client has left: that is no concern of the operator either.
			quiet := r.quiet || errors.Is(err, context.Canceled)
			return answer{status: r.status, form: r.form, text: text, detail: detail, quiet: quiet}
		}
	}
	return answer{status: http.StatusInternalServerError, text: textInternal, detail: err.Error(),
		quiet: errors.Is(err, context.Canceled)}
}

func (an answer) write(w http.ResponseWriter) {
	if an.text == "" {
		sendEmpty(w, an.status)
		return
	}
	contentType := typeBare
	if an.form == page {
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
