package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// natsEnv is the program and a nats-server, and a user of the system account.
type natsEnv struct {
	*testEnv
	url  string
	p    *process
	nats *server.Server
	nc   *nats.Conn
}

func newNATSEnv(t *testing.T) *natsEnv {
	s, p, url, n := withNATS(t, "-DV")
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
		row("a failed attempt is two lines, and there is another one after reconnectwait",
			failedAttempt),
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
		row("a push is the raw JWT on $SYS.ACCOUNT.<key>.CLAIMS.UPDATE, without headers",
			k.announces),
		row("one message per change, where 1.0.3 sends two",
			shownBy("TestAChangeIsAnnouncedOnceToServersThatHaveTheAccount",
				"TestAChangeIsAnnouncedOnce")),
		row("two pushes of one account through two servers end, where 1.0.3 sends thousands of "+
			"messages a second", shownBy("TestConcurrentPushesThroughTwoServersMakeNoStorm")),
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
		row("each way in which an update can be wrong",
			shownBy("TestUpdatesFromNATSAreVerifiedLikeAPOST")),
		row("an update that can't be decoded is refused in a line", k.refusesUpdates),
		row("the newer subjects, which the original does not serve: UPDATE, LIST, DELETE, PACK",
			shownBy("TestNSCPushesPullsAndDeletesOverNATS")),
		row("a lookup is answered with the raw JWT", k.answersLookups),
		row("a lookup of an unknown account is answered with nothing, where the "+
			"original does not answer", k.answersUnknownLookups),
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
		row("a pack request with our digest is answered with one empty message, another one "+
			"with lines and an empty one", k.answersPacks),
		row("packs are exchanged with full resolvers and other account servers",
			shownBy("TestAFullResolverAndThisServerAgreeAfterEitherWasAway",
				"TestThisServerAndTheOriginalAgree")),
		row("what a pack brings is verified",
			shownBy("TestPackLinesAreVerifiedAndStrayOnesDoNoHarm")),
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
	push(http.StatusBadRequest, signingRefused)
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
	heard, err := k.nc.SubscribeSync("$SYS.ACCOUNT." + a.ID +
		".CLAIMS.ACTIVATE." + hashOf(t, token))
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
	inOrder(t, text, `^\{\n  "data": \{\n    "account"`, `"code"`, `"message"`,
		`"server": \{\n    "host"`,
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
	k.p.wait(fmt.Sprintf(`\[TRC\] lookup of account %s - respond %d bytes`, a.ID,
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
