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

// maxBody is how large a posted JWT may be, in bytes; nats-server reads none that is larger.
const maxBody = 1 << 20

// receiptTimeout is how long a push waits for what the nats-servers answer.
const receiptTimeout = 50 * time.Millisecond

// postAccount hands a JWT to the gate and says what became of it. nsc shows that line.
func (a *API) postAccount(w http.ResponseWriter, r *http.Request, key string) error {
	src := accounts.Origin{Kind: accounts.KindHTTP, Address: r.RemoteAddr, User: userOf(r)}
	segment := strings.TrimPrefix(r.URL.Path, pathAccount)
	token, err := readBody(w, r)
	if err != nil {
		a.gate.Refuse(segment, nil, src, unread(err), err)
		return err
	}
	if key == "" {
		err := judgeStray(segment, token)
		a.gate.Refuse(segment, token, src, "", err)
		return err
	}
	// What has been sent completely is decided, also when the sender has hung up: a client that closes its half of the
	// connection looks the same.
	ctx := context.WithoutCancel(r.Context())
	result, err := a.gate.Put(ctx, key, token, src)
	if err != nil {
		return err
	}
	if result.Pending {
		send(w, http.StatusAccepted, typeText, string(result.Reply))
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	send(w, http.StatusOK, typeText, "stored; "+result.Receipt.Wait(ctx).String()+"\n")
	return nil
}

// readBody reads no more than maxBody. Whenever it gives up, what the client still sends is not waited for.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close")
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	w.Header().Set("Connection", "close")
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errTooLarge
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return nil, fmt.Errorf("%w: %w", accounts.ErrBadJWT, err)
	}
	return nil, fmt.Errorf("%w: %w", errBrokenOff, err)
}

// unread is the word for why a body was not read to its end.
func unread(err error) string {
	if errors.Is(err, errTooLarge) {
		return "too-large"
	}
	return "broken-off"
}

// judgeStray answers for a path that names no account. The JWT can't be let in; the order of what is said about it
// is the gate's.
func judgeStray(segment string, token []byte) error {
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
