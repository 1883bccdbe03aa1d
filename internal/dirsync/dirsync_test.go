package dirsync_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/trust"
)

// syncEnv is a Syncer between a directory and a store in memory.
type syncEnv struct {
	*testing.T
	syncer    *dirsync.Syncer
	op        *jwttest.Operator
	dir       string
	store     *breakable
	registry  *accounts.Registry
	tokens    *activations.Registry
	published *published
	log       *natstest.Log
}

// breakable is a store that can be made to fail.
type breakable struct {
	*jwtstore.Memory
	put, remove error // what the next changes return
}

func (b *breakable) Put(ctx context.Context, key, kind string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error)) (uint64, error) {
	if b.put != nil {
		return 0, b.put
	}
	return b.Memory.Put(ctx, key, kind, token, allow)
}

func (b *breakable) Delete(ctx context.Context, key, kind string,
	allow func(jwtstore.Stored) ([]byte, error)) (uint64, error) {
	if b.remove != nil {
		return 0, b.remove
	}
	return b.Memory.Delete(ctx, key, kind, allow)
}

// silent announces nothing.
type silent struct{ accounts.Announcer }

func (silent) Announce(string, uint64) accounts.Receipt { return nil }
func (silent) Contested(string)                         {}
func (silent) MaxPayload() int                          { return 0 }

// published counts announcements of activation tokens.
type published struct{ tokens []*activations.Token }

func (p *published) PublishActivation(t *activations.Token) bool {
	p.tokens = append(p.tokens, t)
	return true
}

// newSyncEnv makes a Syncer for a directory of JWTs by key, or for one of nsc.
func newSyncEnv(t *testing.T, open func(string) (*dirsync.Folder, error)) *syncEnv {
	t.Helper()
	e := &syncEnv{
		T:         t,
		op:        jwttest.NewOperator(t),
		dir:       filepath.Join(t.TempDir(), "OP"),
		store:     &breakable{Memory: jwtstore.NewMemory(true)},
		published: &published{},
		log:       &natstest.Log{},
	}
	e.write(".nsc/x", nil)
	e.write("accounts/x", nil)
	e.start(open)
	return e
}

// start makes a Syncer for the same directory and store, as a start of the program does.
func (e *syncEnv) start(open func(string) (*dirsync.Folder, error)) {
	e.Helper()
	log := slog.New(loggingtest.New(e.log, logging.Format{}))
	folder, err := open(e.dir)
	e.must(err)
	e.registry = accounts.New(accounts.Options{Store: e.store, Committer: e.store,
		Announcer: silent{}, Unsaved: folder, Trust: e.trust(), ReadOnly: true, Log: log,
		CacheBytes: 32 << 20})
	memory := jwtstore.NewMemory(false)
	e.tokens = activations.New(activations.Options{Accounts: e.registry, Store: memory,
		Connection: silent{}, Publisher: e.published, ReadOnly: true, Log: log})
	e.syncer = dirsync.New(dirsync.Options{
		Folder:      folder,
		Store:       e.store,
		Accounts:    e.registry,
		Activations: e.tokens,
		Tokens:      memory,
		Log:         log,
	})
}

func (e *syncEnv) trust() accounts.Trust {
	e.Helper()
	op, err := trust.Parse([]byte(e.op.Token(e)))
	e.must(err)
	return accounts.Trust{Operators: trust.Operators{op}}
}

func (e *syncEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *syncEnv) path(name string) string { return filepath.Join(e.dir, filepath.FromSlash(name)) }

func (e *syncEnv) write(name string, content []byte) {
	e.Helper()
	e.must(os.MkdirAll(filepath.Dir(e.path(name)), 0o700))
	e.must(os.WriteFile(e.path(name), content, 0o600))
}

func (e *syncEnv) remove(name string) {
	e.Helper()
	e.must(os.Remove(e.path(name)))
}

// sign is a JWT of an account that was issued some time ago.
func (e *syncEnv) sign(
	a *jwttest.Account, ago time.Duration, edits ...func(*jwt.AccountClaims),
) []byte {
	e.Helper()
	return jwttest.Sign(e, e.op.Signing, a, time.Now().Add(-ago), edits...)
}

// wantState scans the files once and wants a file to be in this state then.
func (e *syncEnv) wantState(name string, want dirsync.State) {
	e.Helper()
	e.syncer.Scan(e.Context())
	if got, known := e.syncer.StateOf(e.path(name)); got != want || !known {
		e.Errorf("%s is in state %d, want %d\n%s", name, got, want, e.log)
	}
}

// forgets scans the files once and wants a file to be forgotten then.
func (e *syncEnv) forgets(name string) {
	e.Helper()
	e.syncer.Scan(e.Context())
	if got, known := e.syncer.StateOf(e.path(name)); known {
		e.Errorf("%s is in state %d, want it forgotten\n%s", name, got, e.log)
	}
}

// serves wants this JWT to be served for an account, or nothing if it is nil.
func (e *syncEnv) serves(key string, want []byte) {
	e.Helper()
	var got []byte
	if trust.IsActivationHash(key) {
		if t, err := e.tokens.Get(e.Context(), key); err == nil {
			got = t.JWT
		}
	} else if a, err := e.registry.GetLocal(e.Context(), key); err == nil {
		got = a.JWT
	}
	if string(got) != string(want) {
		e.Errorf("served for %s is %.40q, want %.40q\n%s", key, got, want, e.log)
	}
}

// fails wants an account not to be served for this reason.
func (e *syncEnv) fails(key string, want error) {
	e.Helper()
	if _, err := e.registry.Get(e.Context(), key); !errors.Is(err, want) {
		e.Errorf("it is not served because of %v, want %v", err, want)
	}
}

// unsaved returns what is served from memory for an account.
func (e *syncEnv) unsaved(key string) (found []byte) {
	e.Helper()
	err := e.syncer.Folder.Find(e.Context(), key, func(token []byte) error {
		found = token
		return nil
	})
	if err != nil && !errors.Is(err, accounts.ErrNotFound) {
		e.Error(err)
	}
	return found
}

// logs wants a text to be in this many lines.
func (e *syncEnv) logs(text string, want int) {
	e.Helper()
	if got := strings.Count(e.log.String(), text); got != want {
		e.Errorf("%q is logged %d times, want %d\n%s", text, got, want, e.log)
	}
}

// scenarios are what may happen to a directory. The clock is that of the test: a file's own times
// are far ahead of it, so that a file stands still unless a scenario sets its time.
var scenarios = []struct {
	name string
	open func(string) (*dirsync.Folder, error)
	run  func(e *syncEnv)
}{
	{"a file is stored, replaced, and gone", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		name, first, second := a.ID+".jwt", e.sign(a, time.Hour), e.sign(a, time.Minute)
		e.write(name, first)
		e.wantState(name, dirsync.Stored)
		e.serves(a.ID, first)
		e.write(name, second)
		e.wantState(name, dirsync.Stored)
		e.serves(a.ID, second)
		e.remove(name)
		e.wantState(name, dirsync.Missing)
		e.serves(a.ID, second)
		time.Sleep(dirsync.GoneAfter)
		e.forgets(name)
		e.serves(a.ID, nil)
		e.logs("its file is gone", 1)
	}},
	{"a file that is being written counts when it stands still",
		dirsync.OpenFolder, func(e *syncEnv) {
			a := jwttest.NewAccount(e)
			name, token := a.ID+".jwt", e.sign(a, time.Hour)
			written := func(content []byte) {
				e.write(name, content)
				e.must(os.Chtimes(e.path(name), time.Now(), time.Now()))
			}
			written(token[:20])
			e.wantState(name, dirsync.Settling)
			written(token)
			e.wantState(name, dirsync.Settling)
			e.serves(a.ID, nil)
			e.remove(name)
			e.wantState(name, dirsync.Missing)
			written(token)
			e.wantState(name, dirsync.Settling)
			time.Sleep(dirsync.SettleTime)
			e.wantState(name, dirsync.Stored)
			e.serves(a.ID, token)
			e.logs("is not served", 0)
		}},
	{"a file that is replaced by taking it away first is not gone",
		dirsync.OpenFolder, func(e *syncEnv) {
			a := jwttest.NewAccount(e)
			name, first, second := a.ID+".jwt", e.sign(a, time.Hour), e.sign(a, time.Minute)
			e.write(name, first)
			e.wantState(name, dirsync.Stored)
			e.remove(name)
			e.wantState(name, dirsync.Missing)
			e.write(name, second)
			e.wantState(name, dirsync.Stored)
			e.serves(a.ID, second)
			e.logs("its file is gone", 0)
		}},
	{"a shard that is away for a moment is as it was", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		shard := a.ID[54:]
		name, token := shard+"/"+a.ID+".jwt", e.sign(a, time.Hour)
		e.write(name, token)
		e.wantState(name, dirsync.Stored)
		for range 2 {
			e.must(os.Rename(e.path(shard), e.path(shard+".away")))
			e.wantState(name, dirsync.Missing)
			e.must(os.Rename(e.path(shard+".away"), e.path(shard))) // the file keeps its times
			e.wantState(name, dirsync.Stored)
			time.Sleep(dirsync.GoneAfter)
		}
		e.serves(a.ID, token)
		e.logs("its file is gone", 0)
	}},
	{"what is not taken is logged once, and the JWT before is served",
		dirsync.OpenFolder, func(e *syncEnv) {
			a := jwttest.NewAccount(e)
			name, good := a.ID+".jwt", e.sign(a, time.Hour)
			e.write(name, []byte("junk"))
			e.wantState(name, dirsync.Refused)
			e.logs(name+" is not served - bad JWT in request: expected 3 chunks: a JWT has ", 1)
			e.fails(a.ID, accounts.ErrDamaged)
			e.fails(a.ID, accounts.ErrDamaged)
			e.logs(a.ID[:12]+" - error loading JWT - ", 1)
			e.write(name, good)
			e.wantState(name, dirsync.Stored)
			e.write(name, []byte("junk"))
			for range 2 {
				e.wantState(name, dirsync.Refused)
				e.syncer.Rejudge()
			}
			e.logs("or be something else; what was there before is served on\n", 1)
			e.serves(a.ID, good)
		}},
	{"a file that can't be read is tried again", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		name, good := a.ID+".jwt", e.sign(a, time.Hour)
		e.write(name+"/x", nil) // a directory
		e.wantState(name, dirsync.Unread)
		e.wantState(name, dirsync.Unread)
		e.fails(a.ID, accounts.ErrUnreadable)
		e.logs(name+" is not served", 1)
		e.remove(name + "/x")
		e.remove(name)
		e.wantState(name, dirsync.Missing)
		e.must(os.Mkdir(e.path(name), 0o700))
		e.wantState(name, dirsync.Unread)
		e.remove(name)
		e.write(name, good)
		e.wantState(name, dirsync.Stored)
		e.serves(a.ID, good)
	}},
	{"a JWT from the future is stored when its time has come",
		dirsync.OpenFolder, func(e *syncEnv) {
			a := jwttest.NewAccount(e)
			name, token := a.ID+".jwt", e.sign(a, -time.Hour)
			e.write(name, token)
			e.wantState(name, dirsync.Postponed)
			e.logs("it is from the future: it counts from 2000-01-01T00:55:00Z on", 1)
			time.Sleep(54 * time.Minute)
			e.wantState(name, dirsync.Postponed)
			time.Sleep(time.Minute)
			e.wantState(name, dirsync.Stored)
			e.serves(a.ID, token)
		}},
	{"what there is no room for is served from memory until there is",
		dirsync.OpenFolder, func(e *syncEnv) {
			a := jwttest.NewAccount(e)
			name, token := a.ID+".jwt", e.sign(a, time.Hour)
			e.store.put = errors.New("the disk is full")
			e.write(name, token)
			for range 2 { // at once, and while it is missing
				e.wantState(name, dirsync.Postponed)
				if got := e.unsaved(a.ID); string(got) != string(token) {
					e.Errorf("from memory: %q", got)
				}
				e.remove(name)
				e.wantState(name, dirsync.Missing)
				if got := e.unsaved(a.ID); string(got) != string(token) {
					e.Errorf("from memory: %q", got)
				}
				e.write(name, token)
			}
			e.wantState(name, dirsync.Postponed)
			e.logs(name+
				" is served from memory, but not stored - error saving JWT: the disk is full", 1)
			e.store.put = nil
			e.wantState(name, dirsync.Postponed)
			time.Sleep(dirsync.ScanInterval)
			e.wantState(name, dirsync.Stored)
			e.serves(a.ID, token)
			if got := e.unsaved(a.ID); got != nil {
				e.Errorf("still from memory: %q", got)
			}
		}},
	{"what can't be removed is tried again, and logged once", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		name, token := a.ID+".jwt", e.sign(a, time.Hour)
		e.write(name, token)
		e.wantState(name, dirsync.Stored)
		e.store.remove = errors.New("the disk is full")
		e.remove(name)
		e.wantState(name, dirsync.Missing)
		time.Sleep(dirsync.GoneAfter)
		for range 2 {
			e.forgets(name)
		}
		e.logs("is gone, but it can't be taken out - ", 1)
		e.serves(a.ID, token)
		e.store.remove = nil
		e.forgets(name)
		e.serves(a.ID, nil)
	}},
	{"of two files the newer one counts, and then the other", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		older, newer := e.sign(a, time.Hour), e.sign(a, time.Minute)
		flat, sharded := a.ID+".jwt", a.ID[54:]+"/"+a.ID+".jwt"
		e.write(flat, newer)
		e.wantState(flat, dirsync.Stored)
		e.write(sharded, older)
		e.wantState(sharded, dirsync.Refused)
		e.logs("is not served - a newer JWT is stored", 1)
		e.remove(flat)
		e.syncer.Fill(e.Context())
		e.serves(a.ID, older)
		e.write(flat, append(older, '\n')) // the same
		e.wantState(flat, dirsync.Stored)
		e.remove(sharded)
		e.syncer.Fill(e.Context())
		e.serves(a.ID, older)
		e.logs("its file is gone", 1)
	}},
	{"a file of nsc that has another account now", dirsync.OpenNSC, func(e *syncEnv) {
		a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
		first, second := e.sign(a, time.Hour), e.sign(b, time.Hour)
		e.write("accounts/A/A.jwt", first)
		e.wantState("accounts/A/A.jwt", dirsync.Stored)
		e.store.remove = errors.New("the disk is full")
		e.write("accounts/A/A.jwt", second)
		e.syncer.Scan(e.Context())
		e.serves(a.ID, first)
		e.serves(b.ID, second)
		e.store.remove = nil
		e.wantState("accounts/A/A.jwt", dirsync.Stored)
		e.serves(a.ID, nil)
		e.serves(b.ID, second)
		e.store.put = errors.New("the disk is full")
		newer := e.sign(b, time.Minute)
		e.write("accounts/A/A.jwt", newer)
		e.wantState("accounts/A/A.jwt", dirsync.Postponed)
		if got := e.unsaved(b.ID); string(got) != string(newer) {
			e.Errorf("from memory: %q", got)
		}
	}},
	{"what was in the directory at an earlier start is removed", dirsync.OpenNSC, func(e *syncEnv) {
		a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
		e.write("accounts/A/A.jwt", e.sign(a, time.Hour))
		token := e.sign(b, time.Hour)
		e.write("accounts/B/B.jwt", token)
		e.syncer.Fill(e.Context())
		e.remove("accounts/A/A.jwt")
		e.write("accounts/B/B.jwt", []byte("junk")) // it may be of either account
		e.start(dirsync.OpenNSC)
		e.syncer.Fill(e.Context())
		e.logs("its file is gone", 0)
		e.write("accounts/B/B.jwt", jwttest.NewOperator(e).Account(e, b)) // refused, but it is of b
		e.syncer.Fill(e.Context())
		e.serves(a.ID, nil)
		e.serves(b.ID, token)
	}},
	{"so is what the index of the store does not know", dirsync.OpenFolder, func(e *syncEnv) {
		a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
		// An allow function that returns no Version: the index has been lost since.
		_, err := e.store.Put(e.Context(), a.ID, accounts.KindFile, e.sign(a, time.Hour),
			func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil })
		e.must(err)
		e.write(b.ID+".jwt", e.sign(b, time.Hour))
		e.syncer.Fill(e.Context())
		e.serves(a.ID, nil)
	}},
	{"a directory that is empty at a start may not be mounted",
		dirsync.OpenFolder, func(e *syncEnv) {
			a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
			token := e.sign(a, time.Hour)
			e.write(a.ID+".jwt", token)
			e.syncer.Fill(e.Context())
			e.remove(a.ID + ".jwt")
			e.start(dirsync.OpenFolder)
			e.syncer.Fill(e.Context())
			e.logs("is its file system mounted?", 1)
			e.serves(a.ID, token)
			e.write(b.ID+".jwt", e.sign(b, time.Hour))
			e.syncer.Fill(e.Context())
			e.serves(a.ID, nil)
		}},
	{"every file is decided about again when the trust changes",
		dirsync.OpenFolder, func(e *syncEnv) {
			a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
			other := jwttest.NewOperator(e)
			e.write(a.ID+".jwt", e.sign(a, time.Hour))
			e.write(b.ID+".jwt", jwttest.Sign(e, other.Signing, b, time.Now()))
			e.wantState(a.ID+".jwt", dirsync.Stored)
			e.wantState(b.ID+".jwt", dirsync.Refused)
			e.op = other
			e.registry.SetTrust(e.trust())
			e.wantState(b.ID+".jwt", dirsync.Refused)
			e.syncer.Rejudge()
			e.wantState(b.ID+".jwt", dirsync.Stored)
			e.wantState(a.ID+".jwt", dirsync.Refused)
		}},
	{"an activation token waits for its account", dirsync.OpenFolder, func(e *syncEnv) {
		a, b := jwttest.NewAccount(e), jwttest.NewAccount(e)
		token, hash := jwttest.Activation(e, a, b, time.Now())
		name := "==/" + hash + ".jwt"
		e.write(name, token)
		e.wantState(name, dirsync.Postponed)
		e.logs(name+" is not served", 1)
		time.Sleep(dirsync.ScanInterval)
		e.wantState(name, dirsync.Postponed)
		e.write(a.ID+".jwt", e.sign(a, time.Hour))
		e.wantState(name, dirsync.Stored)
		e.serves(hash, token)
		if len(e.published.tokens) != 0 {
			e.Error("it is announced before the start is over")
		}
		e.syncer.Fill(e.Context())
		newer, _ := jwttest.Activation(e, a, b, time.Now())
		e.write(name, newer)
		e.wantState(name, dirsync.Stored)
		e.serves(hash, newer)
		if len(e.published.tokens) != 1 {
			e.Errorf("%d tokens are announced", len(e.published.tokens))
		}
		e.remove(name)
		e.syncer.Fill(e.Context())
		e.serves(hash, nil)
	}},
	{"an activation token under the name of another one", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		token, _ := jwttest.Activation(e, a, jwttest.NewAccount(e), time.Now())
		e.write(a.ID+".jwt", e.sign(a, time.Hour))
		e.write(anyHash+".jwt", token)
		e.wantState(anyHash+".jwt", dirsync.Postponed)
		e.logs("it has another hash", 1)
		e.remove(anyHash + ".jwt")
		e.syncer.Fill(e.Context())
		e.forgets(anyHash + ".jwt")
	}},
	{"a directory that can't be read takes nothing out", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		token := e.sign(a, time.Hour)
		e.write(a.ID+".jwt", token)
		e.syncer.Fill(e.Context())
		e.must(os.Rename(e.dir, e.dir+".away"))
		for range 2 {
			e.syncer.Fill(e.Context())
		}
		e.serves(a.ID, token)
		e.logs("no such file or directory", 1)
		e.must(os.Rename(e.dir+".away", e.dir))
		e.syncer.Fill(e.Context())
		e.serves(a.ID, token)
		e.logs("its file is gone", 0)
	}},
	{"nothing is decided after the end", dirsync.OpenFolder, func(e *syncEnv) {
		a := jwttest.NewAccount(e)
		e.write(a.ID+".jwt", e.sign(a, time.Hour))
		e.write(anyHash+".jwt", nil)
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		e.syncer.Fill(ctx)
		e.serves(a.ID, nil)
		if log := e.log.String(); log != "" {
			e.Errorf("it logs\n%s", log)
		}
	}},
}

// Every scenario holds, and all of them together show every row of the table of transitions.
func TestADirectoryIsFollowed(t *testing.T) {
	type cause struct {
		from dirsync.State
		on   dirsync.Event
	}
	var mu sync.Mutex
	seen := map[cause]bool{}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newSyncEnv(t, s.open)
				e.syncer.Folder.Trace(func(from dirsync.State, on dirsync.Event) {
					mu.Lock()
					defer mu.Unlock()
					seen[cause{from, on}] = true
				})
				s.run(e)
			})
		})
	}
	shown := map[int]bool{}
	dirsync.Rows(func(row int, from dirsync.State, on dirsync.Event) {
		shown[row] = shown[row] || seen[cause{from, on}]
	})
	for row, is := range shown {
		if !is && !t.Failed() {
			t.Errorf("row %d of the table happens in no scenario", row)
		}
	}
}

// Run notices changes by itself, and decides about every file again when it is told that the trust
// has changed.
func TestRunFollowsUntilItsEnd(t *testing.T) {
	e := newSyncEnv(t, dirsync.OpenFolder)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.syncer.Fill(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.syncer.Run(ctx) }()
	served := func(key string) func() bool {
		return func() bool {
			_, err := e.registry.GetLocal(ctx, key)
			return err == nil
		}
	}
	e.write(a.ID[54:]+"/"+a.ID+".jwt", e.sign(a, time.Hour))
	natstest.Eventually(t, "the new file is served", served(a.ID))
	other := jwttest.NewOperator(t)
	e.write(b.ID+".jwt", jwttest.Sign(t, other.Signing, b, time.Now()))
	natstest.Eventually(t, "the other operator's is refused",
		func() bool { return strings.Contains(e.log.String(), b.ID+".jwt is not served") })
	e.op = other
	e.registry.SetTrust(e.trust())
	e.syncer.Rejudge()
	natstest.Eventually(t, "the other operator's is served", served(b.ID))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
