package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

func stores(t *testing.T) []behaviour {
	k := newParityEnv(t)
	nsc := filepath.Join(k.dir, "OP")
	writeFile(t, filepath.Join(nsc, ".nsc"), []byte("{}"))
	writeFile(t, filepath.Join(nsc, "OP.jwt"), []byte(k.op.Token(t)))
	return []behaviour{
		row("<dir>/<key>.jwt", k.writes("", func(key string) string { return key + ".jwt" })),
		row("sharded: <dir>/<last two characters>/<key>.jwt",
			k.writes(", shard: true", func(key string) string {
				return key[54:] + "/" + key + ".jwt"
			})),
		row("activations lie beside the accounts, sharded in ==",
			shownBy("TestADirectoryOfTheOriginalIsServedAndKept")),
		row("a file that is edited or dropped in by hand is served at once",
			shownBy("TestFilesEditedByHandCountAtOnce")),
		row("files are written as temp files and renamed, where the original truncates them",
			shownBy("TestAFullDiskHarmsNothing", "TestAFullDiskKeepsTheOldJWT")),
		row("the other setting of shard serves what is there, where the original does not find it",
			shownBy("TestTheOtherShardSetting")),
		row("the digest is the XOR of the SHA-256 of each JWT, zero when there is none",
			shownBy("TestTheDigest")),
		row("files deep below the directory and strays do no harm",
			shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm",
				"TestKeysAreThoseOfFilesInTheirPlace")),
		row("expired JWTs are deleted every cleanupinterval, only when it "+
			"is set, and each in a line", shownBy("TestExpiredAccountsAreDeleted")),
		row("the same JWT repairs its file, where 1.0.3 leaves it",
			shownBy("TestAPutRepairsTheFile")),
		row("a directory that goes and comes back holds up nothing, where "+
			"the original hangs for ever",
			shownBy("TestTheDirectoryMayVanish", "TestTheDirectoryIsMovedUnderWriters",
				"TestADirectoryThatHasGone")),
		row("one lock per account, where the original has one for all",
			shownBy("TestManyAcknowledgementsAtOnce")),
		row("the store of every kind keeps one contract",
			shownBy("TestDir", "TestMemory", "TestFolder")),

		row("a read-only directory is watched: files rewritten, replaced, created, deleted; new "+
			"shards; once each", shownBy("TestAReadOnlyDirectory")),
		row("activations in a read-only directory are served, and announced when they change",
			k.readOnlyActivations()),
		row("a read-only directory without an operator serves what is consistent in itself",
			k.readOnlyWithoutOperator()),
		row("a folder of nsc without .nsc",
			k.ends(1, flags("-nsc accounts -hp 127.0.0.1:0"),
				"is not a valid configuration directory")),
		row("a folder of nsc without accounts",
			k.ends(1, flags("-nsc OP -hp 127.0.0.1:0"),
				"open "+nsc+"/accounts: no such file or directory")),
		row("a folder of nsc: served and announced as nsc writes it; a "+
			"broken file harms itself only", shownBy("TestTheFolderOfNSC")),
		row("a state directory: what was announced, what was taken out, when it is full",
			shownBy("TestAStateDirectory", "TestAFullStateDirectoryIsNoObstacle",
				"TestTheFolderOfNSCChanges")),
		row("hundreds of files are hundreds of announcements, in whatever way they are replaced",
			shownBy("TestHundredsOfFilesAreHundredsOfAnnouncements")),
		row("an account of nsc that is renamed, deleted, or another one under its name",
			shownBy("TestTheFolderOfNSCChanges")),
		row("in memory: empty at the start, a warning, and lost at the end", k.inMemory()),
		row("in memory: JWTs in the working directory, where 1.0.3 kept "+
			"them, are named in a warning",
			func(t *testing.T) {
				for _, shard := range []bool{false, true} {
					l := newOriginalDir(t, shard, 0o700, 0o600)
					p := start(t, l.store, nil, "-hp", "127.0.0.1:0")
					p.wait("there are account JWTs in the working directory, " +
						"where version 1 kept them")
					p.kill()
					p = start(t, l.store, nil, "-hp", "127.0.0.1:0", "-dir", ".")
					for path := range l.want {
						if status, _ := get(t, p.url()+"/jwt/v1/"+path); status != http.StatusOK {
							t.Errorf("%s: %d", path, status)
						}
						break
					}
					p.term()
				}
			}),
		row("in memory and read-only", shownBy("TestAReadOnlyServerWithoutADirectoryIsEmpty")),
		row("in memory: read and written at once", shownBy("TestMemoryIsReadAndWrittenAtOnce")),
		row("a line of a pack that is none harms itself only, where the original stops",
			shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm",
				"TestAHostilePrimaryDoesNoHarm")),
		row("a pack's JWT counts if it is newer; of one second the greater hash",
			shownBy("TestOfOneSecondTheGreaterHashWinsBetweenPeers")),
	}
}

// writes pushes an account and looks at its file.
func (k *parityEnv) writes(extra string, path func(key string) string) func(*testing.T) {
	return func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new", "deep")
		p := start(t, k.dir, nil, flags("-c",
			k.file(t, anyPort+"operatorjwtpath: op.jwt, store { dir: "+fmt.Sprintf("%q",
				dir)+extra+" }"))...)
		a := jwttest.NewAccount(t)
		token := k.op.Account(t, a)
		mustPush(t, p.url(), a.ID, token)
		p.term()
		file := filepath.Join(dir, path(a.ID))
		if content, err := os.ReadFile(file); err != nil || string(content) != string(token) {
			t.Errorf("%v, %q", err, content)
		}
		for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
	}
}

func (k *parityEnv) readOnlyActivations() func(*testing.T) {
	return func(t *testing.T) {
		l := newReadOnlyEnv(t, "readonly: true, dir: ", "")
		a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
		token := activationOf(t, a, b)
		hash := hashOf(t, token)
		l.put(a.ID+".jwt", l.op.Account(t, a))
		l.put("==/"+hash+".jwt", token)
		p, url := l.start(t)
		serves := func(hash string, token []byte) {
			t.Helper()
			natstest.Eventually(t, "the folder's token is served", func() bool {
				status, body := get(t, url+"/jwt/v1/activations/"+hash)
				return token == nil && status == http.StatusNotFound || body == string(token)
			})
		}
		serves(hash, token)
		status, _ := post(http.DefaultClient, url+"/jwt/v1/activations", token)
		if status != http.StatusMethodNotAllowed {
			t.Errorf("a POST: %d", status)
		}
		n := natstest.Start(t,
			natstest.MemoryConf(t, l.op, fmt.Sprintf("listen: 127.0.0.1:%d\n", l.port),
				a, b))
		p.wait("connected to NATS for JWT syncing")
		creds, _ := l.op.System.User(t)
		nc := natstest.Connect(t, n.ClientURL(), creds)
		heard, err := nc.SubscribeSync("$SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*")
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Flush()
		early := activationOf(t, b, a)
		l.put("==/"+hashOf(t, early)+".jwt", early)
		p.wait("is not served - bad activation JWT Issuer in request: the account " + b.ID[:12] +
			" is not stored")
		l.put(b.ID+".jwt", l.op.Account(t, b)) // and now it is
		serves(hashOf(t, early), early)
		m, err := heard.NextMsg(10 * time.Second)
		if err != nil || m.Subject != "$SYS.ACCOUNT."+b.ID+".CLAIMS.ACTIVATE."+hashOf(t, early) ||
			string(m.Data) != string(early) {
			t.Errorf("%v, %v", m, err)
		}
		if err := os.Remove(filepath.Join(l.jwts, "==", hash+".jwt")); err != nil {
			t.Fatal(err)
		}
		serves(hash, nil)
		p.term()
	}
}

func (k *parityEnv) readOnlyWithoutOperator() func(*testing.T) {
	return func(t *testing.T) {
		dir := t.TempDir()
		a := jwttest.NewAccount(t)
		token := k.op.Account(t, a)
		jwttest.File(t, dir, a.ID+".jwt", token)
		p := start(t, k.dir, nil, "-dir", dir, "-ro", "-hp", "127.0.0.1:0")
		if status, body := get(t, p.url()+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK ||
			body != string(token) {
			t.Errorf("%d %s", status, body)
		}
		p.term()
	}
}

func (k *parityEnv) inMemory() func(*testing.T) {
	return func(t *testing.T) {
		run := func() (*process, string) {
			p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0")...)
			url := p.url()
			wantSaid(t, p.log.String(), "creating an in-memory store\n", "forgets every JWT")
			return p, url
		}
		p, url := run()
		a := jwttest.NewAccount(t)
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, k.op.Account(t, a))
		if status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK {
			t.Errorf("pushed: %d", status)
		}
		p.term()
		p, url = run()
		if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusNotFound {
			t.Errorf("after a restart: %d", status)
		}
		p.term()
	}
}
