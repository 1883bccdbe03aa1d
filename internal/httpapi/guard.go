package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
)

// Guard says who may do what.
type Guard interface {
	// Admit lets in who has a role, and returns its name, "" if everybody has it. The errors are those of package
	// access.
	Admit(ctx context.Context, v auth.Visitor, need auth.Role) (name string, err error)
}

// errSecret says that the operator's JWT is for readers with credentials, and that there can't be any.
var errSecret = errors.New("there is a password in the operator JWT, and this server asks nobody for credentials")

// admit asks the guard. The request it returns knows who sent it.
func (a *API) admit(r *http.Request, rt *route) (*http.Request, error) {
	need := rt.read
	if r.Method == http.MethodPost {
		need = auth.Writer
	}
	if a.guard == nil || need == auth.Nobody {
		return r, nil
	}
	name, err := a.guard.Admit(r.Context(), visitor(r), need)
	if err != nil || need != auth.Writer {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), userKey{}, name)), nil
}

// turnAway lets those know who keep account of it that somebody may not push.
func (a *API) turnAway(r *http.Request, err error) {
	if r.Method != http.MethodPost {
		return
	}
	reason := "unauthorized"
	if errors.Is(err, auth.ErrForbidden) {
		reason = "forbidden"
	}
	src := accounts.Origin{Kind: "http", Address: r.RemoteAddr}
	a.gate.Refuse(strings.TrimPrefix(r.URL.Path, pathAccount), nil, src, reason, err)
}

func visitor(r *http.Request) auth.Visitor {
	v := auth.Visitor{Address: r.RemoteAddr}
	if h := r.Header["Authorization"]; len(h) == 1 { // two would be two opinions
		v.Authorization = h[0]
	}
	if r.TLS != nil {
		v.Certificates = r.TLS.PeerCertificates
	}
	return v
}

type userKey struct{}

// userOf is who writes, "" if nobody was asked.
func userOf(r *http.Request) string {
	name, _ := r.Context().Value(userKey{}).(string)
	return name
}

// secretOperator is the route of an operator JWT that not everybody may read.
func (a *API) secretOperator() *route {
	rt := newRoute(pathOperator, a.getOperator, nil)
	rt.read = auth.Reader
	if a.guard == nil {
		rt.get = func(http.ResponseWriter, *http.Request, string) error { return errSecret }
	}
	return rt
}

func isTurnedAway(err error) bool {
	_, later := errors.AsType[*auth.LaterError](err)
	return later || errors.Is(err, auth.ErrUnknown) || errors.Is(err, auth.ErrWrong) ||
		errors.Is(err, auth.ErrForbidden) || errors.Is(err, errSecret)
}

func answerLater(e *auth.LaterError) answer {
	status := http.StatusServiceUnavailable
	if e.Slowed {
		status = http.StatusTooManyRequests
	}
	return answer{status: status, text: e.Error()}
}

// challenge says how the client can do better.
func challenge(h http.Header, err error) {
	if e, ok := errors.AsType[*auth.LaterError](err); ok {
		h.Set("Retry-After", strconv.Itoa(e.Seconds()))
	}
	if errors.Is(err, auth.ErrUnknown) || errors.Is(err, auth.ErrWrong) {
		h.Set("WWW-Authenticate", `Basic realm="nats-account-server"`)
	}
}
