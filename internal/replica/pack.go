package replica

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// firstRetry is the wait after the first pack that failed. It doubles up to maxRetry.
	firstRetry = time.Second
	// maxRetry is the longest wait between two tries.
	maxRetry = time.Minute
	// maxPuts is how many lines are put at a time. Their commits share a sync.
	maxPuts = 32
	// maxTokenBytes bounds the activation tokens that wait for the accounts of their pack.
	maxTokenBytes = 64 << 20
)

// pull takes the initial pack: MaxPack accounts, or as many as the primary gives at all. An error
// means that it is to be tried again; what was put stays.
func (r *Replica) pull(ctx context.Context) error {
	n, err := r.pack(ctx, fmt.Sprintf("?max=%d", r.MaxPack))
	// A pack that is as large as it may be has probably been cut off.
	cut := r.MaxPack > 0 && n >= r.MaxPack
	if refused, is := errors.AsType[*statusError](err); is &&
		refused.code == http.StatusBadRequest {
		n, err = r.pack(ctx, "") // the primary gives less than it was asked for
		cut = true
	}
	if err == nil && cut {
		r.Log.Warn(fmt.Sprintf("the primary may have more than the %d accounts of its pack: "+
			"others are only here after they have been asked for", n))
	}
	return err
}

// pack puts what the primary gives, and returns how many lines that is. query is "" or begins with
// "?".
func (r *Replica) pack(ctx context.Context, query string) (lines int, err error) {
	// Only silence ends the request: a large pack may take long. Its cause is the error then.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(r.Timeout,
		func() { cancel(fmt.Errorf("it says nothing for %s", r.Timeout)) })
	defer silent.Stop()
	// context.Cause says more than the error of the request, which is only "context canceled".
	body, err := r.get(ctx, pathPack+query)
	if err != nil {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	defer body.Close()
	// ReadSlice needs a buffer that holds a whole line.
	text := bufio.NewReaderSize(body, maxLineBytes)
	p := packRun{r: r, ctx: ctx}
	p.puts.SetLimit(maxPuts)
	// Lines beyond the limit are not read. Without a query the primary sets the limit.
	for (r.MaxPack < 0 || query == "" || p.lines < r.MaxPack) && err == nil {
		var line []byte
		line, err = readLine(text)
		silent.Stop() // storing may take its time
		p.line(line)
		silent.Reset(r.Timeout)
	}
	silent.Stop()
	// All accounts must be stored before the tokens that they have signed.
	// What was put before a failure stays stored.
	_ = p.puts.Wait() // note has the errors
	p.putTokens()
	if err != nil && err != io.EOF {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	return p.lines, p.end()
}

// readLine returns a line, or the beginning of one that is larger than any can be. The line is good
// until the next call.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	for err == bufio.ErrBufferFull {
		line = []byte("a line that is too long")
		_, err = r.ReadSlice('\n')
	}
	return line, err
}

// packRun is one pack on its way in. Puts run in goroutines; mu guards what they count.
type packRun struct {
	r    *Replica
	ctx  context.Context // ends when the primary says nothing for too long
	puts errgroup.Group  // of accounts, then of tokens

	lines  int // that were not empty
	formed int // of which were a key and something
	// tokens are the activation tokens, which wait for the accounts. Version 0.8.4 has them among
	// the accounts, and before those that have signed them.
	tokens     [][]byte
	tokenBytes int // of tokens

	mu      sync.Mutex
	changed int    // accounts that are newer than before
	refused int    // entries
	first   string // why the first of them was
	failed  error  // why nothing can be stored; nil if it can
}

// line puts one line of the pack. The bytes are only good until it returns.
func (p *packRun) line(line []byte) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return
	}
	// The count tells pull whether the pack was cut off. An empty line is no entry.
	p.lines++
	key, token, ok := accounts.CutPackLine(bytes.Clone(line))
	if !ok {
		p.note(key, false, errors.New("the line is not one key and one JWT"))
		return
	}
	p.formed++
	if trust.IsActivationHash(key) {
		p.keep(key, token)
		return
	}
	// Go blocks while maxPuts lines are being put.
	p.puts.Go(func() error {
		result, err := p.r.Accounts.Put(p.ctx, key, token, accounts.FromPrimary)
		p.note(key, result.Changed, err)
		return nil
	})
}

// keep keeps an activation token until all accounts are stored.
func (p *packRun) keep(hash string, token []byte) {
	if p.tokenBytes+len(token) > maxTokenBytes {
		p.note(hash, false, errors.New("there are too many activation tokens"))
		return
	}
	// The check above bounds what a hostile primary can make this server keep.
	p.tokenBytes += len(token)
	p.tokens = append(p.tokens, token)
}

// putTokens puts the activation tokens, once all accounts are stored.
func (p *packRun) putTokens() {
	for _, token := range p.tokens {
		p.puts.Go(func() error {
			if p.ctx.Err() == nil {
				_, _, err := p.r.Activations.Put(p.ctx, token, accounts.FromPrimary)
				p.note("activation", false, err)
			}
			return nil
		})
	}
	_ = p.puts.Wait() // note has the errors
}

// note counts what became of an entry.
func (p *packRun) note(key string, changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, older := errors.AsType[*accounts.OlderError](err)
	switch {
	// Only accounts are counted: the line is about them.
	case changed:
		p.changed++
	case err == nil, older, errors.Is(err, accounts.ErrLesser): // as new here as there
	case errors.Is(err, accounts.ErrSave), errors.Is(err, activations.ErrSave),
		errors.Is(err, accounts.ErrUnreadable), p.ctx.Err() != nil:
		p.failed = err
	default:
		if p.refused++; p.refused == 1 {
			p.first = fmt.Sprintf("%s: %s", logging.ShortKey(key), logging.Quote(err.Error(), 500))
		}
	}
}

// end writes what came of the pack. The error means that it is to be tried again. It is called when
// all puts have ended.
func (p *packRun) end() error {
	switch {
	// What could not be stored is asked for again, with all the rest.
	case p.failed != nil:
		return p.failed
	// Another program may answer at this URL, such as a proxy with a page of its own.
	case p.lines > 0 && p.formed == 0:
		return errors.New("what it sends is no pack")
	}
	// The beginning of the line is the original's. The number is ours.
	p.r.Log.Info("initialized from primary, " +
		logging.Count(p.changed, "account is", "accounts are") + " newer than before")
	if p.refused > 0 {
		p.r.Log.Warn(logging.Count(p.refused, "entry of the primary's pack is",
			"entries of the primary's pack are") + " refused, the first is " + p.first)
	}
	return nil
}
