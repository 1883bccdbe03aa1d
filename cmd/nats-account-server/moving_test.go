package main_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// The directory is as a nats-server has left it. What was deleted there stays deleted.
func TestADirectoryOfAFullResolverIsServed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	dir := filepath.Join(s.dir, "moved")
	n := natstest.Start(t,
		fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver { type: full, dir: "+
			"%q, allow_delete: true }\nresolver_preload { %s: %s }\nlisten: 127.0.0.1:-1\n",
			s.op.Token(t), s.op.System.ID, dir, s.op.System.ID, s.op.SystemAccount(t)))
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a, gone := jwttest.NewAccount(t), jwttest.NewAccount(t)
	kept, deleted := s.op.Account(t, a), s.op.Account(t, gone)
	for _, token := range [][]byte{kept, deleted} {
		if _, err := nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	order := jwt.NewGenericClaims(s.op.ID)
	order.Data["accounts"] = []string{gone.ID}
	signed, err := order.Encode(s.op.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("$SYS.REQ.CLAIMS.DELETE", []byte(signed), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	natstest.Stop(n)
	p := start(t, s.dir, nil, "-c", s.conf, "-dir", dir)
	url := p.url()
	wantJWT(t, url, a.ID, kept)
	if status, _ := get(t, url+"/jwt/v1/accounts/"+gone.ID); status != http.StatusNotFound {
		t.Errorf("what was deleted: %d", status)
	}
	status, _ := post(http.DefaultClient, url+"/jwt/v1/accounts/"+gone.ID, deleted)
	if status != http.StatusConflict {
		t.Errorf("what was deleted is pushed: %d", status)
	}
	p.term()
}

// The directory is as either version leaves it, with either setting of shard. After a stop it is
// as it was.
func TestADirectoryOfTheOriginalIsServedAndKept(t *testing.T) {
	t.Parallel()
	for _, shard := range []bool{false, true} {
		t.Run(fmt.Sprintf("0.8.4 with shard %t", shard), func(t *testing.T) {
			t.Parallel()
			l := newOriginalDir(t, shard, 0o755, 0o644)
			l.lay("activations/"+l.hash, l.hash, l.activation)
			l.serve()
		})
		t.Run(fmt.Sprintf("1.0.3 with shard %t", shard), func(t *testing.T) {
			t.Parallel()
			// in the working directory, with whatever else is there
			l := newOriginalDir(t, shard, 0o700, 0o600)
			l.write("op.jwt", []byte(l.op.Token(t)))
			l.write("users/bob.jwt", []byte("stray"))
			l.write("server.conf", []byte("http { port: 1 }"))
			l.serve()
		})
	}
}

// originalDir is a directory as the original leaves it.
type originalDir struct {
	*testEnv
	t          *testing.T
	store      string
	shard      bool
	dirs, mode os.FileMode
	activation []byte
	hash       string
	want       map[string]string // by the path of its URL
}

func newOriginalDir(t *testing.T, shard bool, dirs, mode os.FileMode) *originalDir {
	l := &originalDir{testEnv: newEnv(t, "", ""), t: t, store: t.TempDir(),
		shard: shard, dirs: dirs, mode: mode, want: map[string]string{}}
	if err := os.Chmod(l.store, dirs); err != nil {
		t.Fatal(err)
	}
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	l.activation = activationOf(t, a, b)
	l.hash = hashOf(t, l.activation)
	l.lay("accounts/"+a.ID, a.ID, append(l.op.Account(t, a), '\n')) // it stored line ends as they came
	l.lay("accounts/"+b.ID, b.ID, jwttest.Sign(t, l.op.Signing, b, time.Now().Add(-2*time.Hour),
		func(c *jwt.AccountClaims) {
			c.Expires = time.Now().Add(-time.Hour).Unix()
		}))
	l.lay("accounts/"+c.ID, c.ID, oldAccount(t, l.op, c))
	return l
}

// oldAccount is an account's JWT of version 1, as tools of 2019 wrote it.
func oldAccount(t *testing.T, op *jwttest.Operator, a *jwttest.Account) []byte {
	payload := fmt.Sprintf(`{"jti":"X","iat":%d,"iss":%q,"name":"old","sub":%q,"type":"account",`+
		`"nats":{"limits":{"subs":-1,"conn":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,`+
		`"wildcards":true}}}`,
		time.Now().Unix(), op.ID, a.ID)
	return jwttest.EncodeRaw(t, op.Key, `{"typ":"jwt","alg":"ed25519"}`, []byte(payload), false)
}

// lay puts a JWT where the original keeps it.
func (l *originalDir) lay(url, name string, token []byte) {
	l.want[url] = string(token)
	if l.shard {
		l.write(name[54:]+"/"+name+".jwt", token)
	} else {
		l.write(name+".jwt", token)
	}
}

func (l *originalDir) write(path string, content []byte) {
	l.t.Helper()
	path = filepath.Join(l.store, path)
	if err := os.MkdirAll(filepath.Dir(path), l.dirs); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, l.mode); err != nil {
		l.t.Fatal(err)
	}
}

// tree is every file and directory: mode and content by path.
func (l *originalDir) tree() map[string]string {
	l.t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(l.store, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil || entry.IsDir() {
			all[path] = info.Mode().String()
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = info.Mode().String() + " " + info.ModTime().String() + " " + string(content)
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return all
}

func (l *originalDir) serve() {
	before := l.tree()
	l.conf = conf(l.t, l.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		store { dir: %q, shard: %t }`, l.store, l.shard)
	p, url := l.start(l.t)
	for path, token := range l.want {
		if status, body := get(l.t, url+"/jwt/v1/"+path); status != http.StatusOK || body != token {
			l.t.Errorf("%s: %d %q", path, status, body)
		}
	}
	p.term()
	after := l.tree()
	for _, own := range []string{".journal", filepath.Join(".journal", "index")} {
		delete(after, filepath.Join(l.store, own)) // all that it leaves
	}
	if !maps.Equal(before, after) {
		l.t.Errorf("before\n%v\nafter\n%v", before, after)
	}
	if warnings := p.lines("WRN"); len(warnings) > 0 {
		l.t.Errorf("it warns: %q", warnings)
	}
}

// The test pushes what a MEMORY resolver had preloaded, and exchanges the resolver.
func TestPreloadedAccountsCanMoveHere(t *testing.T) {
	t.Parallel()
	natsURL := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	s := newEnv(t, natsURL, "")
	a := jwttest.NewAccount(t)
	listen := "server_name: n1\nlisten: " + strings.TrimPrefix(natsURL, "nats://") + "\n"
	n := natstest.Start(t, natstest.MemoryConf(t, s.op, listen, a))
	p, url := s.start(t)
	p.wait("connected to NATS for JWT syncing")
	for _, acc := range []*jwttest.Account{a, s.op.System} {
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+acc.ID,
			s.op.Account(t, acc))
		if status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	natstest.Stop(n)
	n = natstest.Start(t, natstest.URLConf(t, s.op, url+"/jwt/v1/accounts/", listen))
	user, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), user)
	p.wait("nats reconnected")
	p.term()
}
