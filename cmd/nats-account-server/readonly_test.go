package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// library is a directory of JWTs that the test writes and the program only reads.
type library struct {
	*testEnv
	t    *testing.T
	jwts string // the directory
	port int    // of NATS

	mu   sync.Mutex
	said map[string]int // announcements by account
}

func newLibrary(t *testing.T, shape, extra string) *library {
	l := &library{t: t, jwts: filepath.Join(t.TempDir(), "OP"), port: freePort(t), said: map[string]int{}}
	l.testEnv = newEnv(t, "", "")
	l.conf = conf(t, l.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		nats { servers: ["nats://127.0.0.1:%d"], usercredentials: sys.creds, reconnectwait: 100 }
		store { %s%q %s }`, l.port, shape, l.jwts, extra)
	if err := os.MkdirAll(l.jwts, 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

// put replaces a file at once; rewrite truncates it and writes it in two halves.
func (l *library) put(path string, token []byte) {
	l.t.Helper()
	path = filepath.Join(l.jwts, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", token, 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) rewrite(path string, token []byte) {
	l.t.Helper()
	f, err := os.OpenFile(filepath.Join(l.jwts, path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	half := len(token) / 2
	for _, part := range [][]byte{token[:half], token[half:]} {
		time.Sleep(20 * time.Millisecond) // somebody looks at it in between
		if _, err := f.Write(part); err != nil {
			l.t.Fatal(err)
		}
	}
}

// listen counts what is announced from now on.
func (l *library) listen(n interface{ ClientURL() string }) {
	l.t.Helper()
	creds, _ := l.op.System.User(l.t)
	nc := natstest.Connect(l.t, n.ClientURL(), creds)
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.said[strings.Split(m.Subject, ".")[2]]++
	}); err != nil {
		l.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) announced(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said[key]
}

func (l *library) serves(url, key string, token []byte) {
	l.t.Helper()
	natstest.Eventually(l.t, "the file is served", func() bool {
		status, body := get(l.t, url+"/jwt/v1/accounts/"+key)
		return token == nil && status == http.StatusNotFound || token != nil && body == string(token)
	})
}

// It serves and announces what somebody else writes there, however that is done.
func TestAReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, "readonly: true, dir: ", "")
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	sign := func(a *jwttest.Account, ago time.Duration) []byte {
		return jwttest.Sign(t, l.op.Signing, a, time.Now().Add(-ago))
	}
	first, second := sign(a, time.Hour), sign(b, time.Hour)
	l.put(a.ID+".jwt", first)
	l.put(b.ID[54:]+"/"+b.ID+".jwt", second)
	l.put("OP.jwt", []byte(l.op.Token(t)))
	n := natstest.Start(t, natstest.MemoryConf(t, l.op, fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", l.port), a, b, c))
	for _, a := range []*jwttest.Account{a, b, c} {
		user, _ := a.User(t)
		natstest.Connect(t, n.ClientURL(), user)
	}
	l.listen(n)
	p, url := l.start(t)
	l.serves(url, a.ID, first)
	l.serves(url, b.ID, second)
	p.wait("connected to NATS for JWT syncing")
	settled := func(key string, want int) {
		t.Helper()
		natstest.Eventually(t, "it is announced", func() bool { return l.announced(key) >= want })
		time.Sleep(500 * time.Millisecond) // more would come now
		if got := l.announced(key); got != want {
			t.Errorf("%s is announced %d times, not %d", key[:12], got, want)
		}
	}
	settled(a.ID, 1) // nobody remembers whether it was
	newer := sign(a, time.Minute)
	l.put(a.ID+".jwt", newer)
	l.serves(url, a.ID, newer)
	settled(a.ID, 2)
	half := sign(b, time.Minute)
	l.rewrite(b.ID[54:]+"/"+b.ID+".jwt", half)
	l.serves(url, b.ID, half)
	settled(b.ID, 2)
	l.put(b.ID[54:]+"/"+b.ID+".jwt", half) // the same once more
	created := sign(c, time.Minute)
	l.put(c.ID[54:]+"/"+c.ID+".jwt", created) // a new shard
	l.serves(url, c.ID, created)
	settled(c.ID, 1)
	settled(b.ID, 2)

	// The whole directory is replaced by another one.
	newest := sign(c, 0)
	next := l.jwts + ".next"
	if err := os.MkdirAll(next, 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, next, a.ID+".jwt", newer)
	jwttest.File(t, next, c.ID+".jwt", newest)
	if err := os.Rename(l.jwts, l.jwts+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, l.jwts); err != nil {
		t.Fatal(err)
	}
	l.serves(url, c.ID, newest)
	l.serves(url, b.ID, nil) // its file is gone
	settled(c.ID, 2)
	l.put(b.ID+".jwt", half) // and is back
	l.serves(url, b.ID, half)

	for _, path := range []string{b.ID, l.op.System.ID} {
		if status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+path, sign(b, 0)); status != http.StatusMethodNotAllowed {
			t.Errorf("a POST: %d", status)
		}
	}
	creds, _ := l.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	if got := ours(t, nc, "$SYS.REQ.CLAIMS.UPDATE", sign(a, 0)); got.Error == nil || !strings.Contains(got.Error.Description, "read-only") {
		t.Errorf("an update over NATS: %s", got.Data)
	}
	l.put(a.ID+".jwt", []byte("no JWT"))
	p.wait(a.ID + ".jwt is not served - bad JWT in request")
	l.serves(url, a.ID, newer)
	if found, _ := filepath.Glob(filepath.Join(l.jwts, ".*")); len(found) > 0 {
		t.Errorf("it wrote %q", found)
	}
	p.term()
}

// TestAStateDirectory remembers what was announced, and what was taken out.
func TestAStateDirectory(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := newLibrary(t, "readonly: true, dir: ", fmt.Sprintf(", statedir: %q", state))
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	l.put(a.ID+".jwt", l.op.Account(t, a))
	l.put(b.ID+".jwt", l.op.Account(t, b))
	n := natstest.Start(t, natstest.MemoryConf(t, l.op, fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", l.port), a, b))
	l.listen(n)
	for _, a := range []*jwttest.Account{a, b} {
		user, _ := a.User(t)
		natstest.Connect(t, n.ClientURL(), user)
	}
	for round := range 2 {
		p, url := l.start(t)
		p.wait("connected to NATS for JWT syncing")

		natstest.Eventually(t, "both are announced", func() bool { return l.announced(a.ID) == 1 && (l.announced(b.ID) == 1) })
		if round == 1 {
			l.serves(url, b.ID, nil)
		}
		p.term()
		if err := os.Remove(filepath.Join(l.jwts, b.ID+".jwt")); round == 0 && err != nil {
			t.Fatal(err)
		}
	}
	if l.announced(a.ID) != 1 {
		t.Errorf("announced %d times", l.announced(a.ID))
	}
}

// It is served as nsc writes it; one broken file harms only itself.
func TestTheFolderOfNSC(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, "nsc: ", "")
	l.put(".nsc", []byte("{}"))
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first := jwttest.Sign(t, l.op.Signing, a, time.Now().Add(-time.Hour))
	l.put("accounts/A/A.jwt", first)
	l.put("accounts/B/B.jwt", []byte("junk"))
	p, url := l.start(t)
	wantSaid(t, p.log.String(), "accounts/B/B.jwt is not served")
	l.serves(url, a.ID, first)
	newer := jwttest.Sign(t, l.op.Signing, a, time.Now())
	l.rewrite("accounts/A/A.jwt", newer)
	l.serves(url, a.ID, newer)
	if err := os.Mkdir(filepath.Join(l.jwts, "accounts/C"), 0o700); err != nil { // nsc makes the folder first
		t.Fatal(err)
	}
	created := l.op.Account(t, c)
	l.rewrite("accounts/C/C.jwt", created)
	l.serves(url, c.ID, created)
	mended := l.op.Account(t, b)
	l.rewrite("accounts/B/B.jwt", mended)
	l.serves(url, b.ID, mended)
	if status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, newer); status != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", status)
	}
	p.term()

	// With the flag the operator is found in it.
	l.put("OP.jwt", []byte(l.op.Token(t)))
	p = start(t, l.dir, nil, "-nsc", l.jwts, "-hp", "127.0.0.1:0")
	url = p.url()
	l.serves(url, a.ID, newer)
	if _, body := get(t, url+"/jwt/v1/operator"); body != l.op.Token(t) {
		t.Errorf("the operator is %q", body)
	}
	p.term()
	for dir, want := range map[string]string{
		"/nope":     `"/nope" is not a valid configuration directory`,
		t.TempDir(): "is not a valid configuration directory",
	} {
		p = start(t, l.dir, nil, "-nsc", dir, "-operator", filepath.Join(l.dir, "op.jwt"), "-hp", "127.0.0.1:0")
		if code := p.exited(); code != 1 || !strings.Contains(p.log.String(), want) {
			t.Errorf("%s: exit code %d\n%s", dir, code, p.log)
		}
	}
}

// TestTheFolderOfNSCChanges: accounts are renamed, deleted and made anew under the old name; and what is broken while the program is
// away is not gone.
func TestTheFolderOfNSCChanges(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, "nsc: ", fmt.Sprintf(", statedir: %q", t.TempDir()))
	l.put(".nsc", []byte("{}"))
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	tokens := map[*jwttest.Account][]byte{}
	for _, acc := range []*jwttest.Account{a, b, c} {
		tokens[acc] = l.op.Account(t, acc)
	}
	l.put("accounts/A/A.jwt", tokens[a])
	n := natstest.Start(t, natstest.MemoryConf(t, l.op, fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", l.port), a, b, c))
	l.listen(n)
	p, url := l.start(t)
	l.serves(url, a.ID, tokens[a])
	l.put("accounts/A/A.jwt", tokens[b]) // A was deleted, and another A was made
	l.serves(url, b.ID, tokens[b])
	l.serves(url, a.ID, nil)
	l.put("accounts/Ç é/Ç é.jwt", tokens[c])
	l.serves(url, c.ID, tokens[c])
	natstest.Eventually(t, "b and c are announced", func() bool { return l.announced(b.ID) > 0 && l.announced(c.ID) > 0 })
	if err := os.Rename(filepath.Join(l.jwts, "accounts/Ç é"), filepath.Join(l.jwts, "accounts/C")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(l.jwts, "accounts/C/Ç é.jwt"), filepath.Join(l.jwts, "accounts/C/C.jwt")); err != nil {
		t.Fatal(err)
	}
	l.rewrite("accounts/A/A.jwt", []byte("junk"))
	p.wait("accounts/A/A.jwt is not served - .*; what was there before is served on")
	l.serves(url, b.ID, tokens[b])
	l.serves(url, c.ID, tokens[c])
	p.term()

	p, url = l.start(t)
	l.serves(url, b.ID, tokens[b])
	l.serves(url, c.ID, tokens[c])
	if err := os.RemoveAll(filepath.Join(l.jwts, "accounts/A")); err != nil {
		t.Fatal(err)
	}
	l.serves(url, b.ID, nil)
	l.serves(url, c.ID, tokens[c])
	p.term()
}

// TestTwoFilesOfOneAccount: the newer one counts, and when it is gone the older one does.
func TestTwoFilesOfOneAccount(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, "readonly: true, dir: ", "")
	a := jwttest.NewAccount(t)
	older, newer := jwttest.Sign(t, l.op.Signing, a, time.Now().Add(-time.Hour)), l.op.Account(t, a)
	flat, sharded := a.ID+".jwt", a.ID[54:]+"/"+a.ID+".jwt"
	l.put(flat, newer)
	p, url := l.start(t)
	l.serves(url, a.ID, newer)
	l.put(sharded, older)
	p.wait("is not served - a newer JWT is stored")
	l.serves(url, a.ID, newer)
	if err := os.Remove(filepath.Join(l.jwts, flat)); err != nil {
		t.Fatal(err)
	}
	l.serves(url, a.ID, older)
	l.put(flat, append(older, '\n')) // the same
	l.serves(url, a.ID, older)
	if err := os.Remove(filepath.Join(l.jwts, sharded)); err != nil {
		t.Fatal(err)
	}
	l.put("ZZ/junk", nil)
	l.serves(url, a.ID, older)
	if n := strings.Count(p.log.String(), "its file is gone"); n != 1 {
		t.Errorf("taken out %d times", n)
	}
	p.term()
}

// TestARefusedFileKeepsNoOtherFromBeingGone, over a start.
func TestARefusedFileKeepsNoOtherFromBeingGone(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, "nsc: ", fmt.Sprintf(", statedir: %q", t.TempDir()))
	l.put(".nsc", []byte("{}"))
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second := l.op.Account(t, a), l.op.Account(t, b)
	l.put("accounts/A/A.jwt", first)
	l.put("accounts/B/B.jwt", second)
	p, url := l.start(t)
	l.serves(url, a.ID, first)
	l.serves(url, b.ID, second)
	p.term()
	if err := os.RemoveAll(filepath.Join(l.jwts, "accounts/A")); err != nil {
		t.Fatal(err)
	}
	l.put("accounts/B/B.jwt", jwttest.NewOperator(t).Account(t, b))
	p, url = l.start(t)
	l.serves(url, a.ID, nil)
	l.serves(url, b.ID, second) // nobody has taken it back
	p.term()
}

// TestAReadOnlyServerWithoutADirectoryIsEmpty.
func TestAReadOnlyServerWithoutADirectoryIsEmpty(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	s.conf = conf(t, s.dir, "operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt\nhttp { host: 127.0.0.1, port: 0 }\nstore { readonly: true }")
	p, url := s.start(t)
	if !strings.Contains(p.log.String(), "creating a read-only, empty, in-memory store") {
		t.Errorf("it says\n%s", p.log)
	}
	if status, _ := get(t, url+"/jwt/v1/accounts/"+s.op.System.ID); status != http.StatusOK {
		t.Errorf("the system account: %d", status)
	}
	a := jwttest.NewAccount(t)
	if status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a)); status != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", status)
	}
	p.term()
	p = start(t, s.dir, nil, "-dir", "/nope", "-ro", "-hp", "127.0.0.1:0")
	if code := p.exited(); code != 1 || !strings.Contains(p.log.String(), "the path [/nope] doesn't exist") {
		t.Errorf("exit code %d\n%s", code, p.log)
	}
}

// TestHundredsOfFilesAreHundredsOfAnnouncements: a directory under version control is brought up to date while the program
// watches: as rsync does it (a new file in the old one's place), as git does it (the old one is taken away first) and as cp does
// it (the old one is written anew).
func TestHundredsOfFilesAreHundredsOfAnnouncements(t *testing.T) {
	const files = 300
	l := newLibrary(t, "readonly: true, dir: ", "")
	all := make([]*jwttest.Account, files)
	for i := range all {
		all[i] = jwttest.NewAccount(t)
	}
	path := func(a *jwttest.Account) string { return a.ID[54:] + "/" + a.ID + ".jwt" }
	sign := func(a *jwttest.Account, ago time.Duration) []byte {
		return jwttest.Sign(t, l.op.Signing, a, time.Now().Add(-ago))
	}
	for _, a := range all {
		l.put(path(a), sign(a, time.Hour))
	}
	n := natstest.Start(t, resolverConf(t, l.op, "full", "", t.TempDir(), l.port, map[string][]byte{l.op.System.ID: l.op.SystemAccount(t)}))
	l.listen(n)
	p, url := l.start(t)
	announced := func(want int) {
		t.Helper()
		natstest.Eventually(t, "every account is announced", func() bool {
			return !slices.ContainsFunc(all, func(a *jwttest.Account) bool { return l.announced(a.ID) < want })
		})
		time.Sleep(500 * time.Millisecond) // more would come now
		for _, a := range all {
			if got := l.announced(a.ID); got != want {
				t.Errorf("%s is announced %d times, not %d", a.ID, got, want)
			}
		}
	}
	announced(1) // nobody remembers whether they were
	for _, a := range all {
		l.put(path(a), sign(a, time.Minute))
	}
	announced(2)
	for _, a := range all {
		jwttest.File(t, filepath.Join(l.jwts, a.ID[54:]), a.ID+".jwt", sign(a, 30*time.Second))
	}
	announced(3)
	for _, a := range all {
		if err := os.Remove(filepath.Join(l.jwts, path(a))); err != nil {
			t.Fatal(err)
		}
		jwttest.File(t, filepath.Join(l.jwts, a.ID[54:]), a.ID+".jwt", sign(a, 0))
	}
	announced(4)
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
