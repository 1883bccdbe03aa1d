package httpapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
)

var (
	errPack    = errors.New("error packing JWTs")
	errPacking = errors.New("a pack is being sent to this address already: try again")
)

// maxError says that a pack was asked for that is larger than allowed, or of no size at all.
type maxError struct {
	asked string // in lower case, as the original repeats it
	most  int    // -1: the question was no number
}

func (e *maxError) Error() string {
	if e.most < 0 {
		return fmt.Sprintf("bad max parameter %q", e.asked)
	}
	return fmt.Sprintf("bad max parameter %q, no more than %d are allowed", e.asked, e.most)
}

// packers are the addresses that a pack is on its way to.
type packers struct {
	mu   sync.Mutex
	busy map[string]bool
}

// enter says whether the client may have a pack now.
func (p *packers) enter(client string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[client] {
		return false
	}
	if p.busy == nil {
		p.busy = make(map[string]bool)
	}
	p.busy[client] = true
	return true
}

func (p *packers) leave(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, client)
}

// packLimit reads the parameter max. A limit below 0 is none, as is the original's; a negative max asks for as much as
// there may be.
func (a *API) packLimit(r *http.Request) (most int, err error) {
	text := strings.ToLower(r.URL.Query().Get("max"))
	if text == "" {
		return a.maxPack, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, &maxError{asked: text[:min(len(text), 64)], most: -1}
	case n < 0:
		return a.maxPack, nil
	case a.maxPack >= 0 && n > a.maxPack:
		return 0, &maxError{asked: text, most: a.maxPack}
	}
	return n, nil
}

// getPack sends every account that is servable and has not expired, a line "key|JWT" each, by key. Nothing is verified
// for it that was verified before, and the store goes on meanwhile.
func (a *API) getPack(w http.ResponseWriter, r *http.Request, _ string) error {
	most, err := a.packLimit(r)
	if err != nil {
		return err
	}
	if a.tracing(r) {
		a.trace(r, fmt.Sprintf("request for JWT Pack - max=%d", most))
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	if !a.packing.enter(client) {
		return errPacking
	}
	defer a.packing.leave(client)
	if err := a.gate.Rescan(r.Context()); err != nil {
		return fmt.Errorf("%w: %w", errPack, err)
	}
	w.Header().Set("Content-Type", typeBare)
	if most == 0 || r.Method == http.MethodHead {
		return nil
	}
	a.sendPack(r.Context(), w, a.gate.Pack(r.Context()), most)
	a.traceKey(r, "returning JWT Pack", "")
	return nil
}

// packPause is how long a client may take for what has been sent to it before the next line is.
const packPause = 5 * time.Second

// sendPack sends the lines, with no line break behind the last. The time for an answer counts from line to line: a
// large pack may take long, but a client that does not read is left.
func (a *API) sendPack(ctx context.Context, w http.ResponseWriter, lines iter.Seq2[string, []byte], most int) {
	slow := http.NewResponseController(w)
	n := 0
	for key, token := range lines {
		if n == most || ctx.Err() != nil {
			return
		}
		if n++; n%64 == 1 {
			_ = slow.SetWriteDeadline(time.Now().Add(packPause)) // it is a matter of the connection whether it can
		}
		line := make([]byte, 0, len(key)+len(token)+2)
		if n > 1 {
			line = append(line, '\n')
		}
		if _, err := w.Write(accounts.AppendPackLine(line, key, token)); err != nil {
			return // the client has left
		}
	}
}
