package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// ran is what a command has written, and its exit code.
type ran struct {
	code     int
	out, err string
}

// runTool runs the program to its end.
func runTool(t *testing.T, args ...string) ran {
	t.Helper()
	var out, stderr strings.Builder
	c := exec.Command(binary, args...)
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return ran{c.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// want compares what a command has done. Each text must be in what it has written.
func (r ran) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("%q is missing in\n%s%s", text, r.out, r.err)
		}
	}
	if strings.ContainsAny(r.out+r.err, "\x1b\r") {
		t.Errorf("it has control characters: %q", r.out+r.err)
	}
}

// writeTree writes files below a new directory.
func writeTree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shardOf returns the path of an account's file in a sharded directory.
func shardOf(key string) string { return key[54:] + "/" + key + ".jwt" }

func TestVerifySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	op, other := jwttest.NewOperator(t), jwttest.NewOperator(t)
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	good, bad := jwttest.NewAccount(t), jwttest.NewAccount(t)
	expired := func(c *jwt.AccountClaims) { c.Expires = time.Date(2020, 1, 2, 3, 4, 0, 0, time.UTC).Unix() }
	imports := func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Type: jwt.Service, Subject: "a.b", Account: exporter.ID})
	}
	unreadable := "nobody/" + good.ID + ".jwt"
	dir := writeTree(t, map[string][]byte{
		good.ID + ".jwt":         op.Account(t, good),
		shardOf(good.ID):         jwttest.Sign(t, op.Signing, good, time.Now().Add(-time.Hour)),
		exporter.ID + ".jwt":     op.Account(t, exporter, expired),
		importer.ID + ".jwt":     op.Account(t, importer, imports),
		bad.ID + ".jwt":          jwttest.Flip(op.Account(t, bad)),
		op.System.ID + ".jwt":    other.Account(t, op.System),
		"a\n\x1b[31mb.jwt":       []byte("x"),
		"empty.jwt":              nil,
		"seed.jwt":               mustSeed(t, good),
		"notes.txt":              []byte("left out"),
		".journal/x.jwt":         []byte("left out"),
		unreadable:               op.Account(t, good),
		"ZZ/" + bad.ID + ".jwt":  op.Account(t, bad),
		"deep/er/user.jwt":       []byte(op.Token(t)),
		importer.ID[1:] + ".jwt": op.Account(t, importer, imports),
		shardOf(exporter.ID):     op.Account(t, importer, imports),
	})
	if err := os.Remove(filepath.Join(dir, unreadable)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, unreadable)); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"loop": "loop", "QQ": "."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	operator := jwttest.File(t, t.TempDir(), "operator.jwt", []byte(op.Token(t)))
	r := runTool(t, "verify", dir, "--operator", operator)
	r.want(t, 1,
		good.ID+".jwt: the account has another JWT in",
		exporter.ID+".jwt: it has expired on Thu 2 Jan 2020, 03:04 UTC",
		"import of service \"a.b\" from "+exporter.ID[:12]+": it is not exported",
		bad.ID+".jwt: claim failed V2 signature verification",
		op.System.ID+".jwt: the operator "+op.ID+" did not sign it",
		`a\n\x1b[31mb.jwt: `, "empty.jwt: it is empty", "seed.jwt: there is a private key in it",
		unreadable+": ", "ZZ/"+bad.ID+".jwt: it is in the wrong directory", "user.jwt: ",
		shardOf(exporter.ID)+": its name is the key of another account than its JWT is, which is that of",
		"/loop: stat ", "/QQ: a symbolic link leads back to where it is", "faults in ")
	if strings.Contains(r.out, "left out") || strings.Contains(r.out, "notes") {
		t.Error(r.out)
	}
	var found struct {
		Accounts int
		Faults   []struct{ File, Account, Code, Reason string }
	}
	r = runTool(t, "verify", "--json", "--operator", operator, dir)
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || r.code != 1 {
		t.Fatal(r, err)
	}
	codes := map[string]int{}
	for _, f := range found.Faults {
		codes[f.Code]++
	}
	for code, n := range map[string]int{"expired": 1, "dangling": 1, "unsigned": 1, "duplicate": 3,
		"misnamed": 2, "unreadable": 3, "damaged": 5} {
		if codes[code] != n {
			t.Errorf("%d faults are %s, want %d:\n%s", codes[code], code, n, r.out)
		}
	}
	fine := writeTree(t, map[string][]byte{shardOf(good.ID): op.Account(t, good)})
	runTool(t, "verify", fine).want(t, 0, "0 faults in 1 JWT of 1 account", "give its JWT with --operator")
	runTool(t, "verify", fine+"/none").want(t, 1, "no such file")
	runTool(t, "verify").want(t, 2, "it has the arguments SOURCE, see: nats-account-server verify -h")
	runTool(t, "verify", "--bogus", fine).want(t, 2, "flag provided but not defined: -bogus")
	runTool(t, "verify", "-h").want(t, 0, "Example:", "Exit codes: ", "--operator file")
}

// mustSeed returns the private key of an account.
func mustSeed(t *testing.T, a *jwttest.Account) []byte {
	t.Helper()
	seed, err := a.Key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// TestVerifyReadsThousandsOfFiles has more of them than a process may usually open at once.
func TestVerifyReadsThousandsOfFiles(t *testing.T) {
	t.Parallel()
	dir := writeTree(t, accountFiles(t, jwttest.NewOperator(t), 2000))
	runTool(t, "verify", dir).want(t, 0, "0 faults in 2000 JWTs of 2000 accounts\n")
}

func TestVerifyReadsAFolderOfNsc(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	dir := writeTree(t, map[string][]byte{
		"OP/.nsc": nil, "OP/OP.jwt": []byte(op.Token(t)), "OP/accounts/A/A.jwt": op.Account(t, a),
		"OP/accounts/A/users/u.jwt": []byte("left out"),
	})
	for _, dir := range []string{dir, dir + "/OP"} {
		runTool(t, "verify", dir).want(t, 0, "0 faults in 1 JWT of 1 account\n")
	}
	if err := os.WriteFile(dir+"/OP/OP.jwt", []byte(jwttest.NewOperator(t).Token(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, "verify", dir).want(t, 1, "did not sign it")
}

// accountFiles returns sharded files of as many accounts.
func accountFiles(t *testing.T, op *jwttest.Operator, n int) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for range n {
		a := &jwttest.Account{ID: jwttest.AccountKey(t)}
		files[shardOf(a.ID)] = op.Account(t, a)
	}
	return files
}

// TestAnImportIsInterruptedAndRepeated has many accounts imported, and the import stopped soon after it
// has begun. The next one stores the rest, and has the stored ones not announced again.
func TestAnImportIsInterruptedAndRepeated(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	const accounts = 500
	files := accountFiles(t, s.op, accounts)
	damaged, refused := jwttest.NewAccount(t), jwttest.NewAccount(t)
	files[damaged.ID+".jwt"] = []byte("damaged")
	files[refused.ID+".jwt"] = jwttest.NewOperator(t).Account(t, refused)
	dir := writeTree(t, files)
	first := startOther(t, binary, s.dir, nil, "import", dir, "--url", url)
	p.wait("updated JWT for account")
	first.signal(os.Interrupt)
	if code := first.exited(); code != 1 ||
		!strings.Contains(first.log.String(), "was interrupted: the same command goes on with it") {
		t.Errorf("exit code %d: %s", code, first.log)
	}
	before := strings.Count(p.log.String(), "updated JWT for account")
	if before == 0 || before >= accounts {
		t.Errorf("%d were stored when it was interrupted", before)
	}
	r := runTool(t, "import", dir, "--url", url)
	r.want(t, 1, damaged.ID+".jwt: expected 3 chunks", refused.ID+".jwt: 400 Bad Request: ",
		" were there already, 2 not taken\n")
	if n := strings.Count(p.log.String(), "updated JWT for account"); n != accounts {
		t.Errorf("%d were pushed, want %d", n, accounts)
	}
	p.kill()
	runTool(t, "import", dir, "--url", url).want(t, 1, "the server does not answer")
}

// What comes back is what went in: from the server, from its store while it runs, and through a pack.
func TestWhatIsExportedIsTheSame(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "maxreplicationpack: 100") // the rest is taken one by one
	files := accountFiles(t, s.op, 300)
	dir := writeTree(t, files)
	// An expired JWT is in no pack.
	expired := jwttest.NewAccount(t)
	token := s.op.Account(t, expired, func(c *jwt.AccountClaims) { c.Expires = time.Now().Unix() - 1 })
	if err := os.MkdirAll(filepath.Join(s.dir, "store", expired.ID[54:]), 0o700); err != nil {
		t.Fatal(err)
	}
	jwttest.File(t, filepath.Join(s.dir, "store"), shardOf(expired.ID), token)
	_, url := s.start(t)
	runTool(t, "import", dir, "--url", url).want(t, 0, "300 JWTs stored, 0 were there already, 0 not taken")
	jwttest.File(t, dir, expired.ID+".jwt", token)
	flat, sharded := t.TempDir(), t.TempDir()
	store, pack := filepath.Join(s.dir, "store"), filepath.Join(s.dir, "pack")
	runTool(t, "export", url, flat).want(t, 0, "301 JWTs written, 0 were there")
	runTool(t, "export", url, flat).want(t, 0, "0 JWTs written, 301 were there")
	runTool(t, "export", "--sharded", store, sharded).want(t, 0, "301 JWTs written")
	runTool(t, "export", "--pack", sharded, pack).want(t, 0, "301 JWTs written")
	for _, other := range []string{flat, sharded, pack, store, url} {
		runTool(t, "diff", dir, other).want(t, 0, "301 accounts, 0 differ\n")
	}
	newer := jwttest.Sign(t, s.op.Signing, expired, time.Now().Add(time.Hour))
	jwttest.File(t, flat, expired.ID+".jwt", newer)
	runTool(t, "export", url, flat).want(t, 1, "a newer JWT of the account is there already",
		"300 were there")
}

// A store that a server has left in a crash has changes in its journal only.
func TestToolsReadTheJournalOfAStore(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	store := filepath.Join(s.dir, "store")
	for i := range 100 { // its file can't be written: this takes the names of the temp files
		temp := filepath.Join(store, ".journal", fmt.Sprintf("temp-%d", i))
		if err := os.MkdirAll(temp, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	p.wait("WRN. JWTs can't be written and stay in the journal until they can: .*")
	p.kill()
	out := t.TempDir()
	runTool(t, "export", store, out).want(t, 0, "1 JWT written")
	runTool(t, "verify", out).want(t, 0, "1 account")
}

func TestDiffSaysWhatDiffers(t *testing.T) {
	t.Parallel()
	op, a, b := jwttest.NewOperator(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	one := op.Account(t, a, func(c *jwt.AccountClaims) { c.Name = "orders\x1b[31m" })
	other := jwttest.Sign(t, op.Signing, a, time.Now().Add(time.Hour), func(c *jwt.AccountClaims) {
		c.Name, c.Limits.Conn = "orders\x1b[31m", 60
	})
	first := writeTree(t, map[string][]byte{a.ID + ".jwt": one})
	second := writeTree(t, map[string][]byte{shardOf(a.ID): other, b.ID + ".jwt": op.Account(t, b)})
	runTool(t, "diff", first, second).want(t, 2, `"orders\x1b[31m" `+a.ID+"\n  ~ may open 60 connections, "+
		"was unlimited\n", "acc "+b.ID+" is only in "+second+"\n", "2 accounts, 2 differ")
	file := filepath.Join(first, a.ID+".jwt")
	runTool(t, "diff", file, filepath.Join(second, filepath.FromSlash(shardOf(a.ID)))).want(t, 2,
		"may open 60 connections")
	runTool(t, "diff", first, file).want(t, 0, "1 account, 0 differ\n")
	anew := jwttest.File(t, t.TempDir(), "anew.jwt", jwttest.Sign(t, op.Signing, a,
		time.Now().Add(time.Minute), func(c *jwt.AccountClaims) { c.Name = "orders\x1b[31m" }))
	runTool(t, "diff", file, anew).want(t, 0, "1 account, 0 differ, 1 is only issued anew\n")
	bad := jwttest.File(t, t.TempDir(), "bad.jwt", []byte("x"))
	runTool(t, "diff", file, bad).want(t, 1, "expected 3 chunks")
	runTool(t, "diff", file).want(t, 1, "it has the arguments A B")
	var found struct {
		Differ []struct {
			Account, In string
			Changes     []struct{ Code, Words string }
		}
	}
	r := runTool(t, "diff", "--json", first, second)
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || len(found.Differ) != 2 || r.code != 2 {
		t.Fatal(err, r)
	}
}

// An import names the imports without an export at its end: not those whose exporter came later in it.
func TestAnImportWarnsOfWhatIsStillMissing(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	_, url := s.start(t)
	exporter, importer, missing := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	imports := func(from *jwttest.Account, subject jwt.Subject) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Type: jwt.Service, Subject: subject, Account: from.ID})
		}
	}
	dir := writeTree(t, map[string][]byte{
		"a.jwt": s.op.Account(t, importer, imports(exporter, "there"), imports(missing, "gone")),
		"b.jwt": s.op.Account(t, exporter, func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Type: jwt.Service, Subject: "there"})
		}),
	})
	r := runTool(t, "import", filepath.Join(dir, "a.jwt"), "--url", url)
	r.want(t, 0, `a.jwt: stored, but import of service "there" from `+exporter.ID[:12]+": the account is not")
	mustPush(t, url, importer.ID, jwttest.Sign(t, s.op.Signing, importer, time.Now().Add(time.Second)))
	newer := jwttest.Sign(t, s.op.Signing, importer, time.Now().Add(2*time.Second),
		imports(exporter, "there"), imports(missing, "gone"))
	jwttest.File(t, dir, "a.jwt", newer)
	r = runTool(t, "import", dir, "--url", url)
	r.want(t, 0, `a.jwt: stored, but import of service "gone" from `+missing.ID[:12]+
		": the account is not stored")
	if strings.Contains(r.err, "there\"") {
		t.Error(r.err)
	}
}
