package notifier

import (
	"context"
	"maps"
	"slices"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	// leastWait and mostWait bound how long a client waits that does not say how long.
	leastWait = 50 * time.Millisecond
	mostWait  = 500 * time.Millisecond
	// maxResults bounds the accounts in results. Each takes some hundred bytes.
	maxResults = 50_000
)

// results has what each nats-server has answered last for an account, by account and server:
// whether it has loaded the account. So a server that has not, and has nothing pending, does not
// pass for one that has acknowledged the JWT.
type results map[string]map[string]bool

// set records an answer. If there are too many accounts another one is forgotten.
func (r results) set(key, server string, isLoaded bool) {
	if r[key] == nil {
		for other := range r {
			if len(r) >= maxResults {
				delete(r, other)
			}
			break
		}
		r[key] = make(map[string]bool, 1)
	}
	r[key][server] = isLoaded
}

// fetched records that a server has loaded an account since it answered that it had not: it has
// fetched the JWT itself.
func (r results) fetched(key, server string) {
	if isLoaded, known := r[key][server]; known && !isLoaded {
		delete(r[key], server)
	}
}

// state is what has become of an account at a server for which nothing is pending.
func (r results) state(key, server string) accounts.ServerState {
	switch isLoaded, known := r[key][server]; {
	case !known:
		return accounts.ServerSettled
	case isLoaded:
		return accounts.ServerAcknowledged
	default:
		return accounts.ServerNotInUse
	}
}

// standings are the announcements with respect to what has become of them at a nats-server.
type standings struct{ *announcements }

// state says what has become of an account's latest change at a nats-server that is there, and more
// if it is known. seq is the number of the change, 0 if none is pending.
func (p standings) state(srv *server, key string, seq uint64) (accounts.ServerState, string) {
	a := p.byKey[key] // nil if it is not taken up yet
	switch {
	case !p.n.outbox.IsPending(srv.name, seq):
		return p.n.results.state(key, srv.name), ""
	case srv.neverAnswers():
		return accounts.ServerNeverAnswered,
			"it answers PING, but has never answered an account update"
	case a != nil && a.notCached[srv.name], a == nil && srv.mayLackInCache(seq):
		return accounts.ServerNotInUse, notCachedYet
	}
	if a != nil {
		if o, answered := a.said[srv.name]; answered {
			return o.state, o.reason
		}
	}
	switch {
	case !srv.hasAnswered:
		return accounts.ServerNew, ""
	case srv.state == silent:
		return accounts.ServerUnanswered, "it does not answer"
	default:
		return accounts.ServerUnanswered, ""
	}
}

// isLacking reports whether a server has refused a change, has not answered, or is in one more
// state.
func (p standings) isLacking(a *announcement, more accounts.ServerState) bool {
	return p.servers.any(func(srv *server) bool {
		state, _ := p.state(srv, a.Key, a.Seq)
		switch state {
		case accounts.ServerRefused, accounts.ServerUnanswered, accounts.ServerNew, more:
			return true
		}
		return false
	})
}

// Delivery says how far the latest change of an account has got.
func (n *Notifier) Delivery(key string) accounts.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deliveryLocked(key)
}

// deliveryLocked says how far the latest change of an account has got. n.mu must be held.
func (n *Notifier) deliveryLocked(key string) accounts.Delivery {
	switch {
	case !n.configured:
		return accounts.Delivery{State: accounts.NotConfigured}
	case n.session == nil:
		return accounts.Delivery{State: accounts.NotConnected}
	case n.session.servers.isWrongAccount():
		user := n.session.servers.user
		return accounts.Delivery{State: accounts.WrongAccount, User: user.Account,
			System: user.systems()}
	}
	d := accounts.Delivery{State: accounts.Sent}
	latest := n.outbox.PendingFor(key)
	for _, name := range slices.Sorted(maps.Keys(n.session.servers.byName)) {
		srv := n.session.servers.byName[name]
		state, reason := standings{n.session.announcements}.state(srv, key, latest.Seq)
		d.Count(name, state, reason)
		if why := n.incomplete.reason(key, name); why != "" && state.IsAcknowledged() {
			d.Partly = append(d.Partly, accounts.Refusal{Server: name, Reason: why})
		}
	}
	return d
}

// EndWaits ends every Wait of a Receipt, and lets no other one begin. A stop calls it.
func (n *Notifier) EndWaits() { close(n.stopping) }

// receipt follows the latest change of an account.
type receipt struct {
	n   *Notifier
	key string
}

// Wait implements accounts.Receipt.
func (r receipt) Wait(ctx context.Context, limit time.Duration) accounts.Delivery {
	isUsual := limit == accounts.UsualWait
	if isUsual {
		limit = r.n.usualWait()
	}
	return r.n.wait(ctx, r.key, limit, isUsual)
}

// wait implements Wait of a Receipt. isUsual leaves out servers that are known not to answer.
func (n *Notifier) wait(
	ctx context.Context, key string, limit time.Duration, isUsual bool,
) accounts.Delivery {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		d, changed := n.follow(key, isUsual)
		if changed == nil {
			return d
		}
		select {
		case <-changed:
		case <-n.stopping:
			return n.Delivery(key)
		case <-ctx.Done():
			return n.Delivery(key)
		}
	}
}

// usualWait is a little longer than an answer takes. It has to be longer as long as it is not known
// which servers there are.
func (n *Notifier) usualWait() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.session == nil:
		return 0
	case n.session.servers.discovering:
		return mostWait
	}
	return min(leastWait+2*n.session.servers.slowestRoundTrip(), mostWait)
}

// follow returns how far the latest change of an account has got, and a channel that is closed when
// more is known. The channel is nil if there is nothing to wait for. isUsual leaves out servers
// that are known not to answer.
func (n *Notifier) follow(key string, isUsual bool) (accounts.Delivery, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.deliveryLocked(key)
	if d.State != accounts.Sent {
		return d, nil
	}
	p := n.session.announcements
	a, latest := p.byKey[key], n.outbox.PendingFor(key)
	switch {
	case a == nil && latest.Seq == 0:
		return d, n.incomplete.whenAnswered(key)
	case a != nil:
		latest = a.Change
	}
	isWaiting := d.Unanswered() > 0 || d.New > 0 || d.Servers == 0
	if v := n.session.servers; isUsual && !v.discovering {
		isWaiting = v.any(func(srv *server) bool {
			state, _ := standings{p}.state(srv, key, latest.Seq)
			return !srv.isSilent() &&
				(state == accounts.ServerUnanswered || state == accounts.ServerNew)
		})
	}
	if !isWaiting {
		return d, n.incomplete.whenAnswered(key)
	}
	return d, p.get(latest).whenChanged()
}
