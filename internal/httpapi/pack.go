package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// A pack takes as long as its client reads, but the client must go on reading.
const (
	// packWriteTimeout is how long a client may take for packBufferBytes, or for one longer line.
	packWriteTimeout = 5 * time.Second
	packBufferBytes  = 32 << 10
	// maxPacks bounds the packs that are sent at a time. Each takes up to a MiB of memory, and up
	// to the largest JWT more.
	maxPacks = 32
)

// packLimit reads the parameter max. As with the original, a limit below 0 is none. A negative max
// asks for as much as the limit allows. A limit of 0 gives a pack without accounts, and so does
// max=0.
func packLimit(r *http.Request, limit int) (int, error) {
	// As the original does, the answer repeats the parameter in lower case.
	text := strings.ToLower(flagsOf(r).value("max"))
	if text == "" {
		return limit, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w %q", errMax, text[:min(len(text), 64)])
	case n < 0:
		return limit, nil
	// The client is told instead of getting less than it asked for.
	case limit >= 0 && n > limit:
		return 0, fmt.Errorf("%w %q, no more than %d are allowed", errMax, text, limit)
	}
	return n, nil
}

// getPack sends every account that is servable and has not expired, one line each, sorted by key.
// It verifies nothing that was verified before, and holds no lock of the store while it sends.
//
// The order: the parameter, then one pack for each address, then one of maxPacks for all. Each is
// given back when the handler returns. The store is looked at last, since that may take long.
func (a *API) getPack(w http.ResponseWriter, r *http.Request, _ string) error {
	limit, err := packLimit(r, a.MaxPack)
	if err != nil {
		return err
	}
	a.log.trace(r, "request for JWT Pack - max="+strconv.Itoa(limit), "")
	// A pack is the most expensive answer, so each address gets one at a time.
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	if _, busy := a.packing.LoadOrStore(client, nil); busy {
		return errPacking
	}
	// The address is free again when the client has read the pack or left.
	defer a.packing.Delete(client)
	if !a.packs.TryAcquire(1) {
		return errPacks
	}
	defer a.packs.Release(1)
	// What can't be read is logged and left out, unless that is everything.
	err = a.Accounts.RescanChanged(r.Context())
	if err != nil && !errors.Is(err, accounts.ErrPartly) {
		return fmt.Errorf("%w: %w", errPack, err)
	}
	// From here on the answer is a 200: it can only be cut off.
	w.Header().Set("Content-Type", typeBare)
	w.WriteHeader(http.StatusOK)
	if limit == 0 || r.Method == http.MethodHead {
		return nil
	}
	sendPack(r.Context(), w, a.Accounts.Pack(r.Context()), limit)
	a.log.trace(r, "returning JWT Pack", "")
	return nil
}

// sendPack sends the first lines, with no line break behind the last. It ends when ctx does, which
// is when the client has left.
func sendPack(
	ctx context.Context, w http.ResponseWriter, lines iter.Seq2[string, []byte], limit int,
) {
	out := bufio.NewWriterSize(&patientWriter{w, http.NewResponseController(w)}, packBufferBytes)
	n := 0
	var line []byte
	for key, token := range lines {
		if n == limit || ctx.Err() != nil {
			break
		}
		// One buffer serves all lines. The break comes first, so that the last line has none behind
		// it.
		if line = line[:0]; n > 0 {
			line = append(line, '\n')
		}
		line = accounts.AppendPackLine(line, key, token)
		if _, err := out.Write(line); err != nil {
			return // the client has left
		}
		n++
	}
	_ = out.Flush() // an error means that the client has left
}

// patientWriter is an answer that may take long as a whole. Its write timeout begins anew with each
// write, so that only a client that does not read is disconnected.
type patientWriter struct {
	http.ResponseWriter
	connection *http.ResponseController
}

// Write implements io.Writer.
func (w *patientWriter) Write(p []byte) (int, error) {
	// An error means that this kind of connection has no deadline.
	_ = w.connection.SetWriteDeadline(time.Now().Add(packWriteTimeout))
	return w.ResponseWriter.Write(p)
}
