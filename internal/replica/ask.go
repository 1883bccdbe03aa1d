package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

const (
	// maxLineBytes bounds a JWT and a line of a pack.
	maxLineBytes = 4 << 20
	// maxRefusalBytes bounds what is read of an answer that is no 200.
	maxRefusalBytes = 4096

	pathAccounts    = "/jwt/v1/accounts/"
	pathActivations = "/jwt/v1/activations/"
	pathPack        = "/jwt/v1/pack"
)

// errLacking reports that the primary does not have it. Any other error means that this can't be
// known.
var errLacking = fmt.Errorf("%w: the primary does not have it", accounts.ErrNotFound)

// statusError is an answer that is no 200. text has maxRefusalBytes at most, and may be anything.
type statusError struct {
	code   int
	status string // code and its name, as it was sent
	text   string // the beginning of the body
}

func (e *statusError) Error() string { return fmt.Sprintf("server returned status %q", e.status) }

// get returns the body of a 200. The error is a *statusError for any other answer. The caller
// closes the body. path has its query with it.
func (r *Replica) get(ctx context.Context, path string) (io.ReadCloser, error) {
	// The configuration has checked the URL, so an error is unlikely.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Primary+path, nil)
	if err != nil {
		return nil, err
	}
	// The Via header names each server on the way, so that a circle of primaries is found.
	via, err := accounts.ExtendVia(ctx, r.id)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Via", via)
	// In the URL the password would be lost at a redirect, and could be shown by an error.
	if user := request.URL.User; user != nil {
		request.URL.User = nil
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	// The client follows redirects. It sends the password only to the same host or to one below it.
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	// also so that the connection can be used again
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusalBytes))
	return nil, &statusError{answer.StatusCode, answer.Status, string(text)}
}

// ask returns what the primary has for the key of an account or the hash of a token. The error is
// errLacking if the primary says that it has none, and accounts.ErrCircle if the request has come
// through this server before. The token is as the primary has sent it: nothing is verified here.
func (r *Replica) ask(ctx context.Context, key string) (token []byte, err error) {
	defer func() { r.note(ctx, err) }()
	// Both kinds of keys come here. They differ in their form.
	path := pathAccounts
	if trust.IsActivationHash(key) {
		path = pathActivations
	}
	body, err := r.get(ctx, path+key)
	if refused, is := errors.AsType[*statusError](err); is && r.isLacking(ctx, path, refused) {
		return nil, errLacking
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	// A longer answer is cut off, and is no JWT then.
	return io.ReadAll(io.LimitReader(body, maxLineBytes))
}

// isLacking tells a primary that does not have something from one that can't say. Version 0.8.4
// says of an account that it does not know what every later version says of a damaged one. But
// 0.8.4 says the same of what is no key at all. Version 1.0.3 has no activation tokens. It may ask
// the primary twice more.
func (r *Replica) isLacking(ctx context.Context, path string, refused *statusError) bool {
	says := func(text string) bool { return strings.HasPrefix(refused.text, text) }
	switch refused.code {
	case http.StatusNotFound:
		return path == pathActivations || says("no matching account JWT") || says("No Matching JWT")
	case http.StatusInternalServerError:
		// "x" is no key. A second 500 shows that the primary is version 0.8.4, or that something
		// before it is in trouble. A pack shows that 0.8.4 can read its store; with an nsc folder
		// it has none.
		if !says("error loading JWT") ||
			r.status(ctx, pathAccounts+"x") != http.StatusInternalServerError {
			return false
		}
		pack := r.status(ctx, pathPack+"?max=1")
		return pack == http.StatusOK || pack == http.StatusNotFound
	}
	return false
}

// status returns the status of an answer, 0 if there is none.
func (r *Replica) status(ctx context.Context, path string) int {
	body, err := r.get(ctx, path)
	if err == nil {
		body.Close()
		return http.StatusOK
	}
	if refused, is := errors.AsType[*statusError](err); is {
		return refused.code
	}
	return 0
}

// askForNothing asks the primary what nats-server asks it at a start: whether it is there.
func (r *Replica) askForNothing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	body, err := r.get(ctx, pathAccounts)
	if err == nil {
		body.Close()
	}
	r.note(ctx, err)
}
