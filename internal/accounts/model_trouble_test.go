package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// modelCommitter lets something happen just before a Put is decided, or just after that.
type modelCommitter struct {
	modelStore
	before, after func() // nil: nothing
}

func (c *modelCommitter) Put(
	ctx context.Context, key, kind string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error),
) (uint64, error) {
	return c.modelStore.Put(ctx, key, kind, token,
		func(now jwtstore.Stored) (jwtstore.Version, error) {
			if c.before != nil {
				c.before()
			}
			v, err := allow(now)
			if c.after != nil {
				c.after()
			}
			return v, err
		})
}

// reload changes the trust while a version is posted: "A3b/s<ot" before the decision, "A3b/s>ot"
// between that and the commit.
func (s *modelServer) reload(what string) {
	at := strings.IndexAny(what, "<>")
	v, next, isAfter := s.version(what[:at]), what[at+1:], what[at] == '>'
	if v.account == "S" { // it is locked: a reload that announces it waits for the commit
		next, _, _ = strings.Cut(next, "+")
	}
	trusting, system, done := s.trusting, s.system, false
	change := func() {
		s.changeTrust(next)
		done = true
	}
	if isAfter {
		s.committer.after = change
	} else {
		s.committer.before = change
	}
	result, err := s.registry.Put(context.Background(), s.tokens.key(v.account), v.token, byHTTP)
	s.committer.before, s.committer.after = nil, nil
	if isAfter {
		s.trusting, s.system = trusting, system // what was decided was right then
	}
	s.put(v, byHTTP, result, err)
	if isAfter || !done {
		s.changeTrust(next)
	}
}

// modelOrigins are the ways in for what comes at the same time.
var modelOrigins = map[string]accounts.Origin{
	"post": byHTTP, "update": byUpdate, "relay": byOutbox, "pack": fromPeer,
	"primary": accounts.FromPrimary,
}

// race lets versions and at most one order come at the same time, all of one account:
// "post:A3b/s,pack:A2a/s,order:A4a/s". There must be an order of them in which no rule is broken.
func (s *modelServer) race(what string) {
	var judge []func()
	var running sync.WaitGroup
	var deleted []string
	s.takeDeleted()
	for _, offer := range strings.Split(what, ",") {
		way, name, _ := strings.Cut(offer, ":")
		if way == "order" {
			order, o := s.tokens.order(s.t, name)
			running.Go(func() { _, _ = s.registry.Delete(context.Background(), order, onDeletion) })
			judge = append(judge, func() { s.ordered(o, deleted) })
			continue
		}
		v, from := s.version(name), modelOrigins[way]
		var result accounts.Result
		var err error
		running.Go(func() {
			result, err = s.registry.Put(context.Background(),
				s.tokens.key(v.account), v.token, from)
		})
		judge = append(judge, func() { s.put(v, from, result, err) })
	}
	running.Wait()
	deleted = s.takeDeleted()
	s.explain(string(strings.SplitAfter(what, ":")[1][0]), judge)
}

// explain looks for an order of events in which they break no rule, and after which is served what
// is served.
func (s *modelServer) explain(account string, events []func()) {
	var now *modelVersion
	if a, err := s.registry.GetLocal(context.Background(), s.tokens.key(account)); err == nil {
		now = s.known(a)
	}
	before, why := s.memory[account], []string{}
	for _, order := range permutations(len(events)) {
		s.memory[account] = before.clone()
		for _, i := range order {
			events[i]()
		}
		if s.served(account, now); s.failed == nil {
			return
		}
		why = append(why, s.failed.text)
		s.failed = nil
	}
	s.fail("race", "no order explains it: %s", strings.Join(why, "; "))
}

func (m *memory) clone() *memory {
	other := *m
	other.replaced, other.orders = maps.Clone(m.replaced), maps.Clone(m.orders)
	return &other
}

// permutations returns every order of the numbers below n.
func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, fewer := range permutations(n - 1) {
		for at := 0; at <= len(fewer); at++ {
			all = append(all, append(append(append([]int{}, fewer[:at]...), n-1), fewer[at:]...))
		}
	}
	return all
}

// moveAway moves the directory away, posts a version, and moves the directory back. Nothing is
// accepted and nothing is unknown meanwhile.
func (s *modelServer) moveAway(what string) {
	if s.root == "" {
		return
	}
	v, away := s.version(what), s.root+".away"
	s.must(os.Rename(s.root, away))
	result, _ := s.registry.Put(context.Background(), s.tokens.key(v.account), v.token, byHTTP)
	if result.Changed {
		s.fail("gone", "%s is accepted without a directory", v.name)
	}
	for account, m := range s.memory {
		a, err := s.registry.GetLocal(context.Background(), s.tokens.key(account))
		isStored := m.last != nil && s.trusts(m.last) && !m.gone && m.hand == nil
		switch {
		case err == nil:
			s.served(account, s.known(a))
		case errors.Is(err, accounts.ErrNotFound) && isStored:
			s.fail("gone", "%s is unknown without a directory", m)
		}
	}
	s.must(os.Rename(away, s.root))
}

// replace puts a copy in the directory's place.
func (s *modelServer) replace(string) {
	if s.root == "" {
		return
	}
	for _, m := range s.memory {
		if m.gone { // with files missing it is not taken for a copy
			return
		}
	}
	s.settle()
	elsewhere := s.root + ".copy"
	for path, content := range s.stable() {
		path = filepath.Join(elsewhere, path)
		s.must(os.MkdirAll(filepath.Dir(path), 0o700))
		s.must(os.WriteFile(path, content, 0o600))
	}
	s.must(os.MkdirAll(elsewhere, 0o700))
	s.must(os.Rename(s.root, s.root+".old"))
	s.must(os.Rename(elsewhere, s.root))
	s.must(os.RemoveAll(s.root + ".old"))
}

// cut ends the server while it writes a version that was posted, "7:A3b/s", or what an order has
// changed, "7:-A4a/s". The number says which part of it is left. It is a kill in the middle of
// that, or a power cut: then the journal's marks are lost, and any of the files.
func (s *modelServer) cut(what string) {
	if s.root == "" {
		return
	}
	first, name, _ := strings.Cut(what, ":")
	number, _ := strconv.ParseUint(first, 10, 64)
	if order, isOrder := strings.CutPrefix(name, "-"); isOrder {
		s.carryOut(order)
	} else {
		s.offer(s.version(name), byHTTP)
	}
	var left tree
	if r := rand.New(rand.NewPCG(number, 0)); r.IntN(3) == 0 {
		seen := s.watch()
		left = seen[r.IntN(len(seen))]
	} else {
		before := s.stable()
		s.settle()
		left = torn(before, s.stable(), r)
	}
	s.must(s.store.Close())
	s.end(left)
}

// watch returns what the directory has, again and again, until every change is in its file. Files
// that are written first are read last: the journal's marks come after all others.
func (s *modelServer) watch() (seen []tree) {
	path := filepath.Join(".journal", "journal")
	last := s.stable()
	seen = append(seen, last)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		journal, err := os.ReadFile(filepath.Join(s.root, path))
		now := s.files()
		if s.must(ignoreAbsent(err)); err == nil {
			now[path] = journal
		}
		if now.equal(last) {
			if s.isSettled() {
				break
			}
			time.Sleep(100 * time.Microsecond)
			continue
		}
		seen, last = append(seen, now), now
	}
	return seen
}

// torn is what a power cut may leave of what was written between two moments. Everything else is
// durable when the index is written, and so is a file when the one of the other layout is removed.
func torn(before, now tree, r *rand.Rand) tree {
	bases := map[string]bool{}
	for path := range now {
		bases[filepath.Base(path)] = true
	}
	whole := r.IntN(3) == 0
	for path := range before {
		whole = whole || now[path] == nil && strings.HasSuffix(path, ".jwt") &&
			bases[filepath.Base(path)]
	}
	left := maps.Clone(before)
	for path := range now {
		if isState(path) && filepath.Base(path) == "journal" {
			continue
		}
		if whole || !isState(path) && r.IntN(2) == 0 {
			left[path] = now[path]
		}
	}
	for path := range before {
		if now[path] == nil && (whole || r.IntN(2) == 0) && !isState(path) {
			delete(left, path)
		}
	}
	return left
}

// race draws what comes at the same time.
func (d *drawing) race() string {
	account, offers := d.account(), []string{}
	for range 2 + d.IntN(2) {
		way := []string{"post", "post", "update", "relay", "pack", "primary"}[d.IntN(6)]
		offers = append(offers, way+":"+account+d.version()[1:])
	}
	if d.IntN(4) == 0 {
		offers[0] = "order:" + account + d.oneOf("24446") + d.oneOf("ab") + "/" + d.oneOf("sssox")
	}
	return strings.Join(offers, ",")
}

func (d *drawing) reload() string { return d.version() + d.oneOf("<>") + d.trust() }

func (d *drawing) cut() string {
	number := fmt.Sprint(d.IntN(1000))
	if d.IntN(4) == 0 {
		return number + ":-" + d.order()
	}
	return number + ":" + d.version()
}
