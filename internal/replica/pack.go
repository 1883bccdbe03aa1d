package replica

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/trust"
)

const (
	// againAfter is the wait after the first pack that failed; it doubles up to againMost.
	againAfter = time.Second
	againMost  = time.Minute
	// mergedAtOnce is how many lines are on their way through the gate: their commits share a sync.
	mergedAtOnce = 32
	// mostLater bounds the activation tokens that wait for the accounts of their pack, in bytes.
	mostLater = 64 << 20
)

// errTooMany says that the primary gives less than it was asked for.
var errTooMany = errors.New("server returned status 400 Bad Request")

// pull takes the initial pack: MaxPack accounts, or as many as the primary gives at all.
func (r *Replica) pull(ctx context.Context) error {
	n, err := r.pack(ctx, fmt.Sprintf("?max=%d", r.MaxPack))
	cut := r.MaxPack > 0 && n >= r.MaxPack
	if errors.Is(err, errTooMany) {
		n, err = r.pack(ctx, "")
		cut = true
	}
	if err == nil && cut {
		r.Log.Warn(fmt.Sprintf("the primary may have more than the %d accounts of its pack: others are only here after they have been asked for", n))
	}
	return err
}

// pack lets in what the primary gives, and returns how much that is.
func (r *Replica) pack(ctx context.Context, query string) (lines int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(r.Timeout, func() { cancel(fmt.Errorf("it says nothing for %s", r.Timeout)) })
	defer silent.Stop()
	body, refused, err := r.get(ctx, pathPack+query)
	switch {
	case err != nil:
		return 0, cmp.Or(context.Cause(ctx), err)
	case refused != nil && refused.code == http.StatusBadRequest && query != "":
		return 0, errTooMany
	case refused != nil:
		return 0, refused
	}
	defer body.Close()
	text := bufio.NewReaderSize(body, mostJWT)
	m := merge{r: r, ctx: ctx, turn: make(chan struct{}, mergedAtOnce)}
	for (r.MaxPack < 0 || query == "" || m.lines < r.MaxPack) && err == nil {
		var line []byte
		line, err = readLine(text)
		silent.Stop() // the gate may take its time
		m.line(string(line))
		silent.Reset(r.Timeout)
	}
	silent.Stop()
	m.all.Wait()
	m.activations()
	if err != nil && err != io.EOF {
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	return m.lines, m.end()
}

// readLine returns a line, or the beginning of one that is larger than any can be.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	for err == bufio.ErrBufferFull {
		line = []byte("a line that is too long")
		_, err = r.ReadSlice('\n')
	}
	return line, err
}

// merge is a pack on its way through the gate.
type merge struct {
	r    *Replica
	ctx  context.Context
	turn chan struct{}
	all  sync.WaitGroup

	lines  int      // that were not empty
	formed int      // of which were a key and something
	later  [][]byte // activation tokens: 0.8.4 has them among the accounts, and before those who have signed them
	size   int      // of later

	mu      sync.Mutex
	changed int
	refused int
	first   string // why the first one was
	failed  error  // what keeps us from storing anything, if something does
}

func (m *merge) line(text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	m.lines++
	key, token, found := strings.Cut(text, "|")
	if !found {
		m.note(key, false, errors.New("the line is not one key and one JWT"))
		return
	}
	m.formed++
	if trust.IsActivationHash(key) {
		m.keep(key, []byte(token))
		return
	}
	m.turn <- struct{}{}
	m.all.Go(func() {
		defer func() { <-m.turn }()
		done, err := m.r.Gate.Put(m.ctx, key, []byte(token), source)
		m.note(key, done.Changed, err)
	})
}

// keep keeps an activation token until the accounts are here.
func (m *merge) keep(hash string, token []byte) {
	if m.size += len(token); m.size > mostLater {
		m.size -= len(token)
		m.note(hash, false, errors.New("there are too many activation tokens"))
		return
	}
	m.later = append(m.later, token)
}

// activations lets those in that came with the pack, now that it is known who may sign them.
func (m *merge) activations() {
	for _, token := range m.later {
		m.turn <- struct{}{}
		m.all.Go(func() {
			defer func() { <-m.turn }()
			if m.ctx.Err() == nil {
				_, _, err := m.r.Activations.Put(m.ctx, token, source)
				m.note("activation", false, err)
			}
		})
	}
	m.all.Wait()
}

func (m *merge) note(key string, changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, older := errors.AsType[*accounts.OlderError](err)
	switch {
	case changed:
		m.changed++
	case err == nil, older, errors.Is(err, accounts.ErrLesser):
	case errors.Is(err, accounts.ErrSave), errors.Is(err, activations.ErrSave), errors.Is(err, accounts.ErrUnreadable), m.ctx.Err() != nil:
		m.failed = err
	default:
		if m.refused++; m.refused == 1 {
			m.first = fmt.Sprintf("%.12q: %s", key, err)
		}
	}
}

// end says what came of it. The error means that it is to be tried again.
func (m *merge) end() error {
	switch {
	case m.failed != nil:
		return m.failed
	case m.lines > 0 && m.formed == 0:
		return errors.New("what it sends is no pack")
	}
	m.r.Log.Info(fmt.Sprintf("initialized from primary, %d accounts are newer than before", m.changed))
	if m.refused > 0 {
		m.r.Log.Warn(fmt.Sprintf("%d entries of the primary's pack are refused, the first is %.500q", m.refused, m.first))
	}
	return nil
}
