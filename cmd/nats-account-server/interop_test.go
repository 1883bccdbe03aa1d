package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// The test goes through the same steps with nats-servers of older lines and with every kind of
// resolver that asks an account server.
func TestOlderNATSServersFollowEveryPush(t *testing.T) {
	t.Parallel()
	wantOldNATS(t)
	for version := range oldNATS {
		for _, kind := range []string{"URL", "full", "cache"} {
			t.Run(version+"/"+kind, func(t *testing.T) {
				t.Parallel()
				newInterop(t, oldBinary(t, version), kind).live()
			})
		}
	}
}

// interop is the program, a nats-server of another version, and a line between them that can be
// cut. HTTP is not cut.
type interop struct {
	*testEnv
	t       *testing.T
	address string // of HTTP
	url     string
	p       *process

	kind          string // of the resolver
	program, conf string // of the nats-server
	nats          *process
	natsURL       string
	line          *natstest.Relay

	loaded, later *jwttest.Account
	stays, goes   string // creds files of users of the loaded account
	revoked       string // the key of the one that goes
	age           time.Duration
}

func newInterop(t *testing.T, program, kind string) *interop {
	t.Helper()
	d := &interop{t: t, program: program, kind: kind, loaded: jwttest.NewAccount(t),
		later: jwttest.NewAccount(t), age: time.Hour}
	port := freePort(t)
	d.natsURL = fmt.Sprintf("nats://127.0.0.1:%d", port)
	d.line = natstest.NewRelay(t, 0, d.natsURL)
	d.testEnv = newEnv(t, d.line.URL(), "")
	creds, _ := d.loaded.User(t)
	d.stays = jwttest.File(t, d.dir, "stays.creds", creds)
	creds, d.revoked = d.loaded.User(t)
	d.goes = jwttest.File(t, d.dir, "goes.creds", creds)
	d.address = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	first := d.token()
	d.conf = resolverConf(t, d.op, kind, "http://"+d.address, d.dir+"/nats", port,
		map[string][]byte{d.op.System.ID: d.op.SystemAccount(t), d.loaded.ID: first})
	d.startProgram()
	d.push(d.loaded, first)
	d.nats = startNATS(t, program, d.conf)
	d.p.wait("connected to NATS for account")
	return d
}

func (d *interop) startProgram() { d.p, d.url = d.start(d.t, "-hp", d.address) }

// token is a JWT of the loaded account that is newer than the one before.
func (d *interop) token(edits ...func(*jwt.AccountClaims)) []byte {
	d.age -= 5 * time.Second
	return jwttest.Sign(d.t, d.op.Signing, d.loaded, time.Now().Add(-d.age), edits...)
}

// revoke throws out the user that goes.
func (d *interop) revoke(c *jwt.AccountClaims) { c.RevokeAt(d.revoked, time.Now()) }

// push returns the line about delivery.
func (d *interop) push(a *jwttest.Account, token []byte) string {
	d.t.Helper()
	status, body := post(http.DefaultClient, "http://"+d.address+"/jwt/v1/accounts/"+a.ID, token)
	if status != http.StatusOK {
		d.t.Fatalf("%d %s", status, body)
	}
	return body
}

// eventually waits for what comes true between others' doings, and shows those if it does not.
func (d *interop) eventually(what string, ok func() bool) {
	d.t.Helper()
	defer func() {
		if d.t.Failed() {
			d.t.Logf("the program:\n%s\nnats-server:\n%s", d.p.log, d.nats.log)
		}
	}()
	natstest.Eventually(d.t, what, func() bool {
		if ok() {
			return true
		}
		time.Sleep(50 * time.Millisecond) // asking loads every server
		return false
	})
}

// acknowledged waits until the nats-server has acknowledged what was pushed.
func (d *interop) acknowledged(a *jwttest.Account, token []byte) {
	d.t.Helper()
	d.eventually("the push is acknowledged", func() bool {
		return d.push(a, token) == "stored; acknowledged by 1 of 1 nats-server\n"
	})
}

// connect connects a user as soon as the nats-server lets it in.
func (d *interop) connect(creds string) (gone <-chan time.Time) {
	d.t.Helper()
	out := make(chan time.Time, 1)
	d.eventually("the user gets in", func() bool {
		nc, err := d.dial(creds, out)
		if err == nil {
			d.t.Cleanup(nc.Close)
		}
		return err == nil
	})
	return out
}

func (d *interop) dial(creds string, out chan<- time.Time) (*nats.Conn, error) {
	return nats.Connect(d.natsURL, nats.UserCredentials(creds), nats.NoReconnect(),
		nats.Timeout(10*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
		nats.ClosedHandler(func(*nats.Conn) { out <- time.Now() }))
}

// applied waits until a JWT is what the nats-server goes by.
func (d *interop) applied(token []byte) {
	d.t.Helper()
	nc := natstest.Dial(d.t, d.natsURL, nats.UserCredentials(d.dir+"/sys.creds"))
	defer nc.Close()
	var pong struct{ Server struct{ ID string } }
	askNATS(d.t, nc, "$SYS.REQ.SERVER.PING", "", &pong)
	d.eventually("the JWT is applied", func() bool {
		var its struct {
			Data struct {
				Account struct{ JWT string } `json:"account_detail"`
			}
		}
		askNATS(d.t, nc, "$SYS.REQ.SERVER."+pong.Server.ID+".ACCOUNTZ",
			`{"account":"`+d.loaded.ID+`"}`, &its)
		return its.Data.Account.JWT == string(token)
	})
}

func askNATS(t testing.TB, nc *nats.Conn, subject, body string, answer any) {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), 10*time.Second)
	if err == nil {
		err = json.Unmarshal(m.Data, answer)
	}
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
}

func (d *interop) live() {
	d.aRevocationTakesEffectAtOnce()
	later := d.op.Account(d.t, d.later)
	d.push(d.later, later) // the nats-server has not loaded it, and may say that it skips it
	d.aKilledProgramDeliversWhatItOwed()
	d.aNATSServerThatComesBackIsTold()
	want := "stored; not in use on the only nats-server\n"
	if d.kind == "full" { // it saves every account
		want = "stored; acknowledged by 1 of 1 nats-server\n"
	}
	d.eventually(want, func() bool { return d.push(d.later, later) == want })
	d.p.term()
	if strings.Contains(d.p.log.String(), "refuses the update") {
		d.t.Errorf("the nats-server refuses something:\n%s", d.p.log)
	}
}

func (d *interop) aRevocationTakesEffectAtOnce() {
	d.t.Helper()
	d.connect(d.stays)
	var token []byte
	// A machine that builds at the same time may take longer, but not each time.
	natstest.Eventually(d.t, "the revoked user is gone within two seconds", func() bool {
		d.push(d.loaded, d.token()) // lets the user in
		gone := d.connect(d.goes)
		began := time.Now()
		token = d.token(d.revoke)
		d.push(d.loaded, token)
		select {
		case at := <-gone:
			return at.Sub(began) < 2*time.Second
		case <-time.After(20 * time.Second):
			d.t.Fatalf("the revoked user is still there:\n%s\n%s", d.p.log, d.nats.log)
		}
		return false
	})
	d.acknowledged(d.loaded, token)
}

// aKilledProgramDeliversWhatItOwed: it dies after the commit, before it could announce. The
// nats-server runs on.
func (d *interop) aKilledProgramDeliversWhatItOwed() {
	d.t.Helper()
	d.line.Down()
	d.p.wait("nats disconnected")
	token := d.token() // lets the user in again
	if line := d.push(d.loaded, token); line != "stored; NATS is not connected: "+
		"will be sent when it is\n" {
		d.t.Errorf("the answer is %q", line)
	}
	d.p.kill()
	d.startProgram()
	d.line.Up()
	d.applied(token)
	d.connect(d.goes)
}

// aNATSServerThatComesBackIsTold: it dies too, and loads what it knows before it is told what it
// missed.
func (d *interop) aNATSServerThatComesBackIsTold() {
	d.t.Helper()
	d.line.Down()
	d.nats.kill()
	token := d.token(d.revoke)
	d.push(d.loaded, token)
	d.nats = startNATS(d.t, d.program, d.conf)
	d.connect(d.stays) // loads the account
	d.line.Up()
	d.applied(token)
	if nc, err := d.dial(d.goes, make(chan time.Time, 1)); err == nil {
		nc.Close()
		d.t.Error("the revoked user gets in")
	}
}
