package accounts_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// failure is a rule that a sequence has broken. kind says which.
type failure struct {
	kind, text string
	at         int // number of the step
}

// world is the servers of one sequence. They have no network: what one of them passes on to another
// is a step.
type world struct {
	t       *testing.T
	tokens  *modelTokens
	servers []*modelServer
	failed  *failure // the first one
	at      int      // number of the step that runs
}

// modelServer is one account server, and what the model knows of it.
type modelServer struct {
	*world
	number   int
	memory   map[string]*memory // by account
	trusting string             // letters of the signers that are trusted
	system   *modelVersion      // configured system account; nil: none
	ahead    atomic.Int64       // by which its clock is wrong, in nanoseconds; timers of it read the clock
	readOnly bool               // only files are taken
	// allowOlder and shard hold from the next start on.
	nextAllowOlder, allowOlder bool
	nextShard, shard           bool
	nextStateDir, stateDir     string // its number; "" and 0: there is none

	root      string     // of the store; "": it is in memory
	store     modelStore // nil while the server is down
	registry  *accounts.Registry
	committer *modelCommitter
	placed    map[string]*modelVersion // what was put into the directory while it was down
	oldIndex  tree                     // the files of an earlier index

	mu      sync.Mutex // guards what follows
	deleted []string   // accounts that were taken out by the step that runs
}

// modelStore is a store that can be stopped.
type modelStore interface {
	accounts.Store
	accounts.Committer
	Close() error
}

// newWorld makes one server for each letter.
//
//	D    with a directory
//	M    in memory
//	R    read-only, with a directory of its own for what it serves
func newWorld(t *testing.T, tokens *modelTokens, dir, kinds string) *world {
	w := &world{t: t, tokens: tokens}
	for i, kind := range kinds {
		s := &modelServer{world: w, number: i, trusting: "ost", memory: map[string]*memory{},
			readOnly: kind == 'R', placed: map[string]*modelVersion{}}
		for _, account := range strings.Split(modelAccounts, "") {
			s.memory[account] = &memory{orders: map[string]bool{}}
		}
		if kind != 'M' {
			s.root = filepath.Join(dir, fmt.Sprint("server", i))
		}
		w.servers = append(w.servers, s)
	}
	return w
}

// close ends every server.
func (w *world) close() {
	for _, s := range w.servers {
		if s.store != nil {
			_ = s.store.Close()
		}
	}
}

// fail records that a rule is broken. Only the first time counts.
func (w *world) fail(kind, format string, args ...any) {
	if w.failed == nil {
		w.failed = &failure{kind: kind, text: fmt.Sprintf(format, args...), at: w.at}
	}
}

// fail names the server.
func (s *modelServer) fail(kind, format string, args ...any) {
	s.world.fail(kind, "server %d: %s", s.number, fmt.Sprintf(format, args...))
}

// clock is what the server takes for the present: long after all versions were issued, if it is
// right.
func (s *modelServer) clock() time.Time {
	return modelEpoch.Add(100*time.Second + time.Duration(s.ahead.Load()))
}

func (s *modelServer) trustsKey(signer byte) bool {
	return strings.IndexByte(s.trusting, signer) >= 0
}

func (s *modelServer) trusts(v *modelVersion) bool { return s.trustsKey(v.signer) }

// Observe implements accounts.Observer.
func (s *modelServer) Observe(e accounts.Event) error {
	if e.Result == accounts.Deleted {
		for letter, a := range s.tokens.accounts {
			if a.ID == e.Account {
				s.mu.Lock()
				s.deleted = append(s.deleted, letter)
				s.mu.Unlock()
			}
		}
	}
	return nil
}

// takeDeleted returns which accounts were taken out since the last call.
func (s *modelServer) takeDeleted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := s.deleted
	s.deleted = nil
	return deleted
}

// start starts the server, unless it runs.
func (s *modelServer) start() {
	if s.store != nil {
		return
	}
	s.allowOlder, s.shard, s.stateDir = s.nextAllowOlder, s.nextShard, s.nextStateDir
	trusted := s.tokens.trust(s.t, s.trusting, s.system)
	if s.root == "" {
		s.store = jwtstore.NewMemory(true)
	} else {
		o := jwtstore.Options{Dir: s.root, Shard: s.shard, Announce: true, Newer: accounts.Newer,
			LockWait: time.Minute, StateDir: s.statePath(s.stateDir)}
		d, err := jwtstore.OpenDir(context.Background(), o)
		if err != nil {
			s.t.Fatal(err)
		}
		s.store = d
	}
	s.committer = &modelCommitter{modelStore: s.store}
	s.registry = accounts.New(accounts.Options{
		Store:      s.store,
		Committer:  s.committer,
		Announcer:  &announcer{delivery: accounts.Delivery{State: accounts.Sent, Servers: 1}},
		Observer:   s,
		Peers:      (*modelPeers)(s),
		Trust:      trusted,
		AllowOlder: s.allowOlder,
		ReadOnly:   s.readOnly,
		Now:        s.clock,
		CacheBytes: 32 << 20,

		AllowDelete: true,
	})
	s.noteSystem()
	placed := s.placed
	s.placed = map[string]*modelVersion{}
	s.check()
	for account, v := range placed {
		a, err := s.registry.GetLocal(context.Background(), s.tokens.key(account))
		if s.trusts(v) && (err != nil || s.known(a) != v) {
			s.fail("hand", "%s was put there by hand and is not served", v.name)
		}
	}
}

// statePath is where the state directory with a number is; "" if there is none. It is in the store's
// directory, so that a crash and a copy leave both as they were at one moment.
func (s *modelServer) statePath(number string) string {
	if number == "" || number == "0" {
		return ""
	}
	return filepath.Join(s.root, ".state"+number)
}

// stop ends the server as it should end. The files are in one layout then.
func (s *modelServer) stop() {
	if s.root == "" || s.store == nil {
		return
	}
	if err := s.store.Close(); err != nil {
		s.fail("stop", "%s", err)
	}
	s.store = nil
	for _, account := range strings.Split(modelAccounts, "") {
		if s.has(account, s.shard) && s.has(account, !s.shard) {
			s.fail("two files", "%s has two files after a stop", account)
		}
	}
	s.oldIndex = s.index()
}

// crash ends the server so that the files are as they were in the middle of its life.
func (s *modelServer) crash() {
	if s.root == "" || s.store == nil {
		return
	}
	left := s.stable()
	if err := s.store.Close(); err != nil {
		s.fail("stop", "%s", err)
	}
	s.end(left)
}

// end is the end of a server that was not stopped. left is the files that it leaves.
func (s *modelServer) end(left tree) {
	s.store = nil
	s.restore(left)
	for _, m := range s.memory {
		m.crash()
	}
	s.oldIndex = s.index()
}

// modelPeers is the other servers, as a server asks them for what it lacks.
type modelPeers modelServer

// Find implements accounts.Source.
func (p *modelPeers) Find(ctx context.Context, key string, take func(token []byte) error) error {
	for _, other := range p.servers {
		if other.number == p.number || other.store == nil {
			continue
		}
		if a, err := other.registry.GetLocal(ctx, key); err == nil && take(a.JWT) == nil {
			return nil
		}
	}
	return accounts.ErrNotFound
}

// check asks the server for every account.
func (s *modelServer) check() {
	for _, letter := range strings.Split(modelAccounts, "") {
		key := s.tokens.key(letter)
		a, err := s.registry.GetLocal(context.Background(), key)
		switch {
		case err == nil:
			s.served(letter, s.known(a))
		case errors.Is(err, accounts.ErrUnreadable):
			s.fail("unreadable", "%s: %s", letter, err)
		default:
			s.served(letter, nil)
		}
		a, err = s.registry.Get(context.Background(), key)
		if err == nil {
			s.found(letter, s.known(a))
		}
	}
}

// known is the version that a server has answered with.
func (s *modelServer) known(a *accounts.Account) *modelVersion {
	v := s.tokens.find(a.JWT)
	if v == nil || s.tokens.key(v.account) != a.Key {
		s.fail("unknown", "%s has %q", a.Key, a.JWT)
		return &modelVersion{}
	}
	return v
}

// found checks an answer that may be another server's.
func (s *modelServer) found(account string, v *modelVersion) {
	m := s.memory[account]
	isGreater := m.last != nil && m.last.lesser(v) // between servers that one wins
	if v != m.last && v != m.hand && v != s.system && m.superseded(v) && !isGreater && !m.lost {
		s.fail("back", "%s is found, the newest is %s", v.name, m)
	}
	if !s.trusts(v) {
		s.fail("untrusted", "%s is found", v.name)
	}
}

// pull takes the pack of another server. What is in it is what that server serves.
func (s *modelServer) pull(other *modelServer) (changed bool) {
	ctx := context.Background()
	other.start()
	if err := other.registry.Rescan(ctx); err != nil {
		other.fail("unreadable", "%s", err)
	}
	digest := accounts.Digest{}
	for key, token := range other.registry.Pack(ctx) {
		a, err := other.registry.GetLocal(ctx, key)
		if err != nil || sha256.Sum256(token) != a.Hash {
			other.fail("pack", "the pack has %s, which is not served: %v",
				s.tokens.find(token).name, err)
			return
		}
		for i := range digest {
			digest[i] ^= a.Hash[i]
		}
		changed = s.offer(s.known(a), fromPeer) || changed
	}
	if other.registry.Digest() != digest {
		other.fail("digest", "the digest is not that of the pack")
	}
	return changed
}

// offer puts a version.
func (s *modelServer) offer(v *modelVersion, from accounts.Origin) (changed bool) {
	result, err := s.registry.Put(context.Background(), s.tokens.key(v.account), v.token, from)
	s.put(v, from, result, err)
	return result.Changed
}

// converge lets all servers trust the same and take what the others have, until nothing changes.
// Two servers do not serve different versions then, unless a rule keeps one of them from taking the
// other's.
func (w *world) converge() {
	for _, s := range w.servers {
		s.start()
		s.trusting, s.system = "ost", nil
		s.ahead.Store(0)
		s.registry.SetTrust(w.tokens.trust(w.t, s.trusting, nil))
		s.check()
	}
	changed := true
	for round := 0; changed && w.failed == nil; round++ {
		if changed = false; round > len(w.servers)+1 {
			w.fail("converge", "the servers do not come to an end")
			return
		}
		for _, s := range w.servers {
			for _, other := range w.servers {
				if s != other && !s.readOnly {
					changed = s.pull(other) || changed
					s.check()
				}
			}
		}
	}
	for _, s := range w.servers {
		for _, other := range w.servers {
			w.compare(s, other)
		}
	}
}

// compare wants two servers to have converged.
func (w *world) compare(s, other *modelServer) {
	for account, m := range s.memory {
		had := other.memory[account].last
		if had == nil || m.last == had || other.memory[account].hand != nil {
			continue
		}
		if m.last != nil && (m.last.issued > had.issued || had.lesser(m.last)) {
			continue // it is for the other one to take it
		}
		if _, err := other.registry.GetLocal(w.t.Context(), w.tokens.key(account)); err == nil &&
			s.demands(had, fromPeer) {
			s.fail("converge", "%s is served, server %d serves %s", m, other.number, had.name)
		}
	}
}

// path is where the JWT of an account is, in one layout or the other.
func (s *modelServer) path(account string, shard bool) string {
	key := s.tokens.key(account)
	if shard {
		return filepath.Join(s.root, key[len(key)-2:], key+".jwt")
	}
	return filepath.Join(s.root, key+".jwt")
}

// has reports whether an account has a file in a layout.
func (s *modelServer) has(account string, shard bool) bool {
	_, err := os.Stat(s.path(account, shard))
	return err == nil
}
