package auth

import (
	"context"
	"sync"
	"time"
)

// patience is how long a login waits for its compare.
const patience = 5 * time.Second

// Guard keeps one set of rules. A reload takes another one from the same Desk, which remembers nobody.
type Guard struct {
	rules  Rules
	users  map[string]User
	desk   *Desk
	memory *memory

	mu    sync.Mutex
	trips map[mark]*trip // the headers that are being compared
}

// trip is one compare for all requests that came with the same header.
type trip struct {
	who     identity
	err     error
	done    chan struct{}      // closed when who and err are set
	riders  int                // requests that wait for it; guarded by the Guard's mu
	abandon context.CancelFunc // for when the last rider has left
}

// Guard returns a guard that shares the desk's limits with the others.
func (d *Desk) Guard(r Rules) *Guard {
	g := &Guard{rules: r, users: map[string]User{}, desk: d, memory: newMemory(), trips: map[mark]*trip{}}
	for _, u := range r.Users {
		g.users[u.Name] = u
	}
	return g
}

// login takes a header that was right before, otherwise its password is compared.
func (g *Guard) login(ctx context.Context, v Visitor) (identity, error) {
	if len(g.users) == 0 || len(v.Authorization) > maxHeader {
		return identity{}, ErrUnknown
	}
	k := g.memory.mark(markHeader, []byte(v.Authorization))
	if who, ok := g.memory.recall(k); ok {
		return who, nil
	}
	name, password, ok := parseBasic(v.Authorization)
	if !ok {
		return identity{}, ErrUnknown
	}
	t, err := g.board(k, attempt{name: name, password: password, address: v.Address})
	if err != nil {
		return identity{}, err
	}
	defer g.leave(k, t)
	select {
	case <-t.done:
		return t.who, t.err
	case <-ctx.Done():
		return identity{}, ctx.Err()
	}
}

// board joins the compare of the same header, or begins it.
func (g *Guard) board(k mark, a attempt) (*trip, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.trips[k]; t != nil {
		t.riders++
		return t, nil
	}
	if who, ok := g.memory.recall(k); ok { // it arrived a moment ago
		t := &trip{who: who, done: make(chan struct{}), riders: 1, abandon: func() {}}
		close(t.done)
		return t, nil
	}
	from, err := g.desk.enter(a.address)
	if err != nil {
		return nil, err
	}
	user, known := g.users[a.name]
	if !known {
		user = g.decoy(a.name)
	}
	a.hash = user.Hash
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t := &trip{done: make(chan struct{}), riders: 1, abandon: cancel}
	g.trips[k] = t
	go func() {
		defer cancel()
		err := g.desk.judge(ctx, from, a, known)
		g.arrive(k, t, identity{user.Name, user.Role}, err)
	}()
	return t, nil
}

// decoy is a user whose password is compared for somebody whom we don't know, so that the time it takes gives no name
// away: always the same one for a name, and as often an expensive one as there are such among the users.
func (g *Guard) decoy(name string) User {
	k := g.memory.mark(markName, []byte(name))
	i := (int(k[0])<<16 | int(k[1])<<8 | int(k[2])) % len(g.rules.Users)
	return g.rules.Users[i]
}

func (g *Guard) arrive(k mark, t *trip, who identity, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.err = err; err == nil {
		t.who = who
		g.memory.remember(k, who)
	}
	g.forget(k, t)
	close(t.done)
}

// leave gives up a compare that nobody waits for any more.
func (g *Guard) leave(k mark, t *trip) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.riders--; t.riders == 0 {
		t.abandon()
		g.forget(k, t)
	}
}

func (g *Guard) forget(k mark, t *trip) {
	if g.trips[k] == t {
		delete(g.trips, k)
	}
}
