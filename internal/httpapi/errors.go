package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pages"
)

// What this package refuses by itself. Texts that scripts may look for are the original's.
var (
	// Reading.
	errJTI        = errors.New("lookup by jti is no longer supported")
	errExpired    = errors.New("the JWT has expired")
	errIncomplete = errors.New(
		"no account is here yet, and the bucket has not been read: try again")
	errNoHistory = errors.New(
		"this server shares no bucket (store.kv), which would keep a history")
	errVerifying = errors.New("others are asking the nats-servers: try again")
	errPack      = errors.New("error packing JWTs")
	errPacking   = errors.New("a pack is being sent to this address already: try again")
	errPacks     = errors.New("too many packs are being sent: try again")
	errMax       = errors.New("bad max parameter")  // the text goes on, see packLimit
	errWait      = errors.New("bad wait parameter") // the text goes on, see waitOf
	errNumber    = errors.New("bad parameter")      // the same
	errTrying    = errors.New("too many dry runs: try again")
	errNoRoute   = errors.New("404 page not found") // as net/http says; a hint follows
	errSecret    = errors.New("there is a password in the operator JWT, " +
		"and this server asks for no credentials")

	// A method that the route does not have.
	errMethod  = errors.New(http.StatusText(http.StatusMethodNotAllowed))
	errFollows = errors.New(http.StatusText(http.StatusMethodNotAllowed)) // and the primary's URL

	// Bodies that can't be used. A client that breaks off is told what one that is too slow is
	// told.
	errTooLarge = accounts.NewRefusal("too-large", "request body is larger than 1048576 bytes")
	errSlow     = accounts.NewRefusal("broken-off", accounts.ErrBadJWT.Error()+
		"\nit did not arrive whole within the time for a request (http.readtimeout)")
	errBrokenOff = accounts.NewRefusal("broken-off", accounts.ErrBadJWT.Error())
	errBusy      = accounts.NewRefusal("broken-off",
		"too many requests are being read: try again later")

	// What keeps a JWT from being decoded for people.
	errHeader = errors.New("error unmarshalling account claim header")
	errClaim  = errors.New("error decoding account claim")
	errTokens = errors.New("error marshalling account tokens")
)

// textInternal is the answer to an error that the table does not know, and to a panic.
const textInternal = "internal server error"

// textBlocked is the original's, odd words included: scripts may look for it.
const textBlocked = "The server was unable to update your account JWT. " +
	"One more more validation issues occurred."

// row is how errors of one kind are answered. The text of the error that find returns is what the
// client may know. What wraps that error, or is wrapped beside it, is for the log.
type row struct {
	find   finder
	status int
	// text is for the client. "" means the text of the error that was found.
	text string
	form form
	// why is set if a second line tells the client what the error says beyond the text. That is
	// about the JWT only.
	why bool
	// quiet is set if it is no concern of the operator: a DBG line instead of an ERR line.
	quiet bool
}

// form is how a text is sent. The zero value is bare, which most answers have.
type form int

const (
	bare  form = iota // without a charset, as the original does
	page              // with a charset and against content sniffing, as http.Error does
	empty             // not at all
)

// finder returns the error of its kind that err is or wraps, nil if there is none. It changes
// nothing, and is called for errors only.
type finder func(err error) error

// answers is the one table of status codes. The first row that finds an error answers it. An error
// may wrap others: the order of the rows decides which one counts.
var answers = []row{
	// Reading.
	{find: is(accounts.ErrNotFound, errNoHistory), status: http.StatusNotFound},
	{find: is(activations.ErrNotFound), status: http.StatusNotFound,
		text: "No Matching JWT", form: page},
	{find: is(errExpired), status: http.StatusNotFound, form: empty},
	{find: is(errPack), status: http.StatusInternalServerError},
	// The client of package resolver logs that other servers don't answer.
	{find: is(accounts.ErrPeers), status: http.StatusServiceUnavailable,
		text: "other servers may have this account, but can't tell now: try again", quiet: true},
	{find: is(accounts.ErrBucket), status: http.StatusServiceUnavailable},
	{find: is(accounts.ErrUnreadable), status: http.StatusServiceUnavailable,
		text: "error loading JWT"},
	// The registry has logged a damaged file when it first read it.
	{find: is(accounts.ErrDamaged), status: http.StatusInternalServerError,
		text: "error loading JWT", quiet: true},
	{find: is(accounts.ErrAnnounce, errHeader, errClaim, errTokens),
		status: http.StatusInternalServerError},
	{find: is(errJTI), status: http.StatusNotImplemented},
	{find: whole(errMax, errNumber, errWait), status: http.StatusBadRequest},
	{find: is(errIncomplete), status: http.StatusServiceUnavailable, quiet: true},
	{find: is(errPacking), status: http.StatusTooManyRequests},
	{find: is(errTrying), status: http.StatusTooManyRequests, quiet: true},
	{find: is(errVerifying, errPacks), status: http.StatusServiceUnavailable},
	{find: is(pages.ErrStreams, pages.ErrBusy), status: http.StatusServiceUnavailable, quiet: true},

	// Pushes.
	{find: is(accounts.ErrBadJWT, accounts.ErrMismatch, accounts.ErrBadSubject,
		accounts.ErrUntrusted, accounts.ErrIdentityKey, accounts.ErrBadPair, accounts.ErrNotOwn),
		status: http.StatusBadRequest, why: true},
	{find: is(errSlow), status: http.StatusBadRequest},
	{find: is(errBrokenOff), status: http.StatusBadRequest, quiet: true},
	// The connection limiter has logged that there is no memory.
	{find: is(errBusy), status: http.StatusServiceUnavailable, quiet: true},
	{find: is(accounts.ErrSelfSigned), status: http.StatusBadRequest,
		text: "Signing service not enabled", why: true},
	{find: is(accounts.ErrBadIssuer), status: http.StatusBadRequest,
		text: "Bad JWT Issuer in request", why: true},
	{find: blocked, status: http.StatusBadRequest, form: page},
	{find: typed[*accounts.FutureError], status: http.StatusBadRequest},
	{find: is(activations.ErrBadJWT, activations.ErrIssuer, activations.ErrSubject,
		activations.ErrHash), status: http.StatusBadRequest, why: true},
	{find: typed[*accounts.OlderError], status: http.StatusConflict},
	{find: typed[*accounts.DeletedError], status: http.StatusConflict},
	{find: is(accounts.ErrReplaced), status: http.StatusConflict},
	// The client has asked for it.
	{find: typed[*accounts.ChangedError], status: http.StatusPreconditionFailed, quiet: true},
	{find: typed[*accounts.TooLargeError], status: http.StatusRequestEntityTooLarge},
	{find: is(errTooLarge, activations.ErrTooLarge), status: http.StatusRequestEntityTooLarge},
	{find: is(accounts.ErrAudit), status: http.StatusServiceUnavailable},
	{find: unstored, status: http.StatusServiceUnavailable},
	{find: typed[*accounts.CommitError], status: http.StatusInternalServerError},
	{find: saving, status: http.StatusInternalServerError},
	{find: typed[*accounts.SignError], status: http.StatusInternalServerError, form: page},

	// Credentials. The rate limiter of package auth logs failed logins.
	{find: is(auth.ErrNoCredentials, auth.ErrBadCredentials), status: http.StatusUnauthorized,
		quiet: true},
	{find: is(auth.ErrForbidden, errSecret), status: http.StatusForbidden, quiet: true},
	{find: slowed, status: http.StatusTooManyRequests, quiet: true},
	{find: typed[*auth.RetryError], status: http.StatusServiceUnavailable, quiet: true},

	// Routes.
	{find: whole(errNoRoute), status: http.StatusNotFound, form: page},
	{find: whole(errFollows), status: http.StatusMethodNotAllowed, form: page},
	{find: is(errMethod), status: http.StatusMethodNotAllowed, form: page, quiet: true},
}

// saving finds what could not be stored.
var saving = is(accounts.ErrSave, activations.ErrSave)

// is finds sentinel errors.
func is(sentinels ...error) finder {
	return func(err error) error {
		// The sentinel itself is returned, without what wraps it: that is for the log.
		for _, s := range sentinels {
			if errors.Is(err, s) {
				return s
			}
		}
		return nil
	}
}

// whole finds sentinel errors too, but the client gets all of the error that wraps one. The
// wrapping text must then be fit for clients.
func whole(sentinels ...error) finder {
	find := is(sentinels...)
	return func(err error) error {
		if find(err) == nil {
			return nil
		}
		return err
	}
}

// typed finds an error of type E. The text of such an error is fit for clients.
func typed[E error](err error) error {
	if e, found := errors.AsType[E](err); found {
		return e
	}
	return nil
}

// unstored finds a commit to the bucket that can be tried again.
func unstored(err error) error {
	e, found := errors.AsType[*accounts.CommitError](err)
	if found && (e.Outcome == accounts.NotStored || e.Outcome == accounts.Uncertain) {
		return e
	}
	return nil
}

// slowed finds a login that was not looked at since its address is slowed down.
func slowed(err error) error {
	if e, found := errors.AsType[*auth.RetryError](err); found && e.Slowed {
		return e
	}
	return nil
}

// blocked finds a JWT with validation issues. The layout is the original's.
func blocked(err error) error {
	// Each issue has a line of its own, which begins with a tab.
	e, found := errors.AsType[*accounts.BlockedError](err)
	if !found {
		return nil
	}
	return errors.New(textBlocked + "\n\t - " + strings.Join(e.Issues, "\n\n\t - ") + "\n")
}

// answer is what the client gets instead of what it asked for.
type answer struct {
	row
	// detail is what the error says beyond the text. It is for the log only: it may name files.
	detail string
}

// answerFor returns the answer to any error. One that the table does not know is a 500. err is not
// nil.
func answerFor(err error) answer {
	for _, r := range answers {
		// r is a copy of the row, so its text can be set.
		if found := r.find(err); found != nil {
			r.text = cmp.Or(r.text, found.Error())
			detail := cause(err, found)
			if r.why && detail != "" {
				r.text += "\n" + logging.Quote(detail, maxDetailBytes)
			}
			return answer{r, detail}
		}
	}
	return answer{row{status: http.StatusInternalServerError, text: textInternal}, err.Error()}
}

// cause is the text of err beyond the error in it that was found, "" if that is nothing.
func cause(err, found error) string {
	detail, _ := strings.CutPrefix(err.Error(), found.Error())
	return strings.TrimPrefix(detail, ": ")
}

// fail answers a request that could not be served, and logs it. asPage has the answer be a page.
// key is that of the account, for the log; "" if there is none. Nothing may have been sent before.
//
// The order: the table first, then the log, then the headers that follow from the error, then the
// answer. An error that the table does not know tells the client nothing of its text.
func (a *API) fail(w http.ResponseWriter, key string, err error, asPage bool) {
	an := answerFor(err)
	// That a client leaves is no concern of the operator either.
	an.quiet = an.quiet || errors.Is(err, context.Canceled)
	// The client also gets the reason of the operating system, such as a full disk, but no path.
	if number, ok := errors.AsType[syscall.Errno](err); ok && saving(err) != nil {
		an.text += ": " + number.Error()
	}
	a.log.failure(an, failureLine(key, an, err))
	// Browsers and curl ask for a password then.
	if an.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="nats-account-server"`)
	}
	if after := retryAfter(err); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	if asPage {
		a.pages.fail(w, an.status, an.text)
		return
	}
	// The forms are the original's. Scripts may compare the bytes of an answer.
	switch an.form {
	case empty:
		sendEmpty(w, an.status)
	case page:
		sendPage(w, an.status, an.text)
	default:
		send(w, an.status, typeBare, an.text+"\n")
	}
}

// busy finds what may be over in a moment.
var busy = is(errBusy, errIncomplete, errTrying, accounts.ErrAudit, accounts.ErrPeers,
	accounts.ErrPrimary, accounts.ErrBucket)

// retryAfter returns after how many seconds it is worth trying again; 0: the client is not told.
func retryAfter(err error) int {
	if e, found := errors.AsType[*auth.RetryError](err); found {
		return e.Seconds()
	}
	if busy(err) != nil || unstored(err) != nil {
		return 1
	}
	return 0
}
