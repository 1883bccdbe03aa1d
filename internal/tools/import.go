package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/logging"
)

// maxPosts is how many JWTs are sent at a time, since the server syncs their commits together.
const maxPosts = 16

// Imported is what an import has done.
type Imported struct {
	// Stored counts what the server has stored now.
	Stored int
	// Same counts those whose very JWT it had already. Nothing was sent for them.
	Same int
	// Warnings are of JWTs that are stored all the same.
	Warnings []Fault
	// Faults are what the server has not taken, and what can't be read. An import goes on after
	// them.
	Faults []Fault
}

// importer is one import. to and progress may be used from any goroutine. stored is read only once
// pushes begin.
type importer struct {
	to       *Client
	progress *Progress
	posts    errgroup.Group
	stored   map[string]bool // by key: the server had some JWT of it at the start
	tokens   []Entry         // that wait for the accounts that have signed them

	mu      sync.Mutex
	done    Imported
	imports map[string][]Fault // what the server has said of imports of an account, by its key
	fatal   error              // why the server takes nothing
}

// Import pushes every JWT of a Source to a server, whose policy decides about each. An import that
// was interrupted is repeated: what the server has stored is not pushed again, because a push of
// the same JWT is announced again. The error is what ended the import: what is counted then was
// done before.
//
// Accounts are pushed maxPosts at a time. Activation tokens follow when all accounts are stored,
// because a token is refused whose account is not stored. Exporters may come after those that
// import from them, so which imports do nothing is asked again at the end.
func Import(ctx context.Context, from Source, to *Client, p *Progress) (Imported, error) {
	i := &importer{to: to, progress: p, stored: map[string]bool{}, imports: map[string][]Fault{}}
	i.posts.SetLimit(maxPosts)
	// A server that does not list its accounts gets everything, and says of the same that it is
	// stored.
	_, err := to.list(ctx, func(key string) error { i.stored[key] = true; return nil })
	if err != nil {
		return i.done, fmt.Errorf("the server does not answer: %w", err)
	}
	err = from.Each(ctx, func(e Entry) error { return i.take(ctx, e) })
	_ = i.posts.Wait() // the functions return no error
	for _, e := range i.tokens {
		if err == nil && ctx.Err() == nil {
			i.post(ctx, e)
		}
	}
	p.End()
	i.askAgain(ctx)
	return i.done, errors.Join(err, i.fatal)
}

// take sends an Entry, if it can be an account, and keeps a token for later. It waits if maxPosts
// are on their way. The error is why there is no use in further ones. It is called from one
// goroutine. An Entry with an error is a Fault at once.
func (i *importer) take(ctx context.Context, e Entry) error {
	i.mu.Lock()
	fatal := i.fatal
	i.mu.Unlock()
	switch {
	case fatal != nil:
		return errStopped
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case e.Err != nil:
		i.note(e, codeUnreadable, e.Err)
	case e.IsToken():
		i.tokens = append(i.tokens, e)
	default:
		i.posts.Go(func() error { i.post(ctx, e); return nil })
	}
	return nil
}

// errStopped ends a Source. What the cause was is said elsewhere.
var errStopped = errors.New("nothing more is sent")

// post sends an account or a token, and counts what becomes of it. A push waits for no nats-server
// (wait=0s): there are too many. It is called from up to maxPosts goroutines for accounts, and one
// by one for tokens.
func (i *importer) post(ctx context.Context, e Entry) {
	path := pathActivations
	if !e.IsToken() {
		name, head, err := e.check()
		if err != nil {
			i.note(e, codeDamaged, err)
			return
		}
		e.Name = name
		// Only accounts that were listed are asked for: an empty server gets no such requests.
		if i.stored[name] && i.to.has(ctx, name, e.etag(head)) {
			i.count(&i.done.Same)
			return
		}
		path = pathAccounts + name + "?wait=0s"
	}
	header := http.Header{"Content-Type": {"application/jwt"}}
	a, err := i.to.do(ctx, http.MethodPost, path, e.JWT, header)
	i.judge(ctx, e, a, err)
}

// judge counts what the server has said of an Entry, or ends the import if it would say that of
// all. 409 and 400 are about one JWT and are counted as refused. a is not set if err is.
func (i *importer) judge(ctx context.Context, e Entry, a answer, err error) {
	switch {
	case ctx.Err() != nil: // it may be stored or not: the next import finds out
	case err != nil:
		i.stop(fmt.Errorf("the server does not answer: %w", err))
	case a.status == http.StatusOK:
		i.count(&i.done.Stored)
		i.warn(e, a.text)
	case a.isFatal():
		i.stop(fmt.Errorf("the server takes nothing: %w", a.error()))
	default:
		i.note(e, codeRefused, a.error())
	}
}

// stop ends the import. The first reason counts. Pushes that are on their way end by themselves.
func (i *importer) stop(why error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fatal == nil {
		i.fatal = why
	}
}

// count adds one to a counter of done. The counter is a field of i.done.
func (i *importer) count(n *int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	*n++
	i.progress.Add()
}

// note adds a fault. The Entry is done. code is stable, as that of every Fault.
func (i *importer) note(e Entry, code string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done.Faults = append(i.done.Faults, e.fault(code, err))
	i.progress.Add()
}

// importWarning begins what a server says of an import that does nothing: see claimcheck.Imports.
const importWarning = "import of "

// warn takes the warnings of an answer, which follow its first line. What it says of imports is
// kept for askAgain. A line is like "warning: import of service "orders" from ACNW4GQZ6T5Y: the
// account does not export it".
func (i *importer) warn(e Entry, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for line := range strings.Lines(text) {
		words, isWarning := strings.CutPrefix(line, "warning: ")
		fault := e.fault(codeWarning, errors.New("stored, but "+words))
		switch {
		case !isWarning:
		case strings.HasPrefix(words, importWarning) && fault.Account != "":
			i.imports[fault.Account] = append(i.imports[fault.Account], fault)
		default:
			i.done.Warnings = append(i.done.Warnings, fault)
		}
	}
}

// askAgain adds the warnings of imports that still do nothing: the accounts that they are from may
// have come later. If the server does not say, what it has said before counts. It asks one account
// after the other, in the order of their keys, and does so also for an import that has ended early.
func (i *importer) askAgain(ctx context.Context) {
	for _, key := range slices.Sorted(maps.Keys(i.imports)) {
		before := i.imports[key]
		unmet, err := i.to.unmetImports(ctx, key)
		if err != nil {
			i.done.Warnings = append(i.done.Warnings, before...)
			continue
		}
		for _, words := range unmet {
			fault := before[0]
			fault.Reason = logging.Quote("stored, but "+words, maxWordsBytes)
			i.done.Warnings = append(i.done.Warnings, fault)
		}
	}
}
