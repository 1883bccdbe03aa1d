package tools

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"nats-account-server/internal/dryrun"
)

// Push is one push, or a dry run of one.
type Push struct {
	Key, IfMatch string // IfMatch is an ETag, or *; "": it does not matter what is stored
	JWT          []byte
	Connections  bool // of a dry run: each connection is looked at, however many there are
}

// pushTries is how often a push is tried: a person waits for it.
const pushTries = 2

// ErrNoDryRun is that a server does not know dry runs. Nothing was stored there.
var ErrNoDryRun = errors.New("the server has no dry runs: it is older, or no account server; nothing was " +
	"stored there")

// header returns what is sent with the JWT.
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

// Push pushes a JWT. It returns the status and what the server says. The error is that it could not be
// asked.
func (c *Client) Push(ctx context.Context, p Push) (status int, text string, err error) {
	quick := *c
	quick.tries = pushTries
	a, err := quick.do(ctx, http.MethodPost, pathAccounts+p.Key, p.JWT, p.header())
	return a.status, strings.TrimSpace(a.text), err
}

// DryRun asks what a push would do. text is what the server sends, as JSON.
func (c *Client) DryRun(ctx context.Context, p Push) (answer *dryrun.Answer, text string, err error) {
	quick := *c
	quick.tries = pushTries
	path := pathAccounts + p.Key + "/dry-run?json=true"
	if p.Connections {
		path += "&connections=true"
	}
	a, err := quick.do(ctx, http.MethodPost, path, p.JWT, p.header())
	switch {
	case err != nil:
		return nil, "", err
	case a.status == http.StatusNotFound:
		return nil, "", ErrNoDryRun
	case json.Unmarshal([]byte(a.text), &answer) != nil || answer.Verdict == "":
		return nil, "", a.error()
	}
	return answer, strings.TrimSpace(a.text), nil
}
