package resolver

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// mostReply bounds the text of a signing service, in bytes.
const mostReply = 64 << 10

// signing is where and how long the signing service is asked.
type signing struct {
	subject string // "": there is none
	within  time.Duration
}

// SetSigning says on which subject there is a signing service ("": none) and how long its answer may take. Lookups of
// accounts that are not stored here take no longer either.
func (d *Server) SetSigning(subject string, within time.Duration) {
	d.signing.Store(&signing{subject: subject, within: within})
}

// Signs implements accounts.Signer.
func (d *Server) Signs() bool { return d.signing.Load().subject != "" }

// Sign implements accounts.Signer.
func (d *Server) Sign(ctx context.Context, token []byte) ([]byte, error) {
	conn, service := d.finder.session(), d.signing.Load()
	if conn == nil {
		return nil, &accounts.SignError{Reason: "nats-server unavailable."}
	}
	m, err := d.requestOne(ctx, conn, service, token)
	switch {
	case err == nil && m.Header.Get("Status") == "503", errors.Is(err, nats.ErrNoResponders):
		return nil, &accounts.SignError{Reason: "Try again at a later time. Error: " + nats.ErrNoResponders.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, &accounts.SignError{Reason: "signing service unavailable."}
	case err != nil:
		return nil, &accounts.SignError{Reason: "nats-server unavailable."}
	}
	return m.Data, nil
}

// requestOne returns the first answer. One that is neither a JWT nor a short text is cut off.
func (d *Server) requestOne(ctx context.Context, conn Session, service *signing, token []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, service.within)
	defer cancel()
	answers, stop, err := pose(conn, service.subject, token)
	if err != nil {
		return nil, err
	}
	defer stop()
	select {
	case m := <-answers:
		if accounts.SubjectOf(m.Data) == "" {
			m.Data = m.Data[:min(len(m.Data), mostReply)]
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
