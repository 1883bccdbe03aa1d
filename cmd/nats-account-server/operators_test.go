package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// operatorsWorld is the program and a nats-server that fetches from it.
type operatorsWorld struct {
	*testEnv
	t    *testing.T
	p    *process
	url  string
	n    *server.Server
	port int // of the nats-server
}

// newOperatorsWorld starts the program with these operators. "op.jwt" is that of the testEnv.
func newOperatorsWorld(
	t *testing.T, operators string, others ...*jwttest.Operator,
) *operatorsWorld {
	t.Helper()
	w := &operatorsWorld{t: t, port: freePort(t)}
	w.testEnv = newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", w.port), "")
	for i, o := range others {
		jwttest.File(t, w.dir, fmt.Sprintf("other%d.jwt", i+1), []byte(o.Token(t)))
	}
	w.configure("operatorjwtpath: op.jwt", "operator: "+operators)
	w.p, w.url = w.start(t)
	return w
}

// configure changes a text of the configuration.
func (w *operatorsWorld) configure(old, new string) {
	w.t.Helper()
	text, err := os.ReadFile(w.conf)
	if err != nil || !strings.Contains(string(text), old) {
		w.t.Fatal(old, err)
	}
	w.conf = conf(w.t, w.dir, "%s", strings.Replace(string(text), old, new, 1))
}

// reload has the program read its configuration again, and waits for a line in between.
func (w *operatorsWorld) reload(line string) {
	w.t.Helper()
	w.p.signal(syscall.SIGHUP)
	w.p.wait(line)
	w.p.wait("configuration reloaded")
}

// restartNATS runs a nats-server that trusts these operators, in the place of the last one.
func (w *operatorsWorld) restartNATS(operators ...string) {
	w.t.Helper()
	if w.n != nil {
		natstest.Stop(w.n)
	}
	w.n = natstest.Start(w.t,
		fmt.Sprintf("listen: 127.0.0.1:%d\noperator: [%s]\nsystem_account: %s\n"+
			"resolver: URL(%s/jwt/v1/accounts/)\n", w.port, strings.Join(operators, ", "),
			w.op.System.ID, w.url))
	w.p.wait("connected to NATS for account and activation notifications")
}

// want fails unless an account's JWT is served with this status.
func (w *operatorsWorld) want(name string, a *jwttest.Account, status int) {
	w.t.Helper()
	if got, body := get(w.t, w.url+"/jwt/v1/accounts/"+a.ID); got != status {
		w.t.Errorf("%s: %d %q, want %d", name, got, body, status)
	}
}

// wantPush fails unless a push gets this answer.
func (w *operatorsWorld) wantPush(
	name string, a *jwttest.Account, token []byte, status int, text string,
) {
	w.t.Helper()
	got, body := post(http.DefaultClient, w.url+"/jwt/v1/accounts/"+a.ID, token)
	if got != status || !strings.Contains(body, text) {
		w.t.Errorf("%s: %d %q, want %d %q", name, got, body, status, text)
	}
}

// connects fails the test unless a user of each account can log in.
func (w *operatorsWorld) connects(all ...*jwttest.Account) {
	w.t.Helper()
	for _, a := range all {
		creds, _ := a.User(w.t)
		natstest.Connect(w.t, w.n.ClientURL(), creds, nats.NoReconnect()).Close()
	}
}

func TestASigningKeyIsRotatedWhileACopyOfTheSystemAccountStaysBehind(t *testing.T) {
	t.Parallel()
	w := newOperatorsWorld(t, "op.jwt")
	op, former := w.op, w.op.Signing
	moved, left := jwttest.NewAccount(t), jwttest.NewAccount(t)
	signed := func(by nkeys.KeyPair,
		a *jwttest.Account) []byte {
		return jwttest.Sign(t, by, a, time.Now())
	}
	w.restartNATS(op.Token(t))
	for _, a := range []*jwttest.Account{op.System, moved, left} {
		mustPush(t, w.url, a.ID, signed(former, a))
	}
	w.connects(moved, left)

	// The new key is made known everywhere, then accounts are signed with it.
	pair, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	op.Signing = pair
	op.Claims.SigningKeys.Add(key)
	jwttest.File(t, w.dir, "op.jwt", []byte(op.Token(t)))
	w.reload("Operator: " + op.ID)
	w.p.wait("all 3 stored JWTs are good under the present operators")
	w.restartNATS(op.Token(t))
	for _, a := range []*jwttest.Account{op.System, moved} {
		mustPush(t, w.url, a.ID, signed(pair, a))
	}

	// The former key is taken out. The copy of the system account is still signed with it.
	op.Claims.SigningKeys = op.Claims.SigningKeys[1:]
	jwttest.File(t, w.dir, "op.jwt", []byte(op.Token(t)))
	w.reload(`WRN. error loading system account from .*sys.jwt: the operator O\S+ did not sign it; ` +
		`it is only used while the store has no good JWT of the system account`)
	const bad = `WRN. 1 of 3 stored JWTs are no longer good and are not served, .*`
	w.p.wait(bad + left.ID + ` \(the operator O\S+ did not sign it\)`)
	w.restartNATS(op.Token(t))
	rotated := func() {
		t.Helper()
		w.want("signed anew", moved, http.StatusOK)
		w.want("the system account", op.System, http.StatusOK)
		w.want("left behind", left, http.StatusInternalServerError)
		w.wantPush("the former key", left, signed(former, left),
			http.StatusBadRequest, "untrusted issuer")
	}
	rotated()
	w.connects(moved)
	creds, _ := left.User(t)
	natstest.WantRefused(t, w.n.ClientURL(), creds)
	w.wantPush("the new key", moved, signed(pair, moved), http.StatusOK, "stored")
	check := exec.Command(binary, "-t", "-c", w.conf)
	check.Dir = w.dir
	checked, err := check.CombinedOutput()
	if err != nil || !strings.Contains(string(checked),
		"it is only used while the store has no good JWT") {
		t.Errorf("-t: %v\n%s", err, checked)
	}

	w.p.term()
	w.p, w.url = w.start(t)
	w.p.wait(bad)
	rotated()
	w.p.term()
}

func TestOneOperatorOfTwoIsTakenOut(t *testing.T) {
	t.Parallel()
	// nats-server takes what an operator has signed whose own JWT has expired.
	b := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.Name, c.Expires = "B", 1700000000 })
	w := newOperatorsWorld(t, "[op.jwt, other1.jwt]", b)
	a := w.op
	if log := w.p.log.String(); !strings.Contains(log,
		"other1.jwt expired at 2023-11-14T22:13:20Z") {
		t.Errorf("an operator has expired:\n%s", log)
	}
	w.restartNATS(a.Token(t), b.Token(t))
	now := time.Now()
	ofA, ofB, ofBoth := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	ago := func(o *jwttest.Operator, x *jwttest.Account, minutes time.Duration) []byte {
		return jwttest.Sign(t, o.Signing, x, now.Add(-minutes*time.Minute))
	}
	w.wantPush("of A", ofA, ago(a, ofA, 2), http.StatusOK, "stored")
	w.wantPush("of B", ofB, ago(b, ofB, 2), http.StatusOK, "stored")
	w.wantPush("of both, by A", ofBoth, ago(a, ofBoth, 9), http.StatusOK, "stored")
	w.wantPush("of both, by B", ofBoth, ago(b, ofBoth, 2), http.StatusOK, "stored")
	w.wantPush("of both, an older one by A", ofBoth, ago(a, ofBoth, 5),
		http.StatusConflict, "newer")
	w.connects(ofA, ofB, ofBoth)
	token, hash := jwttest.Activation(t, ofA, ofB, now)
	if status, body := post(http.DefaultClient, w.url+"/jwt/v1/activations", token); status != http.StatusOK {
		t.Errorf("an activation token: %d %s", status, body)
	}
	served := func(want *jwttest.Operator) {
		t.Helper()
		if _, body := get(t, w.url+"/jwt/v1/operator"); body != want.Token(t) {
			t.Errorf("the operator that is served is %q", body)
		}
	}
	served(a)
	replica := followerOf(t, w.testEnv, w.url, "", "")
	replica.conf = conf(t, replica.dir, `operator: [%q, %q], primary: %q
		http { host: 127.0.0.1, port: 0 }, store { dir: store }`,
		filepath.Join(w.dir, "op.jwt"), filepath.Join(w.dir, "other1.jwt"), w.url)
	copied, copyURL := replica.start(t)
	natstest.Eventually(t, "a replica has the accounts of both", func() bool {
		_, pack := get(t, copyURL+"/jwt/v1/pack")
		return strings.Contains(pack, ofA.ID) && strings.Contains(pack, ofB.ID)
	})
	copied.term()

	w.configure("operator: [op.jwt, other1.jwt]", "operator: [other1.jwt]")
	w.reload("WRN. error loading system account from .*sys.jwt: the operator " +
		b.ID + " did not sign it")
	w.p.wait("WRN. 1 of 3 stored JWTs are no longer good and are not served.*" + ofA.ID)
	served(b)
	w.want("of A", ofA, http.StatusInternalServerError)
	w.want("of B", ofB, http.StatusOK)
	w.want("of both", ofBoth, http.StatusOK)
	w.wantPush("of A", ofA, ago(a, ofA, 0), http.StatusBadRequest, "untrusted issuer")
	w.wantPush("of B", ofB, ago(b, ofB, 1), http.StatusOK, "stored")
	if status, body := get(t, w.url+"/jwt/v1/activations/"+hash); status != http.StatusNotFound {
		t.Errorf("a token of an account that is not served: %d %s", status, body)
	}
	_, pack := get(t, w.url+"/jwt/v1/pack")
	if strings.Contains(pack, ofA.ID) || !strings.Contains(pack, ofB.ID) {
		t.Errorf("the pack is\n%s", pack)
	}
	creds, _ := a.System.User(t)
	nc := natstest.Connect(t, w.n.ClientURL(), creds)
	var listed []string
	if err := json.Unmarshal(ours(t, nc, "$SYS.REQ.CLAIMS.LIST", nil).Data, &listed); err != nil ||
		slices.Contains(listed, ofA.ID) || !slices.Contains(listed, ofB.ID) {
		t.Errorf("the list is %v, %v", listed, err)
	}

	// What A has signed stays the floor.
	w.wantPush("an older one of B", ofA, ago(b, ofA, 3), http.StatusConflict, "newer")
	w.wantPush("a newer one of B", ofA, ago(b, ofA, 1), http.StatusOK, "stored")
	w.configure("operator: [other1.jwt]", "operator: [other1.jwt, op.jwt]")
	w.reload("Operator: " + a.ID)
	w.wantPush("A is back with what it had signed", ofA, ago(a, ofA, 2),
		http.StatusConflict, "newer")
	served(b)
	w.p.term()
}

// An operator begins to require signing keys. Its identity key has signed before.
func TestStrictKeysAreToldFromAStranger(t *testing.T) {
	t.Parallel()
	w := newOperatorsWorld(t, "op.jwt")
	op, a := w.op, jwttest.NewAccount(t)
	w.restartNATS(op.Token(t))
	bySelf := jwttest.Sign(t, op.Key, a, time.Now())
	w.wantPush("the identity key signs", a, bySelf, http.StatusOK, "stored")
	op.Claims.StrictSigningKeyUsage = true
	jwttest.File(t, w.dir, "op.jwt", []byte(op.Token(t)))
	w.reload("Operator: " + op.ID)
	const why = `the operator's identity key %ssigned it, and this operator requires a signing key`
	w.p.wait("1 of 1 stored JWTs are no longer good.*" + a.ID + ` \(` + fmt.Sprintf(why, op.ID+" "))
	w.wantPush("the identity key", a, bySelf, http.StatusBadRequest, fmt.Sprintf(why, ""))
	w.p.wait("ERR. .* - " + fmt.Sprintf(why, ""))
	w.want("what is stored", a, http.StatusInternalServerError)
	w.p.wait(a.ID[:12] + ".*" + fmt.Sprintf(why, op.ID+" "))
	creds, _ := op.System.User(t)
	nc := natstest.Connect(t, w.n.ClientURL(), creds)
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	update := "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
	if err := nc.PublishRequest(update, answers.Subject, bySelf); err != nil {
		t.Fatal(err)
	}
	for refused := false; !refused; { // the nats-server answers, too
		m, err := answers.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		refused = strings.Contains(string(m.Data), fmt.Sprintf(why, ""))
	}
	w.wantPush("a signing key", a, op.Account(t, a), http.StatusOK, "stored")
	w.want("signed anew", a, http.StatusOK)
	w.p.term()
}
