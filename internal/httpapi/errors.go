package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
)

// What this package refuses by itself.
var (
	errJTI       = errors.New("lookup by jti is no longer supported")
	errMethod    = errors.New("method not allowed")
	errExpired   = errors.New("the JWT has expired")
	errTooLarge  = errors.New("request body is larger than 1048576 bytes")
	errBrokenOff = errors.New("the request broke off")
	errBusy      = errors.New("others are asking the nats-servers: try again")

	errHeader = errors.New("error unmarshalling account claim header")
	errClaim  = errors.New("error decoding account claim")
	errTokens = errors.New("error marshalling account tokens")
)

// elsewhereError says that pushes go to another server.
type elsewhereError struct{ primary string }

func (e *elsewhereError) Error() string {
	return textMethod + "\nthis server follows " + e.primary + ": push there"
}

// strayError says that no route has the path.
type strayError struct {
	hint string // the URL that was probably meant
}

func (*strayError) Error() string { return textNoPage }

const (
	textNoPage   = "404 page not found"
	textMethod   = "Method Not Allowed"
	textInternal = "internal server error"
	textBlocked  = "The server was unable to update your account JWT. One more more validation issues occurred."
)

// table says how each error is answered. An empty text is the error's own, without what it wraps.
var table = []struct {
	err    error
	status int
	text   string
}{
	{accounts.ErrNotFound, http.StatusNotFound, ""},
	{errPack, http.StatusInternalServerError, ""},
	{accounts.ErrUnreadable, http.StatusServiceUnavailable, "error loading JWT"},
	{accounts.ErrDamaged, http.StatusInternalServerError, "error loading JWT"},
	{accounts.ErrAnnounce, http.StatusInternalServerError, ""},

	{accounts.ErrBadJWT, http.StatusBadRequest, ""},
	{accounts.ErrMismatch, http.StatusBadRequest, ""},
	{accounts.ErrBadSubject, http.StatusBadRequest, ""},
	{accounts.ErrSelfSigned, http.StatusBadRequest, "Signing service not enabled"},
	{accounts.ErrBadIssuer, http.StatusBadRequest, "Bad JWT Issuer in request"},
	{accounts.ErrUntrusted, http.StatusBadRequest, ""},
	{accounts.ErrBadPair, http.StatusBadRequest, ""},
	{accounts.ErrNotOwn, http.StatusBadRequest, ""},
	{accounts.ErrSave, http.StatusInternalServerError, ""},
	{accounts.ErrBadActivation, http.StatusBadRequest, ""},
	{accounts.ErrActivationIssuer, http.StatusBadRequest, ""},
	{accounts.ErrActivationSubject, http.StatusBadRequest, ""},
	{accounts.ErrActivationHash, http.StatusBadRequest, ""},
	{accounts.ErrActivationSize, http.StatusRequestEntityTooLarge, ""},
	{accounts.ErrActivationSave, http.StatusInternalServerError, ""},

	{errBusy, http.StatusServiceUnavailable, ""},
	{errPacking, http.StatusTooManyRequests, ""},
	{auth.ErrUnknown, http.StatusUnauthorized, ""},
	{auth.ErrWrong, http.StatusUnauthorized, ""},
	{auth.ErrForbidden, http.StatusForbidden, ""},
	{errSecret, http.StatusForbidden, ""},

	{errBrokenOff, http.StatusBadRequest, accounts.ErrBadJWT.Error()},
	{errTooLarge, http.StatusRequestEntityTooLarge, ""},
	{errJTI, http.StatusNotImplemented, ""},
	{errHeader, http.StatusInternalServerError, ""},
	{errClaim, http.StatusInternalServerError, ""},
	{errTokens, http.StatusInternalServerError, ""},
}

// answer is what the client gets instead of what it asked for.
type answer struct {
	status int
	text   string // a line break is added; "" is an empty body
	page   bool   // with a charset and against sniffing, as http.Error does; else a bare text/plain
	detail string // for the log only
}

// answerFor knows every error that can come up.
func answerFor(err error) answer {
	for _, row := range table {
		if errors.Is(err, row.err) {
			text := row.text
			if text == "" {
				text = row.err.Error()
			}
			if row.err == accounts.ErrSave || row.err == accounts.ErrActivationSave {
				text += reason(err)
			}
			return answer{status: row.status, text: text, detail: cause(err, row.err)}
		}
	}
	if e, ok := errors.AsType[*accounts.BlockedError](err); ok {
		return answer{status: http.StatusBadRequest, text: blockedText(e), page: true}
	}
	if e, ok := errors.AsType[*accounts.OlderError](err); ok {
		return answer{status: http.StatusConflict, text: e.Error()}
	}
	if e, ok := errors.AsType[*accounts.DeletedError](err); ok {
		return answer{status: http.StatusConflict, text: e.Error()}
	}
	if e, ok := errors.AsType[*accounts.FutureError](err); ok {
		return answer{status: http.StatusBadRequest, text: e.Error()}
	}
	if e, ok := errors.AsType[*accounts.TooLargeError](err); ok {
		return answer{status: http.StatusRequestEntityTooLarge, text: e.Error()}
	}
	if e, ok := errors.AsType[*accounts.SignError](err); ok {
		return answer{status: http.StatusInternalServerError, text: e.Error(), page: true}
	}
	if e, ok := errors.AsType[*maxError](err); ok {
		return answer{status: http.StatusBadRequest, text: e.Error()}
	}
	if e, ok := errors.AsType[*auth.LaterError](err); ok {
		return answerLater(e)
	}
	return answerForRoute(err)
}

func answerForRoute(err error) answer {
	if e, ok := errors.AsType[*strayError](err); ok {
		return answer{status: http.StatusNotFound, text: textNoPage + "\n" + e.hint, page: true}
	}
	if e, ok := errors.AsType[*elsewhereError](err); ok {
		return answer{status: http.StatusMethodNotAllowed, text: e.Error(), page: true}
	}
	switch {
	case errors.Is(err, accounts.ErrNoActivation):
		return answer{status: http.StatusNotFound, text: "No Matching JWT", page: true}
	case errors.Is(err, errMethod):
		return answer{status: http.StatusMethodNotAllowed, text: textMethod, page: true}
	case errors.Is(err, errExpired):
		return answer{status: http.StatusNotFound}
	default:
		return answer{status: http.StatusInternalServerError, text: textInternal, detail: err.Error()}
	}
}

// blockedText is the original's, odd words included: scripts may look for it.
func blockedText(e *accounts.BlockedError) string {
	lines := []string{textBlocked}
	for _, issue := range e.Issues {
		lines = append(lines, "\t - "+issue+"\n")
	}
	return strings.Join(lines, "\n")
}

// reason is what the operating system has against it, such as a full disk. It names no path of this machine.
func reason(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return ": " + number.Error()
	}
	return ""
}

// cause is what err says beyond the sentinel it wraps.
func cause(err, sentinel error) string {
	whole := err.Error()
	if whole == sentinel.Error() {
		return ""
	}
	return strings.TrimPrefix(whole, sentinel.Error()+": ")
}

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

// fail answers a request that could not be served, and logs it if that is the operator's concern.
func (a *API) fail(w http.ResponseWriter, r *http.Request, key string, err error) {
	an := answerFor(err)
	line := a.refusal(key, an, err)
	switch {
	case an.status == http.StatusNotFound:
		a.countMissed()
		a.log.Debug(line)
	case isQuiet(err):
		a.log.Debug(line)
	default:
		a.logFailure(line)
	}
	challenge(w.Header(), err)
	an.write(w)
}

// isQuiet says whether an error is none of the operator's: the client left or asked for what is not there. A
// damaged file is the operator's, but the gate has said so when it first saw it; and the desk tells of logins.
func isQuiet(err error) bool {
	return errors.Is(err, errMethod) || errors.Is(err, errBrokenOff) || errors.Is(err, context.Canceled) ||
		errors.Is(err, accounts.ErrDamaged) || isTurnedAway(err)
}
