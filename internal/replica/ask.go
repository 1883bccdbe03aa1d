package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
)

// mostJWT bounds a JWT and a line of a pack, in bytes.
const mostJWT = 4 << 20

var (
	// errLacking says that the primary does not have it. Any other error means that nobody knows.
	errLacking = errors.New("the primary does not have it")
	errCircle  = fmt.Errorf("%w: the primary has asked this server itself", accounts.ErrUnreadable)
)

// servers are those of our kind in a header Via. Whatever else is there is not passed on.
var servers = regexp.MustCompile(`nas-[A-Z2-7]{16}`)

// mostServers bounds how many servers follow each other.
const mostServers = 16

// chain is which of our kind a question has come through. The error is errCircle if this server is one of them, or they are too
// many to be anything else.
func (r *Replica) chain(ctx context.Context) (string, error) {
	through := servers.FindAllString(accounts.Via(ctx), mostServers+1)
	if len(through) > mostServers || slices.Contains(through, r.id) {
		return "", errCircle
	}
	return strings.Join(append(through, r.id), ", 1.1 "), nil
}

const (
	pathAccounts    = "/jwt/v1/accounts/"
	pathActivations = "/jwt/v1/activations/"
	pathPack        = "/jwt/v1/pack"
)

// newID makes what a process is known by in the header Via.
func newID() string { return "nas-" + rand.Text()[:16] }

// get returns the body of a 200, or what any other answer says: its status and the beginning of its text.
func (r *Replica) get(ctx context.Context, path string) (body io.ReadCloser, refused *statusError, err error) {
	target, user, err := r.target(path)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	through, err := r.chain(ctx)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Via", "1.1 "+through)
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
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // also so that the connection can be used again
	return nil, &statusError{answer.StatusCode, answer.Status, string(text)}, nil
}

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

// ask returns the JWT that the primary has at a path. The error is errLacking if the primary says that it has none.
func (r *Replica) ask(ctx context.Context, path string) ([]byte, error) {
	body, refused, err := r.get(ctx, path)
	if refused != nil {
		err = r.lacking(ctx, path, refused)
	}
	if err != nil {
		r.heard(ctx, err)
		return nil, err
	}
	defer body.Close()
	token, err := io.ReadAll(io.LimitReader(body, mostJWT))
	r.heard(ctx, err)
	return token, err
}

// lacking tells a primary that does not have something from one that can't say. Of an account that it does not know, 0.8.4 says
// what every later version says of a damaged one; but it says the same of what is no key at all.
func (r *Replica) lacking(ctx context.Context, path string, refused *statusError) error {
	switch says := func(text string) bool { return strings.HasPrefix(refused.text, text) }; {
	case refused.code == http.StatusNotFound && (says("no matching account JWT") || says("No Matching JWT")):
		return errLacking
	case refused.code == http.StatusNotFound && strings.HasPrefix(path, pathActivations): // 1.0.3 has none at all
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

// mood is how the primary is doing.
type mood struct {
	mu    sync.Mutex
	said  bool // that it is in trouble
	since time.Time
}

// sayEvery is how often it is said at most that the primary is in trouble.
const sayEvery = time.Minute

// heard writes a line when the primary begins to be in trouble, and when that is over.
func (r *Replica) heard(ctx context.Context, err error) {
	bad := err != nil && !errors.Is(err, errLacking)
	if bad && errors.Is(context.Cause(ctx), context.Canceled) {
		return // nobody waits any more
	}
	r.mood.mu.Lock()
	defer r.mood.mu.Unlock()
	m, now := &r.mood, r.Now()
	switch {
	case bad && !m.said && (m.since.IsZero() || now.Sub(m.since) >= sayEvery):
		m.said, m.since = true, now
		r.Log.Warn(fmt.Sprintf("the primary does not answer as it should, what is stored is served - %s", err))
	case !bad && m.said:
		m.said = false
		r.Log.Info("the primary answers again")
	}
}
