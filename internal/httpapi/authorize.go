package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
)

// Authorizer decides who may do what. *auth.Authorizer meets it.
type Authorizer interface {
	// Authorize returns the name of a client that has the role, "" if every client has it. Its
	// errors are those of package auth.
	Authorize(ctx context.Context, v auth.Credentials, need auth.Role) (name string, err error)
}

// authorize checks that the client may do what it asks for. It returns the request with the name of
// its user, for originOf. A push that is refused is audited, a dry run is not.
func (a *API) authorize(r *http.Request, rt *route) (*http.Request, error) {
	need := rt.read
	if r.Method == http.MethodPost {
		need = auth.Writer
	}
	if a.Authorizer == nil || need == auth.Unauthenticated {
		return r, nil
	}
	// A compare of passwords ends with the request.
	name, err := a.Authorizer.Authorize(r.Context(), credentials(r), need)
	switch {
	// Reading is not audited. Failed logins have their own lines in the log.
	case need != auth.Writer:
	case err == nil:
		r = r.WithContext(context.WithValue(r.Context(), userKey{}, name))
	case rt.suffix == suffixDryRun:
	default:
		// The words are those of the audit log, which never change.
		reason := "unauthorized"
		if errors.Is(err, auth.ErrForbidden) {
			reason = "forbidden"
		}
		segment := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, pathAccount), rt.suffix)
		a.Accounts.Refuse(segment, nil, originOf(r), reason, err)
	}
	return r, err
}

// credentials returns what a request shows of its user.
func credentials(r *http.Request) auth.Credentials {
	v := auth.Credentials{Address: r.RemoteAddr}
	// Two headers could mean two users: they count as none.
	if h := r.Header["Authorization"]; len(h) == 1 {
		v.Authorization = h[0]
	}
	if r.TLS != nil {
		v.Certificates = r.TLS.PeerCertificates
	}
	return v
}

// userKey is the key of the user's name in the context of a request.
type userKey struct{}

// originOf returns where a push came from. User is "" if every client may push.
func originOf(r *http.Request) accounts.Origin {
	name, _ := r.Context().Value(userKey{}).(string)
	return accounts.Origin{Kind: accounts.KindHTTP, Address: r.RemoteAddr, User: name}
}
