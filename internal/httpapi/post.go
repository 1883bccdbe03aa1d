package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

// maxBodyBytes is how large a posted JWT may be. nats-server reads none that is larger.
const maxBodyBytes = 1 << 20

// usualBodyBytes is how large most are. What a client has only announced gets no more memory.
const usualBodyBytes = 4 << 10

const (
	// maxWait bounds wait, which is how long a push waits for what the nats-servers answer.
	maxWait = 10 * time.Second
	// afterWait is how long a client may take for the answer after that.
	afterWait = 5 * time.Second
)

// postAccount stores a JWT. The answer is one line about its announcement, which nsc shows.
func (a *API) postAccount(w http.ResponseWriter, r *http.Request, _ string) error {
	// Put finds out whether this is a key. Which fault it reports first is the original's choice.
	segment := strings.TrimPrefix(r.URL.Path, pathAccount)
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	token, err := a.readOffer(w, r, segment)
	if err != nil {
		return err
	}
	// A JWT that has arrived whole is handled even if the client has disconnected. A client that
	// closes its half of the connection looks the same.
	ctx := context.WithoutCancel(r.Context())
	a.extendAnswer(w)
	result, err := a.Accounts.PutIf(ctx, segment, token, originOf(r), preconditionOf(r))
	if err != nil {
		return err
	}
	// Nothing is stored then: the client reads what the signing service says.
	if result.Pending {
		send(w, http.StatusAccepted, typeText, string(result.Reply))
		return nil
	}
	if wait > 0 { // it may be longer than the write timeout; an error means that there is none
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + afterWait))
	}
	// Nats-servers answer meanwhile.
	warnings := a.warningsOf(result)
	// The JWT is stored whatever the nats-servers answer: the receipt is for the reader only.
	delivery := result.Receipt.Wait(ctx, wait)
	if len(delivery.Partly) > 0 {
		a.Metrics.Warned("incomplete")
	}
	send(w, http.StatusOK, typeText, "stored; "+delivery.String()+"\n"+warnings)
	return nil
}

// maxWarnings is how many warnings the answer to a push has.
const maxWarnings = 5

// warningsOf returns the lines with what is odd about a JWT that is stored, and counts it.
func (a *API) warningsOf(result accounts.Result) (text string) {
	var lines []string
	if result.Warning != "" {
		lines = append(lines, result.Warning)
	}
	if a.Monitor != nil && result.Claims != nil {
		for _, warning := range a.Monitor.Warnings(result.Replaced, result.Claims, false) {
			a.Metrics.Warned(warning.Kind)
			lines = append(lines, warning.Text)
		}
	}
	for i, line := range lines {
		if i == maxWarnings {
			return text + fmt.Sprintf("and %s\n",
				logging.Count(len(lines)-i, "more warning", "more warnings"))
		}
		text += "warning: " + line + "\n"
	}
	return text
}

// extendAnswer gives the store the time that it may take.
func (a *API) extendAnswer(w http.ResponseWriter) {
	if a.CommitTime > 0 { // an error means that there is no deadline
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.CommitTime + afterWait))
	}
}

// waitOf returns how long the client wants to wait for what the nats-servers answer.
func waitOf(r *http.Request) (time.Duration, error) {
	text := flagsOf(r).value("wait")
	if text == "" {
		return accounts.UsualWait, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, fmt.Errorf("%w: %.32q is not a duration such as 2s, at most %s",
			errWait, text, maxWait)
	}
	return min(wait, maxWait), nil
}

// readOffer reads what is to be stored, and audits a body that can't be used. segment is the part of
// the path that should be a key, "" if there is none.
func (a *API) readOffer(w http.ResponseWriter, r *http.Request, segment string) ([]byte, error) {
	body, err := readBody(w, r)
	if err != nil {
		a.Accounts.Refuse(segment, nil, originOf(r), "", err)
	}
	return body, err
}

// readBody reads at most maxBodyBytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	err := errTooLarge
	// A client that announces too much is answered before it sends.
	if r.ContentLength <= maxBodyBytes {
		// Without a length, the reader finds that it is too much.
		var body bytes.Buffer
		body.Grow(int(min(max(r.ContentLength, 0), usualBodyBytes)) + bytes.MinRead)
		_, failed := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if failed == nil {
			return body.Bytes(), nil
		}
		err = bodyError(failed)
	}
	// The rest of the body is not waited for.
	w.Header().Set("Connection", "close")
	return nil, err
}

// bodyError says why a body could not be read.
func bodyError(err error) error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errTooLarge
	}
	// The server has no memory for more of it. The error has a timeout in it, too.
	if errors.Is(err, syscall.ENOBUFS) {
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	// The read timeout is over. That is an ERR line: it may be too short.
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return fmt.Errorf("%w: %w", errBrokenOff, err)
}
