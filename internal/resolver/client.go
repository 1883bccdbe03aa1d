package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/logging"
)

// Bounds of what any server may cause.
const (
	// maxSignedBytes bounds what is read of a signing service's text.
	maxSignedBytes = 64 << 10
	// maxRefusals bounds the lines in a minute about what is refused.
	maxRefusals = 20
)

// Client asks other servers for accounts that are not stored here, and a signing service for
// signatures. It also announces activation tokens. It is connected while its Server serves a
// session.
type Client struct {
	log      *slog.Logger
	refusals *slog.Logger // limited, since any server may cause its lines
	finder   finder
	signing  atomic.Pointer[signing]
}

// signing is where the signing service is asked.
type signing struct {
	subject string // "": there is none
	timeout time.Duration
}

// NewClient returns a Client that is not connected, with no signing service.
func NewClient(log *slog.Logger) *Client {
	c := &Client{log: log, refusals: limited(log)}
	c.finder.questions = rate.NewLimiter(maxQuestions, maxQuestions)
	c.SetSigning("", findTimeout)
	return c
}

// limited returns a logger for lines that any server may cause.
func limited(log *slog.Logger) *slog.Logger {
	return logging.Limited(log, maxRefusals, time.Minute)
}

// SetSigning sets the subject of the signing service ("": there is none) and how long its answer
// may take. Lookups of accounts that are not stored here take no longer either.
func (c *Client) SetSigning(subject string, timeout time.Duration) {
	c.signing.Store(&signing{subject: subject, timeout: timeout})
}

// Signs implements accounts.Signer.
func (c *Client) Signs() bool { return c.signing.Load().subject != "" }

// Sign implements accounts.Signer.
func (c *Client) Sign(ctx context.Context, token []byte) ([]byte, error) {
	conn, service := c.finder.session(), c.signing.Load()
	if conn == nil {
		return nil, &accounts.SignError{Cause: "nats-server unavailable."}
	}
	m, err := requestOne(ctx, conn, service, token)
	switch {
	// The status is nats-server's own message that no service subscribes to the subject.
	case err == nil && m.Header.Get("Status") == "503", errors.Is(err, nats.ErrNoResponders):
		return nil, &accounts.SignError{Cause: "Try again at a later time. Error: " +
			nats.ErrNoResponders.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, &accounts.SignError{Cause: "signing service unavailable."}
	case err != nil:
		return nil, &accounts.SignError{Cause: "nats-server unavailable."}
	}
	return m.Data, nil
}

// requestOne returns the first answer of a signing service. One that is neither a JWT nor a short
// text is cut off.
func requestOne(
	ctx context.Context, conn Session, service *signing, token []byte,
) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, service.timeout)
	defer cancel()
	answers, stop, err := ask(conn, service.subject, token)
	if err != nil {
		return nil, err
	}
	defer stop()
	select {
	case m := <-answers:
		if accounts.SubjectOf(m.Data) == "" {
			m.Data = m.Data[:min(len(m.Data), maxSignedBytes)]
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// PublishActivation publishes an activation token. It reports false if NATS is not connected.
func (c *Client) PublishActivation(t *activations.Token) bool {
	conn := c.finder.session()
	if conn == nil {
		return false
	}
	if err := conn.Publish("$SYS.ACCOUNT."+t.Issuer+".CLAIMS.ACTIVATE."+t.Key, t.JWT); err != nil {
		c.log.Warn(fmt.Sprintf("nats error %s", err))
	}
	return true
}
