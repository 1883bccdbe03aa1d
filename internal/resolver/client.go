package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	// maxSignedBytes bounds the text of a signing service.
	maxSignedBytes = 64 << 10
	// maxRefusals bounds the lines in a minute about what is refused.
	maxRefusals = 20
)

// Client asks other servers for accounts that are not stored here, and a signing service for
// signatures. It also announces activation tokens. It is connected while its Server serves a
// session.
type Client struct {
	log *slog.Logger
	// refusals is limited, since any server may cause its lines.
	refusals *slog.Logger
	// limited is limited to a line a minute, since any client may cause its lines.
	limited *slog.Logger
	// signing is never nil. A reload replaces it.
	signing atomic.Pointer[signing]
	// lookups limits what Find sends.
	lookups *rate.Limiter

	// mu guards the fields below.
	mu sync.Mutex
	// conn is nil while NATS is not connected.
	conn Session
	// expects means that there are other servers, and a connection would be there if NATS were not
	// away.
	expects bool
	// peers are the servers that answer lookups.
	peers peers
	// unknown says of an account that no server knew until when that counts, see mayAsk.
	unknown map[string]time.Time
}

// signing is where the signing service is asked.
type signing struct {
	// subject is "" if there is no signing service.
	subject string
	// timeout bounds the wait for its answer, and that of Find.
	timeout time.Duration
}

// NewClient returns a Client that is not connected, with no signing service.
func NewClient(log *slog.Logger) *Client {
	c := &Client{
		log:      log,
		refusals: logging.Limited(log, maxRefusals, time.Minute),
		limited:  logging.Limited(log, 1, time.Minute),
		lookups:  rate.NewLimiter(maxLookups, maxLookups),
	}
	c.SetSigning("", findTimeout)
	return c
}

// SetSigning sets the subject of the signing service ("": there is none) and how long its answer
// may take. Lookups of accounts that are not stored here take no longer either.
func (c *Client) SetSigning(subject string, timeout time.Duration) {
	c.signing.Store(&signing{subject: subject, timeout: timeout})
}

// SetExpects says whether NATS is configured and was connected before, maybe by an earlier process.
// Then it can't be known what other servers have while it is not connected. The servers that were
// known were those of another configuration.
func (c *Client) SetExpects(expects bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expects, c.peers = expects, peers{}
}

// connect makes conn the connection, nil for none. What was unknown may be known now.
func (c *Client) connect(conn Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.unknown = conn, map[string]time.Time{}
	c.expects = c.expects || conn != nil
}

// session is the connection, nil while there is none.
func (c *Client) session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Signs implements accounts.Signer.
func (c *Client) Signs() bool { return c.signing.Load().subject != "" }

// Sign implements accounts.Signer. An answer that is neither a JWT nor a short text is cut off.
func (c *Client) Sign(ctx context.Context, token []byte) ([]byte, error) {
	conn, service := c.session(), c.signing.Load()
	if conn == nil {
		return nil, &accounts.SignError{Cause: "nats-server unavailable."}
	}
	ctx, cancel := context.WithTimeout(ctx, service.timeout)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, service.subject, token)
	// The texts are the original's.
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, &accounts.SignError{Cause: "Try again at a later time. Error: " + err.Error()}
	case ctx.Err() != nil && err != nil:
		return nil, &accounts.SignError{Cause: "signing service unavailable."}
	case err != nil:
		return nil, &accounts.SignError{Cause: "nats-server unavailable."}
	case accounts.SubjectOf(m.Data) == "":
		return m.Data[:min(len(m.Data), maxSignedBytes)], nil
	}
	return m.Data, nil
}

// PublishActivation publishes an activation token. It reports false if NATS is not connected.
func (c *Client) PublishActivation(t *activations.Token) bool {
	conn := c.session()
	if conn == nil {
		return false
	}
	if err := conn.Publish("$SYS.ACCOUNT."+t.Issuer+".CLAIMS.ACTIVATE."+t.Key, t.JWT); err != nil {
		c.log.Warn(fmt.Sprintf("nats error %s", err))
	}
	return true
}
