package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/trust"
)

// claimsRow is one JWT that is put to nats-servers and to the API.
type claimsRow struct {
	name  string
	edit  func(c *jwt.AccountClaims)
	patch func(claims map[string]any) // after edit, for what jwt.AccountClaims can't say
	// reason is in the answers of all that refuse the JWT. It is "" if they take it, and anyDecode
	// if it can't be decoded.
	reason string
	// taker is the kind of nats-server that takes it nevertheless, "full" or "URL"; "" for none.
	taker string
}

// anyDecode stands for the reasons of the decoder.
const anyDecode = "can't be decoded"

// judges are what a JWT is put to.
type judges struct {
	api  string // address
	full *nats.Conn
	url  *nats.Conn
	// loader is the nats-server with a URL resolver, which asks for the JWTs in served.
	loader *server.Server
	served sync.Map // of strings, by account
}

func newJudges(t *testing.T, env *environment) *judges {
	t.Helper()
	j := &judges{api: serve(t, env.api)}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		token, _ := j.served.LoadOrStore(key, "")
		fmt.Fprint(w, token)
	}))
	t.Cleanup(source.Close)
	j.served.Store(env.op.System.ID, string(env.op.SystemAccount(t)))
	creds, _ := env.op.System.User(t)
	full := natstest.Start(t, natstest.DirConf(t, env.op, "full", t.TempDir(), natstest.AnyPort))
	j.full = natstest.Connect(t, full.ClientURL(), creds)
	url := source.URL + "/jwt/v1/accounts/"
	j.loader = natstest.Start(t, natstest.URLConf(t, env.op, url, natstest.AnyPort))
	j.url = natstest.Connect(t, j.loader.ClientURL(), creds)
	return j
}

// post returns why the API refuses a JWT, "" if it takes it.
func (j *judges) post(t *testing.T, key string, token []byte) string {
	t.Helper()
	answer := ask(t, j.api, "POST /jwt/v1/accounts/"+key+"\n\n"+string(token))
	switch {
	case strings.HasPrefix(answer, "200 "):
		return ""
	case !strings.HasPrefix(answer, "400 "):
		t.Errorf("the API answers %s", answer)
	}
	return answer
}

// askUpdate returns why a nats-server refuses an update, "" if it takes it.
func askUpdate(t *testing.T, nc *nats.Conn, key string, token []byte) string {
	t.Helper()
	reply, err := nc.Request("$SYS.REQ.ACCOUNT."+key+".CLAIMS.UPDATE", token, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer server.ServerAPIClaimUpdateResponse
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Error != nil {
		return answer.Error.Description
	}
	if !strings.Contains(answer.Data.Message, "jwt updated") {
		t.Errorf("the update did nothing: %s", answer.Data.Message)
	}
	return ""
}

// load returns why a nats-server does not load an account with a URL resolver, "" if it does.
func (j *judges) load(key string, token []byte) string {
	j.served.Store(key, string(token))
	if _, err := j.loader.LookupAccount(key); err != nil {
		return err.Error()
	}
	return ""
}

// sign makes the JWT of a row.
func (row claimsRow) sign(t *testing.T, o *jwttest.Operator, a *jwttest.Account) []byte {
	t.Helper()
	edit := row.edit
	if edit == nil {
		edit = func(*jwt.AccountClaims) {}
	}
	token := o.Account(t, a, edit)
	if row.patch == nil {
		return token
	}
	return patched(t, o, token, row.patch)
}

// TestThePushIsJudgedAsNatsServerJudgesIt puts each JWT to a nats-server with a full resolver by
// its update subject, to one with a URL resolver by an update and when it loads the account, and to
// the API.
func TestThePushIsJudgedAsNatsServerJudgesIt(t *testing.T) {
	env := newEnvironment(t)
	j := newJudges(t, env)
	for _, row := range claimsRows(t) {
		t.Run(row.name, func(t *testing.T) {
			a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
			if missed := j.load(a.ID, env.op.Account(t, a)); missed != "" {
				t.Fatal(missed) // an update is for an account that is loaded
			}
			token := row.sign(t, env.op, a)
			row.check(t, "the API", j.post(t, a.ID, token))
			row.check(t, "full", askUpdate(t, j.full, a.ID, token))
			// These two do not say what they found.
			row.checkTaken(t, "URL", askUpdate(t, j.url, a.ID, token))
			row.checkTaken(t, "URL", j.load(b.ID, row.sign(t, env.op, b)))
		})
	}
}

// checkTaken fails unless a judge takes what it is to take.
func (row claimsRow) checkTaken(t *testing.T, judge, refused string) {
	t.Helper()
	if want := row.reason == "" || row.taker == judge; (refused == "") != want {
		t.Errorf("%s takes it: %v, want %v: %s", judge, refused == "", want, refused)
	}
}

// check is checkTaken for a judge that says why.
func (row claimsRow) check(t *testing.T, judge, refused string) {
	t.Helper()
	row.checkTaken(t, judge, refused)
	if refused != "" && row.reason != anyDecode && !strings.Contains(refused, row.reason) {
		t.Errorf("%s says %q, want %q", judge, refused, row.reason)
	}
}

// TestTheAnswerHasTheWarning where claims are taken that nats-server refuses.
func TestTheAnswerHasTheWarning(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	op, err := trust.Parse([]byte(env.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	env.registry.SetTrust(accounts.Trust{Operators: trust.Operators{op}, WarnOnly: true})
	token := env.op.Account(t, a, mapped("a", jwt.WeightedMapping{Subject: "b.$1"}))
	answer := ask(t, serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(token))
	_, body, _ := strings.Cut(answer, "\n\n")
	const want = `warning: nats-server 2.15 refuses it: mapping "a" -> "b.$1": ` +
		"invalid mapping destination: wildcard index out of range in $1\n"
	stored, warning, _ := strings.Cut(body, "\n")
	if !strings.HasPrefix(stored, "stored; ") || warning != want {
		t.Errorf("%s", answer)
	}
}
