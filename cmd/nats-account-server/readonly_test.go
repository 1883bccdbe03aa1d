package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// readOnlyEnv is a directory of JWTs that the test writes and the program only reads.
type readOnlyEnv struct {
	*testEnv
	t    *testing.T
	jwts string // the directory
	port int    // of NATS

	mu        sync.Mutex
	announced map[string][]string // the JWTs of each account, each once in a row
	again     int                 // how often one was announced once more
	repeats   map[string]float64  // how often that was for want of an answer, by the URL of the process
}

// newReadOnlyEnv makes the configuration of a program that serves a directory. shape is the key
// that names the directory, extra what follows its path.
func newReadOnlyEnv(t *testing.T, shape, extra string) *readOnlyEnv {
	e := &readOnlyEnv{
		t:         t,
		jwts:      filepath.Join(t.TempDir(), "OP"),
		port:      freePort(t),
		announced: map[string][]string{}, repeats: map[string]float64{},
	}
	e.testEnv = newEnv(t, "", "")
	e.conf = conf(t, e.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		nats { servers: ["nats://127.0.0.1:%d"], usercredentials: sys.creds, reconnectwait: 100 }
		store { %s%q %s }`, e.port, shape, e.jwts, extra)
	if err := os.MkdirAll(e.jwts, 0o700); err != nil {
		t.Fatal(err)
	}
	return e
}

// put replaces a file at once.
func (e *readOnlyEnv) put(path string, token []byte) {
	e.t.Helper()
	path = filepath.Join(e.jwts, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", token, 0o600); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		e.t.Fatal(err)
	}
}

// rewrite truncates a file and writes it in two halves.
func (e *readOnlyEnv) rewrite(path string, token []byte) {
	e.t.Helper()
	f, err := os.OpenFile(filepath.Join(e.jwts, path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	half := len(token) / 2
	for _, part := range [][]byte{token[:half], token[half:]} {
		time.Sleep(20 * time.Millisecond) // the program reads it in between
		if _, err := f.Write(part); err != nil {
			e.t.Fatal(err)
		}
	}
}

// startNATS starts a nats-server that takes updates of these accounts, and listens.
func (e *readOnlyEnv) startNATS(all ...*jwttest.Account) *server.Server {
	e.t.Helper()
	listen := fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", e.port)
	n := natstest.Start(e.t, natstest.MemoryConf(e.t, e.op, listen, all...))
	e.listen(n)
	return n
}

// connect connects a user of each account, so that the nats-server runs the account.
func (e *readOnlyEnv) connect(n *server.Server, all ...*jwttest.Account) {
	e.t.Helper()
	for _, a := range all {
		user, _ := a.User(e.t)
		natstest.Connect(e.t, n.ClientURL(), user)
	}
}

// refusesPosts wants a POST of an account to be answered with 405.
func (e *readOnlyEnv) refusesPosts(url, key string, token []byte) {
	e.t.Helper()
	status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+key, token)
	if status != http.StatusMethodNotAllowed {
		e.t.Errorf("a POST: %d", status)
	}
}

// listen counts the announcements of each account from now on.
func (e *readOnlyEnv) listen(n interface{ ClientURL() string }) {
	e.t.Helper()
	creds, _ := e.op.System.User(e.t)
	nc := natstest.Connect(e.t, n.ClientURL(), creds)
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		e.mu.Lock()
		defer e.mu.Unlock()
		key := strings.Split(m.Subject, ".")[2]
		if all := e.announced[key]; len(all) > 0 && all[len(all)-1] == string(m.Data) {
			e.again++
			return
		}
		e.announced[key] = append(e.announced[key], string(m.Data))
	}); err != nil {
		e.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		e.t.Fatal(err)
	}
}

// times is how many different JWTs of an account were announced.
func (e *readOnlyEnv) times(key string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.announced[key])
}

// waitAnnounced waits until this many JWTs of each account were announced.
func (e *readOnlyEnv) waitAnnounced(times int, all ...*jwttest.Account) {
	e.t.Helper()
	late := func(a *jwttest.Account) bool { return e.times(a.ID) < times }
	natstest.Eventually(e.t, "every account is announced",
		func() bool { return !slices.ContainsFunc(all, late) })
}

// waitConnected waits until the program is connected to NATS. The line may come before or after
// those that say how nats-servers are configured.
func (e *readOnlyEnv) waitConnected(p *process) {
	e.t.Helper()
	natstest.Eventually(e.t, "it is connected",
		func() bool {
			return strings.Contains(p.log.String(), "connected to NATS for JWT syncing")
		})
}

// wantAnnounced wants exactly this many JWTs of each account to have been announced, and each of them once,
// unless the nats-server did not answer in time.
func (e *readOnlyEnv) wantAnnounced(url string, times int, all ...*jwttest.Account) {
	e.t.Helper()
	time.Sleep(500 * time.Millisecond) // more would come now
	for _, a := range all {
		if got := e.times(a.ID); got != times {
			e.t.Errorf("%d JWTs of %s are announced, not %d", got, a.ID, times)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	again := e.again
	_, metrics := get(e.t, url+"/metrics")
	_, value, _ := strings.Cut(metrics, "announcements_total{cause=\"repeat\"} ")
	value, _, _ = strings.Cut(value, "\n")
	repeats, err := strconv.ParseFloat(value, 64)
	must(e.t, err)
	e.repeats[url] = repeats
	most := 0.0
	for _, n := range e.repeats {
		most += n
	}
	if float64(again) > most {
		e.t.Errorf("%d announcements are made once more, and %g of them for want of an answer", again, most)
	}
}

// serves waits until this JWT is served for an account; nil means none.
func (e *readOnlyEnv) serves(url, key string, token []byte) {
	e.t.Helper()
	natstest.Eventually(e.t, "the file is served", func() bool {
		status, body := get(e.t, url+"/jwt/v1/accounts/"+key)
		if token == nil {
			return status == http.StatusNotFound
		}
		return body == string(token)
	})
}

// What another program writes to the directory is served and announced, in whatever way it is
// written.
func TestAReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	e := newReadOnlyEnv(t, "readonly: true, dir: ", "")
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	sign := func(a *jwttest.Account, ago time.Duration) []byte {
		return jwttest.Sign(t, e.op.Signing, a, time.Now().Add(-ago))
	}
	first, second := sign(a, time.Hour), sign(b, time.Hour)
	e.put(a.ID+".jwt", first)
	e.put(b.ID[54:]+"/"+b.ID+".jwt", second)
	e.put("OP.jwt", []byte(e.op.Token(t)))
	n := e.startNATS(a, b, c)
	e.connect(n, a, b, c)
	p, url := e.start(t)
	e.serves(url, a.ID, first)
	e.serves(url, b.ID, second)
	e.waitConnected(p)
	e.waitAnnounced(1, a, b) // it is not stored whether they were
	newer := sign(a, time.Minute)
	e.put(a.ID+".jwt", newer)
	e.serves(url, a.ID, newer)
	e.waitAnnounced(2, a)
	half := sign(b, time.Minute)
	e.rewrite(b.ID[54:]+"/"+b.ID+".jwt", half)
	e.serves(url, b.ID, half)
	e.waitAnnounced(2, b)
	e.put(b.ID[54:]+"/"+b.ID+".jwt", half) // the same once more
	created := sign(c, time.Minute)
	e.put(c.ID[54:]+"/"+c.ID+".jwt", created) // a new shard
	e.serves(url, c.ID, created)
	e.waitAnnounced(1, c)
	e.wantAnnounced(url, 2, a, b)

	// The whole directory is replaced by another one.
	newest := sign(c, 0)
	next := e.jwts + ".next"
	if err := os.MkdirAll(next, 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, next, a.ID+".jwt", newer)
	jwttest.File(t, next, c.ID+".jwt", newest)
	if err := os.Rename(e.jwts, e.jwts+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, e.jwts); err != nil {
		t.Fatal(err)
	}
	e.serves(url, c.ID, newest)
	e.serves(url, b.ID, nil) // its file is gone
	e.waitAnnounced(2, c)
	e.wantAnnounced(url, 2, a, c)
	e.put(b.ID+".jwt", half) // and is back
	e.serves(url, b.ID, half)

	for _, key := range []string{b.ID, e.op.System.ID} {
		e.refusesPosts(url, key, sign(b, 0))
	}
	creds, _ := e.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	got := ours(t, nc, "$SYS.REQ.CLAIMS.UPDATE", sign(a, 0))
	if got.Error == nil || !strings.Contains(got.Error.Description, "read-only") {
		t.Errorf("an update over NATS: %s", got.Data)
	}
	e.put(a.ID+".jwt", []byte("no JWT"))
	p.wait(a.ID + ".jwt is not served - bad JWT in request")
	e.serves(url, a.ID, newer)
	if found, _ := filepath.Glob(filepath.Join(e.jwts, ".*")); len(found) > 0 {
		t.Errorf("it wrote %q", found)
	}
	p.term()
}

// A state directory remembers what was announced, and what was removed.
func TestAStateDirectory(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	e := newReadOnlyEnv(t, "readonly: true, dir: ", fmt.Sprintf(", statedir: %q", state))
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.put(a.ID+".jwt", e.op.Account(t, a))
	e.put(b.ID+".jwt", e.op.Account(t, b))
	e.connect(e.startNATS(a, b), a, b)
	for round := range 2 {
		p, url := e.start(t)
		e.waitConnected(p)
		e.waitAnnounced(1, a, b)
		natstest.Eventually(t, "nothing is pending", func() bool {
			return len(delivery(t, url, a.ID).Owed) == 0 &&
				(round == 1 || len(delivery(t, url, b.ID).Owed) == 0)
		})
		if round == 1 {
			e.serves(url, b.ID, nil)
		}
		e.wantAnnounced(url, 1, a, b)
		p.term()
		if err := os.Remove(filepath.Join(e.jwts, b.ID+".jwt")); round == 0 && err != nil {
			t.Fatal(err)
		}
	}
}

// The directory is served as nsc writes it. One broken file harms only itself.
func TestTheFolderOfNSC(t *testing.T) {
	t.Parallel()
	e := newReadOnlyEnv(t, "nsc: ", "")
	e.put(".nsc", []byte("{}"))
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first := jwttest.Sign(t, e.op.Signing, a, time.Now().Add(-time.Hour))
	e.put("accounts/A/A.jwt", first)
	e.put("accounts/B/B.jwt", []byte("junk"))
	p, url := e.start(t)
	wantSaid(t, p.log.String(), "accounts/B/B.jwt is not served")
	e.serves(url, a.ID, first)
	newer := jwttest.Sign(t, e.op.Signing, a, time.Now())
	e.rewrite("accounts/A/A.jwt", newer)
	e.serves(url, a.ID, newer)
	if err := os.Mkdir(filepath.Join(e.jwts, "accounts/C"), 0o700); err != nil { // nsc makes the folder first
		t.Fatal(err)
	}
	created := e.op.Account(t, c)
	e.rewrite("accounts/C/C.jwt", created)
	e.serves(url, c.ID, created)
	mended := e.op.Account(t, b)
	e.rewrite("accounts/B/B.jwt", mended)
	e.serves(url, b.ID, mended)
	e.refusesPosts(url, a.ID, newer)
	p.term()

	// With the flag the operator is found in it.
	e.put("OP.jwt", []byte(e.op.Token(t)))
	p = start(t, e.dir, nil, "-nsc", e.jwts, "-hp", "127.0.0.1:0")
	url = p.url()
	e.serves(url, a.ID, newer)
	if _, body := get(t, url+"/jwt/v1/operator"); body != e.op.Token(t) {
		t.Errorf("the operator is %q", body)
	}
	if _, body := get(t, url+"/jwt/v1/pack"); !strings.Contains(body, a.ID+"|"+string(newer)) {
		t.Errorf("the pack is %q", body)
	}
	p.term()
	for dir, want := range map[string]string{
		"/nope":     `"/nope" is not a valid configuration directory`,
		t.TempDir(): "is not a valid configuration directory",
	} {
		operator := filepath.Join(e.dir, "op.jwt")
		p = start(t, e.dir, nil, "-nsc", dir, "-operator", operator, "-hp", "127.0.0.1:0")
		if code := p.exited(); code != 1 || !strings.Contains(p.log.String(), want) {
			t.Errorf("%s: exit code %d\n%s", dir, code, p.log)
		}
	}
}

// Accounts are renamed, deleted and made anew under the old name. What breaks while the program is
// down is not gone.
func TestTheFolderOfNSCChanges(t *testing.T) {
	t.Parallel()
	e := newReadOnlyEnv(t, "nsc: ", fmt.Sprintf(", statedir: %q", t.TempDir()))
	e.put(".nsc", []byte("{}"))
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	tokens := map[*jwttest.Account][]byte{}
	for _, acc := range []*jwttest.Account{a, b, c} {
		tokens[acc] = e.op.Account(t, acc)
	}
	e.put("accounts/A/A.jwt", tokens[a])
	e.startNATS(a, b, c)
	p, url := e.start(t)
	e.serves(url, a.ID, tokens[a])
	e.put("accounts/A/A.jwt", tokens[b]) // A was deleted, and another A was made
	e.serves(url, b.ID, tokens[b])
	e.serves(url, a.ID, nil)
	e.put("accounts/Ç é/Ç é.jwt", tokens[c])
	e.serves(url, c.ID, tokens[c])
	natstest.Eventually(t, "b and c are announced",
		func() bool { return e.times(b.ID) > 0 && e.times(c.ID) > 0 })
	for _, rename := range [][2]string{{"Ç é", "C"}, {"C/Ç é.jwt", "C/C.jwt"}} {
		from, to := filepath.Join(e.jwts, "accounts", rename[0]),
			filepath.Join(e.jwts, "accounts", rename[1])
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	e.rewrite("accounts/A/A.jwt", []byte("junk"))
	p.wait("accounts/A/A.jwt is not served - .*; what was there before is served on")
	e.serves(url, b.ID, tokens[b])
	e.serves(url, c.ID, tokens[c])
	p.term()

	p, url = e.start(t)
	e.serves(url, b.ID, tokens[b])
	e.serves(url, c.ID, tokens[c])
	if err := os.RemoveAll(filepath.Join(e.jwts, "accounts/A")); err != nil {
		t.Fatal(err)
	}
	e.serves(url, b.ID, nil)
	e.serves(url, c.ID, tokens[c])
	p.term()
}

func TestAReadOnlyServerWithoutADirectoryIsEmpty(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	s.conf = conf(t, s.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		store { readonly: true }`)
	p, url := s.start(t)
	if !strings.Contains(p.log.String(), "creating a read-only, empty, in-memory store") {
		t.Errorf("it says\n%s", p.log)
	}
	if status, _ := get(t, url+"/jwt/v1/accounts/"+s.op.System.ID); status != http.StatusOK {
		t.Errorf("the system account: %d", status)
	}
	a := jwttest.NewAccount(t)
	status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	if status != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", status)
	}
	p.term()
	p = start(t, s.dir, nil, "-dir", "/nope", "-ro", "-hp", "127.0.0.1:0")
	if code := p.exited(); code != 1 ||
		!strings.Contains(p.log.String(), "the path [/nope] doesn't exist") {
		t.Errorf("exit code %d\n%s", code, p.log)
	}
}

// A directory under version control is brought up to date while the program watches: as rsync does
// it (a new file replaces the old one), as cp does it (the old one is written anew), and as git
// does it (the old one is removed first).
func TestHundredsOfFilesAreHundredsOfAnnouncements(t *testing.T) {
	const files = 300
	e := newReadOnlyEnv(t, "readonly: true, dir: ", "")
	all := make([]*jwttest.Account, files)
	for i := range all {
		all[i] = jwttest.NewAccount(t)
	}
	path := func(a *jwttest.Account) string { return a.ID[54:] + "/" + a.ID + ".jwt" }
	sign := func(a *jwttest.Account, ago time.Duration) []byte {
		return jwttest.Sign(t, e.op.Signing, a, time.Now().Add(-ago))
	}
	for _, a := range all {
		e.put(path(a), sign(a, time.Hour))
	}
	preload := map[string][]byte{e.op.System.ID: e.op.SystemAccount(t)}
	e.listen(natstest.Start(t, resolverConf(t, e.op, "full", "", t.TempDir(), e.port, preload)))
	p, url := e.start(t)
	e.waitAnnounced(1, all...) // it is not stored whether they were
	for _, a := range all {
		e.put(path(a), sign(a, time.Minute))
	}
	e.waitAnnounced(2, all...)
	for _, a := range all {
		jwttest.File(t, filepath.Join(e.jwts, a.ID[54:]), a.ID+".jwt", sign(a, 30*time.Second))
	}
	e.waitAnnounced(3, all...)
	for _, a := range all {
		if err := os.Remove(filepath.Join(e.jwts, path(a))); err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, filepath.Join(e.jwts, a.ID[54:]), a.ID+".jwt", sign(a, 0))
	}
	e.waitAnnounced(4, all...)
	e.wantAnnounced(url, 4, all...)
	if strings.Contains(p.log.String(), "its file is gone") {
		t.Error("an account was away for a moment")
	}
	for _, a := range all {
		if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK {
			t.Errorf("%s: %d", a.ID, status)
		}
	}
	p.term()
	if lines := p.lines("WRN"); len(lines) > 0 {
		t.Errorf("%d warnings: %q", len(lines), lines[0])
	}
}
