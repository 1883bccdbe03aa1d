package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
)

// maxLineBytes bounds a JWT and a line of a pack.
const maxLineBytes = 4 << 20

// errLacking reports that the primary does not have it. Any other error means that this can't be
// known.
var errLacking = fmt.Errorf("%w: the primary does not have it", accounts.ErrNotFound)

const (
	pathAccounts    = "/jwt/v1/accounts/"
	pathActivations = "/jwt/v1/activations/"
	pathPack        = "/jwt/v1/pack"
)

// newID returns the name of a process in a Via header.
func newID() string { return "nas-" + rand.Text()[:16] }

// get returns the body of a 200, or what any other answer says: its status and the beginning of its
// text.
func (r *Replica) get(ctx context.Context, path string) (body io.ReadCloser, refused *statusError,
	err error) {
	target, user, err := r.target(path)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	via, err := accounts.ExtendVia(ctx, r.id)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Via", via)
	if user != nil { // in the URL it would be lost at a redirect
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil, nil
	}
	defer answer.Body.Close()
	// also so that the connection can be used again
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	return nil, &statusError{answer.StatusCode, answer.Status, string(text)}, nil
}

// target returns the URL of a path, and the user in the primary's URL, nil if there is none.
func (r *Replica) target(path string) (target string, user *url.Userinfo, err error) {
	u, err := url.Parse(r.Primary)
	if err != nil {
		return "", nil, err
	}
	user, u.User = u.User, nil
	return u.String() + path, user, nil
}

// statusError is an answer that is no 200.
type statusError struct {
	code   int
	status string
	text   string
}

func (e *statusError) Error() string { return fmt.Sprintf("server returned status %q", e.status) }

// ask returns the JWT that the primary has at a path. The error is errLacking if the primary says
// that it has none, and accounts.ErrCircle if the question has come through this server before.
func (r *Replica) ask(ctx context.Context, path string) ([]byte, error) {
	body, refused, err := r.get(ctx, path)
	if refused != nil {
		err = r.lacking(ctx, path, refused)
	}
	if err != nil {
		r.note(ctx, err)
		return nil, err
	}
	defer body.Close()
	token, err := io.ReadAll(io.LimitReader(body, maxLineBytes))
	r.note(ctx, err)
	return token, err
}

// lacking tells a primary that does not have something from one that can't say. Version 0.8.4 says
// of an account that it does not know what every later version says of a damaged one. But 0.8.4
// says the same of what is no key at all.
func (r *Replica) lacking(ctx context.Context, path string, refused *statusError) error {
	says := func(text string) bool { return strings.HasPrefix(refused.text, text) }
	switch {
	case refused.code == http.StatusNotFound &&
		(says("no matching account JWT") || says("No Matching JWT")):
		return errLacking
	// 1.0.3 has none at all
	case refused.code == http.StatusNotFound && strings.HasPrefix(path, pathActivations):
		return errLacking
	case refused.code == http.StatusInternalServerError && says("error loading JWT"):
		if body, again, err := r.get(ctx, pathAccounts+"x"); err != nil {
			return err
		} else if body != nil {
			body.Close()
		} else if again.code == http.StatusInternalServerError {
			return errLacking
		}
	}
	return refused
}

// warnInterval is how often a line says at most that the primary is in trouble.
const warnInterval = time.Minute

// health is how the primary is doing, for the log.
type health struct {
	mu      sync.Mutex
	failing bool      // the last line says so
	warned  time.Time // when it did last
}

// note writes a line when the primary begins to be in trouble, and when that is over. err is what a
// question came to.
func (r *Replica) note(ctx context.Context, err error) {
	bad := err != nil && !errors.Is(err, errLacking)
	if bad && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the question was given up
	}
	h, now := &r.health, r.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case bad && !h.failing && (h.warned.IsZero() || now.Sub(h.warned) >= warnInterval):
		h.failing, h.warned = true, now
		r.Log.Warn(fmt.Sprintf("the primary does not answer as it should, what is stored is "+
			"served - %s", err))
	case !bad && h.failing:
		h.failing = false
		r.Log.Info("the primary answers again")
	}
}
