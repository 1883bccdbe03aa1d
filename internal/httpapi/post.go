package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

// maxBodyBytes is how large a posted JWT may be. nats-server reads none that is larger.
const maxBodyBytes = 1 << 20

// receiptTimeout is how long a push waits for what the nats-servers answer.
const receiptTimeout = 50 * time.Millisecond

// postAccount stores a JWT. The answer is one line about its announcement, which nsc shows.
func (a *API) postAccount(w http.ResponseWriter, r *http.Request, key string) error {
	segment := strings.TrimPrefix(r.URL.Path, pathAccount)
	token, err := a.readBody(w, r, segment)
	if err != nil {
		return err
	}
	if key == "" {
		err := judgeKeyless(segment, token)
		a.accounts.Refuse(segment, token, originOf(r), "", err)
		return err
	}
	// A JWT that has arrived whole is handled even if the client has disconnected. A client that
	// closes its half of the connection looks the same.
	ctx := context.WithoutCancel(r.Context())
	result, err := a.accounts.Put(ctx, key, token, originOf(r))
	if err != nil {
		return err
	}
	if result.Pending {
		send(w, http.StatusAccepted, typeText, string(result.Reply))
		return nil
	}
	// The JWT is stored whatever the nats-servers answer: the receipt is for the reader only.
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	send(w, http.StatusOK, typeText, "stored; "+result.Receipt.Wait(ctx).String()+"\n")
	return nil
}

// readBody reads at most maxBodyBytes and audits a body that can't be used. segment is the part of
// the path that should be a key, "" if there is none.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, segment string) ([]byte, error) {
	body, err := readAll(w, r)
	if err == nil {
		return body, nil
	}
	// The rest of the body is not waited for.
	w.Header().Set("Connection", "close")
	reason := "broken-off"
	if errors.Is(err, errTooLarge) {
		reason = "too-large"
	}
	a.accounts.Refuse(segment, nil, originOf(r), reason, err)
	return nil, err
}

// readAll returns errTooLarge, or an error that wraps ErrBadJWT for a body that is too slow and
// errBrokenOff for one that ends too early.
func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// A client that announces too much is answered before it sends.
	if r.ContentLength > maxBodyBytes {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err == nil {
		return body, nil
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errTooLarge
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return nil, fmt.Errorf("%w: %w", accounts.ErrBadJWT, err)
	}
	return nil, fmt.Errorf("%w: %w", errBrokenOff, err)
}

// judgeKeyless returns why a JWT can't be stored under a path segment that is no account key. The
// order of the checks is the registry's.
func judgeKeyless(segment string, token []byte) error {
	head, err := trust.Peek(bytes.TrimSpace(token))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", accounts.ErrBadJWT, err)
	case head.Subject != segment:
		return accounts.ErrMismatch
	default:
		return accounts.ErrBadSubject
	}
}
