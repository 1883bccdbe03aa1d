package notifier

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

const (
	// maxIncomplete bounds the accounts of which is remembered what is not in effect, and
	// maxShortfalls the nats-servers of all of them together. Of the accounts beyond only the
	// number is known.
	maxIncomplete = 10_000
	maxShortfalls = 50_000
	// maxLeftOut bounds what is remembered of one account and nats-server, in bytes.
	maxLeftOut = 256
	// maxQuestions bounds the accounts that are to be asked about. The others wait for the next
	// round.
	maxQuestions = 10_000
	// maxExporters bounds the accounts whose importers are to be asked about. The same holds for
	// others.
	maxExporters = 1000
	// askers is how many questions are asked at a time.
	askers = 4
	// askTimeout is how long nats-servers have to answer a question, roundTimeout the same in a
	// round. No push waits that long.
	askTimeout   = 2 * time.Second
	roundTimeout = 500 * time.Millisecond
	// roundWait is how long after the start of a session the first round begins, and roundInterval
	// the least time between two rounds.
	roundWait     = 5 * time.Second
	roundInterval = time.Minute
	// roundParts says that a round takes one of so many parts of the time, and a look for importers
	// too.
	roundParts = 10
	// lookedAtOnce is how many accounts a round looks at between two pauses.
	lookedAtOnce = 1000
)

// anotherJWT is the reason of a nats-server that has acknowledged the stored JWT and runs another
// one.
const anotherJWT = "it runs another JWT"

// Facts asks all nats-servers what they say of an account. *facts.Asker meets it.
type Facts interface {
	Info(ctx context.Context, key string) []facts.Info
}

// Index has what is stored. *jwtstore.Index meets it.
type Index interface {
	All() iter.Seq2[string, jwtstore.Version]
	Importers(key string) iter.Seq[jwtstore.Importer]
}

// incomplete remembers which accounts are not wholly in effect, and at which nats-servers. They
// have acknowledged the JWT, and have left out a part of it. Only asking shows that. It is asked
//
//   - when a change was acknowledged, about the account, and a moment later about those that import
//     from it,
//   - in rounds, about all accounts that have imports or use JetStream.
//
// A round finds what time has changed, and what was known before this process began. It takes a
// tenth of the time for itself.
//
// It outlives sessions. Notifier.mu guards it.
type incomplete struct {
	byKey     map[string][]accounts.Refusal // by server
	size      int                           // how many there are, of all accounts together
	beyond    int                           // how many more the last round has found
	questions *workQueue[string]            // keys of accounts that are to be asked about
	exporters *workQueue[string]            // keys of accounts that have changed
}

// newIncomplete returns one that knows nothing.
func newIncomplete(mu *sync.Mutex) *incomplete {
	return &incomplete{
		byKey:     make(map[string][]accounts.Refusal),
		questions: newWorkQueue[string](mu, maxQuestions, askers),
		exporters: newWorkQueue[string](mu, maxExporters, 1),
	}
}

// has reports whether an account is not wholly in effect somewhere.
func (i *incomplete) has(key string) bool { return len(i.byKey[key]) > 0 }

// reason returns what of an account is not in effect at a server, "" if that is nothing.
func (i *incomplete) reason(key, server string) string {
	for _, r := range i.byKey[key] {
		if r.Server == server {
			return r.Reason
		}
	}
	return ""
}

// ask queues a question about an account. If it is being asked, the answer may be outdated: it is
// asked once more.
func (i *incomplete) ask(key string) { i.questions.addLocked(key) }

// changed notes that servers have applied a change of an account from which others may import.
func (i *incomplete) changed(key string) { i.exporters.addLocked(key) }

// whenAnswered returns a channel that is closed when the question about an account is answered, nil
// if there is none.
func (i *incomplete) whenAnswered(key string) <-chan struct{} {
	return i.questions.whenDoneLocked(key)
}

// set records what is known about an account, and reports false if there is no room for it.
func (i *incomplete) set(key string, at []accounts.Refusal) bool {
	i.size -= len(i.byKey[key])
	delete(i.byKey, key)
	switch {
	case len(at) == 0:
	case len(i.byKey) < maxIncomplete && i.size+len(at) <= maxShortfalls:
		i.byKey[key] = at
		i.size += len(at)
	default:
		return false
	}
	return true
}

// count returns how many accounts are not wholly in effect.
func (i *incomplete) count() int { return len(i.byKey) + i.beyond }

// byServer returns how many accounts are not wholly in effect at each server.
func (i *incomplete) byServer() map[string]int {
	count := make(map[string]int)
	for _, at := range i.byKey {
		for _, r := range at {
			count[r.Server]++
		}
	}
	return count
}

// asker asks whether accounts are wholly in effect, in one session.
type asker struct {
	n        *Notifier
	accounts Accounts
	facts    Facts
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) {
	var tasks sync.WaitGroup
	i := a.n.incomplete
	i.questions.work(ctx, &tasks, func(key string) { a.ask(ctx, key, askTimeout) })
	tasks.Go(func() { a.goRounds(ctx) })
	i.exporters.work(ctx, &tasks, func(key string) { a.askImporters(ctx, key) })
	tasks.Wait()
}

// askImporters has it asked about the accounts that import from one that has changed: what they
// import may have become exported, or not exported any more.
func (a *asker) askImporters(ctx context.Context, exporter string) {
	began := time.Now()
	for i := range a.n.index.Importers(exporter) {
		a.n.mu.Lock()
		a.n.incomplete.ask(i.Key)
		a.n.mu.Unlock()
	}
	pause.Share(ctx, began, roundParts)
}

// goRounds asks about all accounts of which a part may be left out, again and again.
func (a *asker) goRounds(ctx context.Context) {
	for wait := roundWait; pause.For(ctx, wait); {
		began := time.Now()
		if !a.goRound(ctx) {
			return
		}
		wait = max(roundInterval, time.Since(began))
	}
}

// goRound asks about the accounts that are not wholly in effect, and then about all others of which
// a part may be left out. It reports false if ctx has ended.
func (a *asker) goRound(ctx context.Context) bool {
	beyond, looked, began := 0, 0, time.Now()
	wait := func() bool {
		isGoingOn := pause.Share(ctx, began, roundParts)
		began = time.Now()
		return isGoingOn
	}
	for _, key := range a.n.Incomplete() {
		if a.ask(ctx, key, roundTimeout); !wait() {
			return false
		}
	}
	for key, v := range a.n.index.All() {
		isMeant := v.Servable && mayLack(v.Summary.Imports, v.Summary.JetStream)
		if isMeant && !a.ask(ctx, key, roundTimeout) {
			beyond++
		}
		if looked++; (isMeant || looked%lookedAtOnce == 0) && !wait() {
			return false
		}
	}
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	a.n.incomplete.beyond = beyond
	return true
}

// mayLack reports whether a nats-server may leave out a part of a JWT: the other parts it takes or
// refuses.
func mayLack(imports int, jetStream bool) bool { return imports > 0 || jetStream }

// ask asks what of an account is not in effect, and records that. It reports false if there is no
// room.
func (a *asker) ask(ctx context.Context, key string, timeout time.Duration) (ok bool) {
	account, err := a.accounts.GetLocal(ctx, key)
	if errors.Is(err, accounts.ErrNotFound) {
		return a.n.setIncomplete(key, nil, nil)
	}
	if err != nil {
		return true // what was known remains
	}
	claims, err := trust.Claims(account.JWT) // it was verified before it was served
	if err != nil {
		return true // nats-server refuses it
	}
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	infos := a.facts.Info(asking, key)
	if now, err := a.accounts.GetLocal(ctx, key); err != nil || now.Hash != account.Hash {
		return true // the change that has just come is asked about as well
	}
	return a.n.setIncomplete(key, infos, func(i facts.Info) string {
		if i.JWT != account.Hash && i.JWT != (accounts.Digest{}) {
			return anotherJWT
		}
		return i.LeftOut(claims).String()
	})
}

// setIncomplete records what nats-servers say of an account, with the reason for each. What is
// pending for one is not about the stored JWT. Of one that has not answered remains what was known.
// It reports false if there is no room.
func (n *Notifier) setIncomplete(
	key string, infos []facts.Info, reason func(facts.Info) string,
) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	pending := n.outbox.PendingFor(key)
	var at []accounts.Refusal
	for _, i := range infos {
		why := ""
		switch {
		case n.outbox.IsPending(i.Server.Name, pending.Seq):
		case i.State == facts.Unknown:
			why = n.incomplete.reason(key, i.Server.Name)
		case i.State == facts.Loaded:
			n.results.fetched(key, i.Server.Name)
			why = reason(i)
		}
		if why == anotherJWT && n.incomplete.reason(key, i.Server.Name) != anotherJWT {
			n.unanswered.checkOnce(key, i.Server.Name, time.Now()) // it may be a newer one
			if n.session != nil {
				n.session.wakeUp()
			}
		}
		if why != "" {
			why = strings.ToValidUTF8(logging.Cut(why, maxLeftOut), "\uFFFD")
			at = append(at, accounts.Refusal{Server: i.Server.Name, Reason: why})
		}
	}
	slices.SortFunc(at, func(a, b accounts.Refusal) int { return cmp.Compare(a.Server, b.Server) })
	return n.incomplete.set(key, at)
}

// Incomplete returns the accounts that a nats-server has acknowledged, and that are not wholly in
// effect there.
func (n *Notifier) Incomplete() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.incomplete.byKey))
}
