package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

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
		row("files are written aside and renamed, where the original truncates them",
			shownBy("TestAFullDiskHarmsNothing", "TestAFullDiskKeepsTheOldJWT")),
		row("the other setting of shard serves what is there, where the original does not find it",
			shownBy("TestTheOtherShardSetting")),
		row("the digest is the XOR of the SHA-256 of each JWT, zero when there is none",
			shownBy("TestTheDigest")),
		row("files deep below the directory and strays do no harm",
			shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm",
				"TestKeysAreThoseOfFilesInTheirPlace")),
		row("expired JWTs are deleted every cleanupinterval, only when it is set, and each in a line",
			shownBy("TestExpiredAccountsAreDeleted")),
		row("the same JWT repairs its file, where 1.0.3 leaves it", shownBy("TestAPutRepairsTheFile")),
		row("a directory that goes and comes back holds up nothing, where the original hangs for ever",
			shownBy("TestTheDirectoryMayVanish", "TestTheDirectoryIsRemovedUnderWriters",
				"TestTheDirectoryIsRemovedUnderneath")),
		row("one lock per account, where the original has one for all",
			shownBy("TestManyAcknowledgementsAtOnce")),
		row("the store of every kind keeps one contract", shownBy("TestDir", "TestMemory", "TestFolder")),

		row("a read-only directory is watched: files rewritten, replaced, created, deleted; new shards; "+
			"once each", shownBy("TestAReadOnlyDirectory")),
		row("activations in a read-only directory are served, and announced when they change",
			k.readOnlyActivations()),
		row("a read-only directory without an operator serves what is consistent in itself",
			k.readOnlyWithoutOperator()),
		row("a folder of nsc without .nsc",
			k.ends(1, flags("-nsc accounts -hp 127.0.0.1:0"), "is not a valid configuration directory")),
		row("a folder of nsc without accounts",
			k.ends(1, flags("-nsc OP -hp 127.0.0.1:0"),
				"open "+nsc+"/accounts: no such file or directory")),
		row("a folder of nsc: served and announced as nsc writes it; a broken file harms itself only",
			shownBy("TestTheFolderOfNSC")),
		row("a state directory: what was announced, what was taken out, when it is full",
			shownBy("TestAStateDirectory", "TestAFullStateDirectoryKeepsNobodyOut",
				"TestTheFolderOfNSCChanges")),
		row("hundreds of files are hundreds of announcements, in whatever way they are replaced",
			shownBy("TestHundredsOfFilesAreHundredsOfAnnouncements")),
		row("an account of nsc that is renamed, deleted, or another one under its name",
			shownBy("TestTheFolderOfNSCChanges")),
		row("in memory: empty at the start, a warning, and lost at the end", k.inMemory()),
		row("in memory: JWTs in the working directory, where 1.0.3 kept them, are named in a warning",
			func(t *testing.T) {
				for _, shard := range []bool{false, true} {
					l := newOriginalDir(t, shard, 0o700, 0o600)
					p := start(t, l.store, nil, "-hp", "127.0.0.1:0")
					p.wait("there are account JWTs in the working directory, where version 1 kept them")
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
			shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm", "TestAHostilePrimaryDoesNoHarm")),
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
		n := natstest.Start(t, natstest.MemoryConf(t, l.op, fmt.Sprintf("listen: 127.0.0.1:%d\n", l.port),
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

// natsEnv is the program and a nats-server, and a user of the system account.
type natsEnv struct {
	*testEnv
	url  string
	p    *process
	nats *server.Server
	nc   *nats.Conn
}

func newNATSEnv(t *testing.T) *natsEnv {
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	p, url := s.start(t, "-DV")
	n := natstest.Start(t, natstest.URLConf(t, s.op, url+"/jwt/v1/accounts/",
		fmt.Sprintf("listen: 127.0.0.1:%d\n", port)))
	p.wait("connected to NATS for JWT syncing")
	creds, _ := s.op.System.User(t)
	return &natsEnv{s, url, p, n, natstest.Connect(t, n.ClientURL(), creds)}
}

// request asks and returns the answer.
func (k *natsEnv) request(t *testing.T, subject string, data []byte) *nats.Msg {
	t.Helper()
	m, err := k.nc.Request(subject, data, 10*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return m
}

func overNATS(t *testing.T) []behaviour {
	k := newNATSEnv(t)
	return []behaviour{
		row("without servers there is no connection", func(t *testing.T) {
			p := start(t, t.TempDir(), nil, "-hp", "127.0.0.1:0")
			p.wait("NATS is not configured, server will not fire notifications on update")
		}),
		row("the connection's name", k.introducesItself),
		row("no echo of what it says itself", k.hearsNoEcho),
		row("a failed attempt is two lines, and there is another one after reconnectwait", failedAttempt),
		row("HTTP does not wait for the first attempt",
			shownBy("TestHTTPLivesWhileNATSIsSilent", "TestAStopDoesNotWaitForASilentPort")),
		row("notify while NATS connects is no data race",
			shownBy("TestNotifyingWhileNATSConnectsIsNoRace")),
		row("what is said of a connection that goes and comes back",
			shownBy("TestItDialsAgainForEverAndTellsAsTheOriginal")),
		row("reconnecting never ends, also when turned away",
			shownBy("TestAnAuthorizationFailureIsNeverTheEnd")),
		row("reconnectwait: 0 is no busy loop", shownBy("TestThereIsNoBusyLoop")),
		row("no password is logged", shownBy("TestNoPasswordIsLogged", "TestErrorsShowNoPassword")),
		row("a push is the raw JWT on $SYS.ACCOUNT.<key>.CLAIMS.UPDATE, without headers", k.announces),
		row("one message per change, where 1.0.3 sends two",
			shownBy("TestAChangeIsAnnouncedOnceToServersThatHaveTheAccount", "TestAChangeIsAnnouncedOnce")),
		row("two pushes of one account through two servers end, where 1.0.3 sends thousands of messages "+
			"a second",
			shownBy("TestConcurrentPushesThroughTwoServersMakeNoStorm")),
		row("a push that NATS could not be told of is not lost",
			shownBy("TestAChangeCommittedBeforeNATSWasEverReachedIsDelivered")),
		row("a JWT that NATS can't carry is 413 and not stored",
			shownBy("TestAJWTThatNATSCannotCarryIs413",
				"TestAJWTLargerThanMaxPayloadIsRefusedBeforeItIsSaved")),
		row("an activation is published on $SYS.ACCOUNT.<issuer>.CLAIMS.ACTIVATE.<hash>",
			k.publishesActivations),
		row("a published activation is verified and stored, where 1.0.3 fails",
			shownBy("TestActivationsFromNATSAreVerifiedLikeAPOST",
				"TestAnActivationMayComeBeforeItsAccount")),
		row("an update is verified like a push, stored, and answered in nats-server's JSON",
			k.takesUpdates),
		row("each way in which an update can be wrong", shownBy("TestUpdatesFromNATSAreVerifiedLikeAPOST")),
		row("an update that can't be decoded is refused in a line", k.refusesUpdates),
		row("the newer subjects, which the original does not serve: UPDATE, LIST, DELETE, PACK",
			shownBy("TestNSCPushesPullsAndDeletesOverNATS")),
		row("a lookup is answered with the raw JWT", k.answersLookups),
		row("a lookup of an unknown account is answered with nothing, where the original does not answer",
			k.answersUnknownLookups),
		row("a lookup without a reply subject", func(t *testing.T) {
			err := k.nc.Publish("$SYS.REQ.ACCOUNT."+jwttest.NewAccount(t).ID+".CLAIMS.LOOKUP", nil)
			if err != nil {
				t.Fatal(err)
			}
			k.p.wait("lookup is not a request")
		}),
		row("a miss is looked up over NATS, verified, within a second",
			shownBy("TestAnswersToLookupsAreVerified", "TestAMissWaitsForASecondAtMost")),
		row("a key reaches no subject unchecked",
			shownBy("TestNoURLReachesNATS", "TestOnlyAccountKeysAreAskedFor")),
		row("signing: the subject can change with a reload", reloadedSigner),
		row("signing: each answer of the signer",
			shownBy("TestTheSigningService", "TestSigningWithoutNATSFailsAtOnce")),
		row("a pack request with our digest is answered with one empty message, another one with lines "+
			"and an empty one", k.answersPacks),
		row("packs are exchanged with full resolvers and other account servers",
			shownBy("TestAFullResolverAndThisServerAgreeAfterEitherWasAway",
				"TestThisServerAndTheOriginalAgree")),
		row("what a pack brings is verified", shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm")),
		row("a deletion stays", shownBy("TestNoWayInBringsBackWhatWasDeleted")),
	}
}

// reloadedSigner pushes what an account signed itself, before and after there is a signing service.
func reloadedSigner(t *testing.T) {
	natsURL := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	s := newEnv(t, natsURL, "")
	p, url := s.start(t)
	n := natstest.Start(t, natstest.MemoryConf(t, s.op,
		"listen: "+strings.TrimPrefix(natsURL, "nats://")+"\n"))
	p.wait("connected to NATS for JWT syncing")
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	a := jwttest.NewAccount(t)
	if _, err := nc.Subscribe("sign.it", func(m *nats.Msg) {
		_ = m.Respond(s.op.Account(t, a))
	}); err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush()
	own := jwttest.Sign(t, a.Key, a, time.Now())
	push := func(status int, body string) {
		t.Helper()
		if got, text := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, own); got != status ||
			!strings.HasPrefix(text, body) {
			t.Errorf("%d %q", got, text)
		}
	}
	push(http.StatusBadRequest, "Signing service not enabled\n")
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	conf(t, s.dir, "%s\nsignrequestsubject: sign.it", text)
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	push(http.StatusOK, "stored; ")
	p.term()
}

func (k *natsEnv) introducesItself(t *testing.T) {
	conns, err := k.nats.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if c.Name == "nats-account-server" {
			return
		}
	}
	t.Errorf("not among %d connections", len(conns.Conns))
}

func failedAttempt(t *testing.T) {
	s := newEnv(t, fmt.Sprintf("nats://u:hush@127.0.0.1:%d", freePort(t)), "")
	p, _ := s.start(t)
	for range 2 {
		p.wait("connecting to NATS for notifications")
		p.wait(`failed to connect to NATS \[nats://127\.0\.0\.1:\d+\]: ` +
			"nats: no servers available for connection")
		p.wait("will try to connect again in 100 milliseconds")
	}
	p.term()
}

func (k *natsEnv) hearsNoEcho(t *testing.T) {
	conns, err := k.nats.Connz(&server.ConnzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delivered := func() (n int64) {
		for _, c := range conns.Conns {
			if c.Name == "nats-account-server" {
				n = c.OutMsgs
			}
		}
		return n
	}
	a := jwttest.NewAccount(t)
	mustPush(t, k.url, a.ID, k.op.Account(t, a))
	before := delivered()
	token := activationOf(t, a, jwttest.NewAccount(t)) // this has no answer
	for range 20 {
		status, body := post(http.DefaultClient, k.url+"/jwt/v1/activations", token)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		token = activationOf(t, a, jwttest.NewAccount(t))
	}
	if err := k.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if conns, err = k.nats.Connz(&server.ConnzOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := delivered() - before; n >= 20 {
		t.Errorf("it was told %d things while it said 20", n)
	}
}

func (k *natsEnv) announces(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := k.op.Account(t, a)
	heard, err := k.nc.SubscribeSync("$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE")
	if err != nil {
		t.Fatal(err)
	}
	_ = k.nc.Flush()
	mustPush(t, k.url, a.ID, token)
	m, err := heard.NextMsg(10 * time.Second)
	if err != nil || string(m.Data) != string(token) || len(m.Header) > 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func (k *natsEnv) publishesActivations(t *testing.T) {
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	mustPush(t, k.url, a.ID, k.op.Account(t, a))
	token := activationOf(t, a, b)
	heard, err := k.nc.SubscribeSync("$SYS.ACCOUNT." + a.ID + ".CLAIMS.ACTIVATE." + hashOf(t, token))
	if err != nil {
		t.Fatal(err)
	}
	_ = k.nc.Flush()
	status, body := post(http.DefaultClient, k.url+"/jwt/v1/activations", token)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if m, err := heard.NextMsg(10 * time.Second); err != nil || string(m.Data) != string(token) {
		t.Errorf("%+v, %v", m, err)
	}
}

func (k *natsEnv) takesUpdates(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := k.op.Account(t, a)
	inbox, err := k.nc.SubscribeSync(k.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.nc.PublishRequest("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", inbox.Subject, token); err != nil {
		t.Fatal(err)
	}
	var text string
	var answer struct {
		Data struct {
			Account, Message string
			Code             int
		}
		Server struct {
			Host, ID, Name, Ver, Time string
			Seq                       int
		}
	}
	for answer.Server.Name != "nats-account-server" { // the nats-server answers too
		m, err := inbox.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		text = string(m.Data)
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			t.Fatal(err)
		}
	}
	if d := answer.Data; d.Account != a.ID || d.Code != 200 || d.Message != "jwt updated" {
		t.Errorf("%+v", d)
	}
	if s := answer.Server; s.Host == "" || !nkeys.IsValidPublicServerKey(s.ID) || s.Seq < 1 ||
		s.Ver == "" || s.Time == "" {
		t.Errorf("%+v", s)
	}
	inOrder(t, text, `^\{\n  "data": \{\n    "account"`, `"code"`, `"message"`, `"server": \{\n    "host"`,
		`"id"`, `"name"`, `"seq"`, `"time"`, `"ver"`)
	if status, body := get(t, k.url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK ||
		body != string(token) {
		t.Errorf("%d %s", status, body)
	}
}

func (k *natsEnv) refusesUpdates(t *testing.T) {
	a := jwttest.NewAccount(t)
	if err := k.nc.Publish("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", []byte("junk")); err != nil {
		t.Fatal(err)
	}
	k.p.wait(a.ID[:12] + ` - the update on \S+ is refused - bad JWT in request: expected 3 chunks`)
}

func (k *natsEnv) answersLookups(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := k.op.Account(t, a)
	mustPush(t, k.url, a.ID, token)
	if m := k.request(t, "$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", nil); string(m.Data) != string(token) {
		t.Errorf("%q", m.Data)
	}
	k.p.wait(fmt.Sprintf(`\[\x1b\[33mTRC\x1b\[0m\] lookup of account %s - respond %d bytes`, a.ID,
		len(token)))
}

func (k *natsEnv) answersUnknownLookups(t *testing.T) {
	m := k.request(t, "$SYS.REQ.ACCOUNT."+jwttest.NewAccount(t).ID+".CLAIMS.LOOKUP", nil)
	if len(m.Data) > 0 || m.Header.Get("Status") != "" {
		t.Errorf("%q %v", m.Data, m.Header)
	}
}

func (k *natsEnv) answersPacks(t *testing.T) {
	inbox, err := k.nc.SubscribeSync(k.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.nc.PublishRequest("$SYS.REQ.CLAIMS.PACK", inbox.Subject, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	for lines := 0; ; {
		m, err := inbox.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Data) == 0 {
			if lines == 0 {
				t.Error("nothing in it")
			}
			return
		}
		for line := range strings.SplitSeq(string(m.Data), "\n") {
			if key, token, _ := strings.Cut(line, "|"); !nkeys.IsValidPublicAccountKey(key) ||
				!strings.HasPrefix(token, "eyJ") {
				t.Errorf("the line %q", line)
			}
			lines++
		}
	}
}

func replication(t *testing.T) []behaviour {
	k := newParityEnv(t)
	return []behaviour{
		row("nsc and primary", k.refuses("primary: \"http://127.0.0.1:1\"\nstore { nsc: x }",
			"replicas cannot be run in NSC mode")),
		row("read-only and primary", k.refuses("operator: op.jwt\nprimary: \"http://127.0.0.1:1\"\n"+
			"store { dir: x, readonly: true }",
			"replica mode cannot be used in read-only mode, but will not allow POST operations")),
		row("a replica needs an operator", k.refuses("primary: \"http://127.0.0.1:1\"",
			"a replica needs an operator")),
		row("the lines at the start, without NATS and without a pack", func(t *testing.T) {
			p := start(t, k.dir, nil, flags("-c",
				k.file(t, anyPort+"operatorjwtpath: op.jwt, primary: \"http://127.0.0.1:1\", "+
					"maxreplicationpack: 0"))...)
			p.wait("server time is")
			p.wait("starting in replicated mode, with primary at http://127.0.0.1:1")
			p.wait("running in replicated mode without NATS notifications can result in delayed updates")
			p.wait("skipping initial JWT pack from primary, config has MaxReplicationPack of 0")
			p.term()
		}),
		row("a primary that is away", func(t *testing.T) {
			p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0 -primary",
				fmt.Sprintf("http://127.0.0.1:%d/", freePort(t)))...)
			p.wait("grabbing initial JWT pack from primary http://127.0.0.1:")
			p.wait("unable to initialize from primary, .*, will use what is on disk")
			p.term()
		}),
		row("a primary that says no", func(t *testing.T) {
			p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0 -primary", notFound(t))...)
			p.wait(`unable to initialize from primary, server returned status "404 Not Found", ` +
				"will use what is on disk")
			p.term()
		}),
		row("Cache-Control is that of every server, where 0.8.4 counts down what is left of its hour, "+
			"or leaves it out", k.replicaCaches),
		row("the initial pack, misses, updates by NATS, POST refused, on from disk",
			shownBy("TestAReplicaFollowsItsPrimary")),
		row("activations, also an hour later, and while the primary is away", shownBy("TestActivations")),
		row("a memory store", k.replicaInMemory),
		row("a damaged file, and what there is no room for, come from the primary",
			shownBy("TestADamagedFileIsMendedFromThePrimary", "TestWhatThereIsNoRoomForIsServed")),
		row("a redirect, with a password that no line shows",
			shownBy("TestAPasswordSurvivesARedirect", "TestThePrimarysPasswordIsNotShown")),
		row("what is no pack", shownBy("TestWhatIsNoPackIsAskedForAgain")),
		row("a silent primary holds up no request, where the original starts without HTTP",
			shownBy("TestASilentPrimaryHoldsUpNoRequest")),
		row("a hostile primary", shownBy("TestAHostilePrimaryDoesNoHarm")),
		row("each answer of a primary, also 0.8.4's", shownBy("TestThePrimarysAnswers")),
		row("what is stored is asked for again when an hour has passed",
			shownBy("TestAnHourLaterItIsAskedForAgain")),
		row("many at once", shownBy("TestManyAskAtOnce")),
		row("1.0.3's import once at the start is not there: it follows",
			shownBy("TestAReplicaFollowsItsPrimary")),
		row("SIGHUP lets it follow another primary, or none", shownBy("TestAReloadFollowsAnotherPrimary")),
		row("a pair with restarts and cut lines",
			shownBy("TestAReplicaAgreesWithItsPrimaryAfterRestartsAndCutLines")),
	}
}

func (k *parityEnv) replicaCaches(t *testing.T) {
	a := jwttest.NewAccount(t)
	token := k.op.Account(t, a, func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(2 * time.Hour).Unix()
	})
	dir := t.TempDir()
	jwttest.File(t, dir, a.ID+".jwt", token)
	p := start(t, k.dir, nil, flags("-operator op.jwt -hp 127.0.0.1:0 -primary", notFound(t), "-dir",
		dir)...)
	for _, b := range requests(p.url(), nil, []request{
		{"stored", "GET /jwt/v1/accounts/" + a.ID, "200 OK", "Cache-Control: max-age=71*", string(token)},
		{"refused", "POST /jwt/v1/accounts/" + a.ID + "\n\nx", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", "Method Not Allowed\nthis server follows *"},
		{"no activations are taken", "POST /jwt/v1/activations\n\nx", "405 Method Not Allowed",
			"Allow: OPTIONS", "Method Not Allowed\nthis server follows *"},
		{"check", "GET /jwt/v1/accounts/" + a.ID + "?check=true", "200 OK", "", string(token)},
		{"as text", "GET /jwt/v1/accounts/" + a.ID + "?text=true", "200 OK", bareText, string(token)},
		{"the operator", "GET /jwt/v1/operator", "200 OK", "", "eyJ*"},
		{"help", "GET /jwt/v1/help", "200 OK", "", "*"},
		{"the pack", "GET /jwt/v1/pack", "200 OK", "", a.ID + "|" + string(token)},
		{"the probe", "GET /jwt/v1/accounts/", "200 OK", probeHead, ""},
	}) {
		t.Run(b.name, b.holds)
	}
	p.term()
}

// notFound is a server that has nothing.
func (k *parityEnv) replicaInMemory(t *testing.T) {
	s := newEnv(t, "", "")
	primary, url := s.start(t)
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	mustPush(t, url, a.ID, token)
	p := start(t, s.dir, nil, "-operator", "op.jwt", "-hp", "127.0.0.1:0", "-primary", url)
	its := p.url()
	p.wait("initialized from primary, 1 accounts")
	primary.term()
	wantJWT(t, its, a.ID, token)
	p.term()
}

func notFound(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	return "http://" + l.Addr().String()
}

func logLines(t *testing.T) []behaviour {
	return []behaviour{
		row("the format: pid, time, level, colours", shownBy("TestTheLineFormat")),
		row("no text forges a line", shownBy("TestNoTextCanForgeALine",
			"TestNothingOfARequestForgesALogLine")),
		row("what is said at a start with everything, in order", startWithEverything),
		row("what is said of pushes and requests", pushLines),
		row("what is said of requests, with trace", traceLines),
		row("no error at a stop, where the original always has one",
			shownBy("TestSIGTERMStopsInOrderWithoutAnError")),
		row("each 404 is a debug line and one warning a minute, where the original has an error each",
			shownBy("TestA404IsADebugLineAndOneSummaryAMinute")),
		row("an address of version 6 has its brackets", func(t *testing.T) {
			p := start(t, t.TempDir(), nil, "-hp", "[::1]:0")
			p.wait(`resolver: URL\(http://\[::1\]:\d+/jwt/v1/accounts/\)`)
		}),
		row("no host is 127.0.0.1 in the hint", func(t *testing.T) {
			p := start(t, t.TempDir(), nil, "-hp", ":0")
			p.wait(`resolver: URL\(http://127\.0\.0\.1:\d+/jwt/v1/accounts/\)`)
		}),
	}
}

func startWithEverything(t *testing.T) {
	s, p, _, _ := withNATS(t)
	p.wait("connected to NATS for JWT syncing")
	begin, _, _ := strings.Cut(p.log.String(), "it keeps no accounts then")
	inOrder(t, begin, `\[\x1b\[32mINF\x1b\[0m\] starting NATS Account server, version `,
		`server time is \w+ \w+ +\d+ [\d:]+ \w+ \d+\n`, `loading configuration from "/.*"`,
		"loading system account from .*sys.jwt", "System Account: "+s.op.System.ID, "System Account Name: ",
		"loading operator from .*op.jwt", "Operator: "+s.op.ID, "Operator Name: ",
		"creating a store at /.*store", `http listening on port \d+`,
		"nats-account-server is running", "configure the nats-server with:",
		`  resolver: URL\(http://127.0.0.1:\d+/jwt/v1/accounts/\)`)
	inOrder(t, p.log.String(), "connecting to NATS for notifications",
		"connected to NATS for account and activation notifications", "connected to NATS for JWT syncing")
	p.term()
	inOrder(t, p.log.String(), `\n\n?.*received sig-term, shutting down`, "stopping account server",
		"stopping http server", "http server stopped",
		"disconnected from NATS", "http stopped", "closed JWT store")
}

// pushLines are those that people look for.
func pushLines(t *testing.T) {
	s := newEnv(t, "", "logging { colors: false }")
	p, url := s.start(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	push := func(key string, token []byte) {
		post(http.DefaultClient, url+"/jwt/v1/accounts/"+key, token)
	}
	short := a.ID[:12]
	push(a.ID, token)
	p.wait(`\[INF\] updated JWT for account - ` + short + " - " + jtiOf(t, token) + "\n")
	p.wait(`\[INF\] skipping notification for ` + short + ", no NATS configured\n")
	activation := activationOf(t, a, b)
	status, body := post(http.DefaultClient, url+"/jwt/v1/activations", activation)
	if status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	p.wait(`\[INF\] updated activation JWT - ` + short + "-" + b.ID[:12] + ` - "foo\.>"`)
	p.wait(`\[INF\] skipping activation notification for ` + hashOf(t, activation)[:12] +
		", no NATS configured\n")
	push(b.ID, []byte("garbage"))
	p.wait(`\[ERR\] ` + b.ID[:12] + " - bad JWT in request - expected 3 chunks\n")
	push(b.ID, jwttest.Flip(s.op.Account(t, b)))
	p.wait(`\[ERR\] ` + b.ID[:12] + " - bad JWT in request - claim failed V2 signature verification\n")
	push(b.ID, activation)
	p.wait(`\[ERR\] ` + b.ID[:12] + " - bad JWT in request - not account claim\n")
	push(b.ID, token)
	p.wait(`\[ERR\] .{12} - pub keys don't match\n`)
	push(b.ID, jwttest.NewOperator(t).Account(t, b))
	p.wait(`\[ERR\] .{12} - untrusted issuer in request`)
	push(b.ID, jwttest.Sign(t, s.op.Signing, b, time.Now(), func(c *jwt.AccountClaims) { c.Expires = 1 }))
	p.wait(`\[ERR\] attempt to update JWT ` + b.ID[:12] + " with blocking validation errors\n")
	p.term()
}

func traceLines(t *testing.T) {
	s := newEnv(t, "", "logging { colors: false }")
	p, url := s.start(t, "-DV")
	a := jwttest.NewAccount(t)
	path := "/jwt/v1/accounts/" + a.ID
	unknown := strings.Repeat("A", 52) + "===="
	post(http.DefaultClient, url+path, s.op.Account(t, a))
	short := a.ID[:12]
	for _, c := range []struct {
		path  string
		lines []string
	}{
		{"/jwt/v1/accounts/", []string{`127\.0\.0\.1:\d+: /jwt/v1/accounts/\n`,
			"server sent resolver check"}},
		{path, []string{"request for JWT for - " + short, "returning JWT for - " + short}},
		{"/jwt/v1/activations/" + unknown, []string{`127\.0\.0\.1:\d+: /jwt/v1/activations/` + unknown}},
		{path + "?text=true", []string{"returning JWT as text for - " + short}},
		{path + "?decode=true", []string{"returning decoded JWT as text for - " + short}},
		{path + "?notify=true", []string{"trying to send notification for - " + short}},
		{"/jwt/v1/pack", []string{"request for JWT Pack - max=10000", "returning JWT Pack"}},
		{"/jwt/v1/accounts/" + s.op.System.ID, []string{"returning system JWT from configuration"}},
	} {
		get(t, url+c.path)
		for _, line := range c.lines {
			p.wait(`\[TRC\] ` + line)
		}
	}
	wantSaid(t, p.log.String(), "[DBG] unable to find requested activation JWT for "+unknown+" - ")
	p.term()
}

func startToEnd(t *testing.T) []behaviour {
	k := newParityEnv(t)
	return []behaviour{
		row("SIGHUP any number of times, a bad configuration is no end, SIGINT after it is clean",
			shownBy("TestStories/reload")),
		row("SIGHUP keeps requests and connections",
			shownBy("TestARequestInFlightSurvivesAReload", "TestANewConnectionSurvivesAReload")),
		row("-dump is one record of JSON, two spaces deep, after the start, and the program goes on",
			func(t *testing.T) {
				p := start(t, k.dir, nil, flags("-hp 127.0.0.1:0 -dump")...)
				url := p.url()
				p.wait(`(?s)INF\x1b\[0m\] \{\n  "Logging": \{\n    "Time": true,\n.*\n` +
					`  "MaxReplicationPack": 10000,\n.*\n\}\n`)
				if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
					t.Errorf("healthz: %d", status)
				}
				p.term()
			}),
		row("a Windows service, with its lines in the event log",
			shownBy("TestTheServiceReportsItsState", "TestALineOfTheLogIsAnEventOfItsLevel")),
		row("a container image with the original's paths and entry point; docker stop is a stop in order",
			shownBy("TestTheProgramRunsAloneInAContainer", "TestTheImageIsTheOriginals")),
		row("a directory of either version is served unchanged",
			shownBy("TestADirectoryOfTheOriginalIsServedAndKept")),
		row("nats-server's URL resolver: one GET at its start, accounts on demand, updates",
			shownBy("TestTheQuickStartWorksAsTheReadmeSays", "TestOlderNATSServersFollowEveryPush",
				"TestAURLResolverDoesNotStartWithoutUs")),
		row("nsc push, pull and add operator over HTTP", nscOverHTTP),
		row("nsc over NATS", shownBy("TestNSCPushesPullsAndDeletesOverNATS")),
	}
}

// nscOverHTTP sends what nsc sends: one connection for all accounts, each of which must be 200;
// then everything back.
func nscOverHTTP(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	client := &http.Client{}
	tokens := map[string][]byte{}
	for range 5 {
		a := jwttest.NewAccount(t)
		tokens[a.ID] = s.op.Account(t, a)
		status, body := post(client, url+"/jwt/v1/accounts/"+a.ID, tokens[a.ID])
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if _, body := get(t, url+"/jwt/v1/operator"); body != s.op.Token(t) {
		t.Errorf("the operator is %q", body)
	}
	for key, token := range tokens {
		if _, body := get(t, url+"/jwt/v1/accounts/"+key); body != string(token) {
			t.Errorf("%s is %q", key, body)
		}
	}
	p.term()
}
