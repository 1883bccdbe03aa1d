package tools

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"nats-account-server/internal/dryrun"
)

// Push is one push of an account JWT, or a dry run of one.
type Push struct {
	// Key is that of the account, "A…".
	Key string
	// IfMatch is an ETag, with or without its quotes, or * for any stored JWT. With "" it does not
	// matter what is stored.
	IfMatch string
	JWT     []byte
	// Connections is of a dry run: each connection is looked at, however many there are.
	Connections bool
}

// pushTries is how often a push is tried: a person waits for it.
const pushTries = 2

// ErrNoDryRun is that a server does not know dry runs. Nothing was stored there.
var ErrNoDryRun = errors.New("the server has no dry runs: it is older, or no account server; " +
	"nothing was stored there")

// header returns what is sent with the JWT. An ETag may be given without its quotes. The server
// answers 412 if If-Match does not hold.
func (p Push) header() http.Header {
	h := http.Header{"Content-Type": {"application/jwt"}}
	if etag := p.IfMatch; etag != "" {
		if etag != "*" && !strings.Contains(etag, `"`) { // a shell has taken the quotes away
			etag = `"` + etag + `"`
		}
		h.Set("If-Match", etag)
	}
	return h
}

// post sends the JWT to a path below that of the account. below is "" for a push, or begins with a
// slash. The copy of c shares its connections.
func (c *Client) post(ctx context.Context, p Push, below string) (answer, error) {
	quick := *c
	quick.tries = pushTries
	return quick.do(ctx, http.MethodPost, pathAccounts+p.Key+below, p.JWT, p.header())
}

// Push pushes a JWT. It returns the status and what the server says, whether it has stored the JWT
// or refused it. The error is that no answer came: then the JWT may be stored or not. 202 means
// that a signing service has got the JWT.
func (c *Client) Push(ctx context.Context, p Push) (status int, text string, err error) {
	a, err := c.post(ctx, p, "")
	return a.status, strings.TrimSpace(a.text), err
}

// DryRun asks what a push would do. text is what the server sends, as JSON. The error is
// ErrNoDryRun, what the server says instead of an answer, or that no answer came. The status of the
// answer is that of the push, so any status may have an answer.
func (c *Client) DryRun(
	ctx context.Context, p Push,
) (answer *dryrun.Answer, text string, err error) {
	below := "/dry-run?json=true"
	if p.Connections {
		below += "&connections=true"
	}
	a, err := c.post(ctx, p, below)
	switch {
	case err != nil:
		return nil, "", err
	case a.status == http.StatusNotFound:
		return nil, "", ErrNoDryRun
	// An answer without a verdict is from another program.
	case json.Unmarshal([]byte(a.text), &answer) != nil || answer.Verdict == "":
		return nil, "", a.error()
	}
	return answer, strings.TrimSpace(a.text), nil
}
