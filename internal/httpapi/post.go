package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/monitor"
)

// maxBodyBytes is how large a posted JWT may be: nats-server reads none that is larger. A larger one
// gets 413.
const maxBodyBytes = 1 << 20

// usualBodyBytes is how large most are. What a client has only announced gets no more memory.
const usualBodyBytes = 4 << 10

const (
	// maxWait bounds wait, which is how long a push waits for what the nats-servers answer.
	maxWait = 10 * time.Second
	// afterWait is how long a client may take for the answer after that.
	afterWait = 5 * time.Second
)

// postAccount stores a JWT. The answer is one line about its announcement, which nsc shows. 200
// means that the JWT is on stable storage, and 202 that the signing service has it.
//
// The order: the parameters first, because a mistake in them must not leave a stored JWT. Then the
// body is read whole, then it is committed, and only then are nats-servers waited for. A client
// that leaves during the wait has its JWT stored and announced.
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
	warnings := a.warningsOf(ctx, result)
	// The JWT is stored whatever the nats-servers answer: the receipt is for the reader only.
	delivery := result.Receipt.Wait(ctx, wait)
	if len(delivery.Partly) > 0 && !warnings.has(claimcheck.KindIncomplete) {
		a.Metrics.Warned(claimcheck.KindIncomplete)
	}
	send(w, http.StatusOK, typeText, "stored; "+delivery.String()+"\n"+warnings.text())
	return nil
}

// maxWarnings is how many warnings the answer to a push has.
const maxWarnings = 5

// pushWarnings are what is odd about a JWT that is stored.
type pushWarnings []monitor.Warning

// warningsOf returns what is odd about a JWT that is stored, and counts it. result.Replaced is nil
// for a new account, and result.Claims if nothing was stored anew.
func (a *API) warningsOf(ctx context.Context, result accounts.Result) (found pushWarnings) {
	if result.Warning != "" {
		found = append(found, refusedBySome(result.Warning))
	}
	if a.Monitor != nil && result.Claims != nil {
		found = append(found, a.Monitor.Warnings(result.Replaced, result.Claims, false)...)
	}
	if a.Foreteller != nil && result.Claims != nil {
		f := a.Foreteller.OfStorage(ctx, result.Replaced, result.Claims)
		found = append(found, warningsIn(f)...)
	}
	for _, warning := range found {
		a.Metrics.Warned(warning.Kind)
	}
	return found
}

// refusedBySome is the warning that some nats-servers would refuse the JWT. It is in no counter.
func refusedBySome(text string) monitor.Warning {
	return monitor.Warning{Kind: "refused_by_some", Text: text}
}

// warningsIn returns those of the effects of a push that are worth a warning.
func warningsIn(f effect.Forecast) (found []monitor.Warning) {
	for _, line := range f.Lines {
		if kind, text := line.Warning(); kind != "" {
			found = append(found, monitor.Warning{Kind: kind, Text: text})
		}
	}
	return found
}

// has reports whether there is a warning of a kind.
func (p pushWarnings) has(kind string) bool {
	return slices.ContainsFunc(p, func(w monitor.Warning) bool { return w.Kind == kind })
}

// text returns a line for each. Example: "warning: import of service \"a\" from …: the account is
// not stored\n". Tests and tools look for "warning: ".
func (p pushWarnings) text() (text string) {
	for i, warning := range p {
		if i == maxWarnings {
			return text + fmt.Sprintf("and %s\n",
				logging.Count(len(p)-i, "more warning", "more warnings"))
		}
		text += "warning: " + warning.Text + "\n"
	}
	return text
}

// extendAnswer gives the store the time that it may take. A commit to a bucket may take longer than
// http.writetimeout.
func (a *API) extendAnswer(w http.ResponseWriter) {
	if a.CommitTime > 0 { // an error means that there is no deadline
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.CommitTime + afterWait))
	}
}

// waitOf returns how long the client wants to wait for what the nats-servers answer. Without the
// parameter it is accounts.UsualWait, and 0 waits for none. More than maxWait is taken as maxWait,
// and is no error.
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

// readOffer reads what is to be stored, and audits a body that can't be used. segment is the part
// of the path that should be a key, "" if there is none.
func (a *API) readOffer(w http.ResponseWriter, r *http.Request, segment string) ([]byte, error) {
	body, err := readBody(w, r)
	if err != nil {
		a.Accounts.Refuse(segment, nil, originOf(r), "", err)
	}
	return body, err
}

// readBody reads at most maxBodyBytes. The buffer grows as bytes arrive: a client that announces a
// megabyte and sends nothing has 4 KiB. After an error the connection is closed, since the rest of
// the body is still on it.
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

// bodyError says why a body could not be read. The result is one of the errors above answers in
// errors.go.
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
