package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/browsertest"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// office is what the pages show in these tests: three nats-servers, and accounts that share.
type office struct {
	*testEnv
	*process
	url      string
	accounts map[string]*jwttest.Account
}

// claimsEdit changes claims.
type claimsEdit = func(*jwt.AccountClaims)

// newOffice starts it.
func newOffice(t testing.TB) *office {
	t.Helper()
	op := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.Name = "Acme" })
	servers := natstest.Cluster(t, 3, func(extra string) string {
		return natstest.DirConf(t, op, "full", t.TempDir(), extra)
	})
	o := &office{testEnv: newEnvOf(t, op, servers[0].ClientURL(), ""),
		accounts: map[string]*jwttest.Account{}}
	o.process, o.url = o.start(t)
	o.wait("connected to NATS for account and activation notifications")
	natstest.Eventually(t, "the nats-servers are known", func() bool {
		_, body := get(t, o.url+"/serverz")
		return strings.Count(body, `"here": true`) == 3
	})
	o.fill(t)
	for range 4 {
		creds, _ := o.accounts["orders"].User(t)
		natstest.Connect(t, servers[1].ClientURL(), creds)
	}
	return o
}

// account returns the account of a name.
func (o *office) account(t testing.TB, name string) *jwttest.Account {
	if o.accounts[name] == nil {
		o.accounts[name] = jwttest.NewAccount(t)
	}
	return o.accounts[name]
}

// push stores an account.
func (o *office) push(t testing.TB, name string, edits ...claimsEdit) {
	t.Helper()
	a := o.account(t, name)
	named := func(c *jwt.AccountClaims) { c.Name = name }
	mustPush(t, o.url+"", a.ID, o.op.Account(t, a, append([]claimsEdit{named}, edits...)...))
}

// fill stores accounts that have something of most.
func (o *office) fill(t testing.TB) {
	t.Helper()
	orders, platform, billing := o.account(t, "orders"), o.account(t, "platform"), o.account(t, "billing")
	kite := o.account(t, "partner-kite")
	export := func(kind jwt.ExportType, subject string, edits ...func(*jwt.Export)) claimsEdit {
		return func(c *jwt.AccountClaims) {
			e := &jwt.Export{Type: kind, Subject: jwt.Subject(subject), Name: subject}
			for _, claimsEdit := range edits {
				claimsEdit(e)
			}
			c.Exports.Add(e)
		}
	}
	imports := func(
		kind jwt.ExportType, subject string, from *jwttest.Account, edits ...func(*jwt.Import),
	) claimsEdit {
		return func(c *jwt.AccountClaims) {
			i := &jwt.Import{Type: kind, Subject: jwt.Subject(subject), Account: from.ID, Name: subject}
			for _, claimsEdit := range edits {
				claimsEdit(i)
			}
			c.Imports.Add(i)
		}
	}
	token, _ := jwttest.Activation(t, orders, kite, time.Now(), func(c *jwt.ActivationClaims) {
		c.ImportSubject, c.ImportType = "orders.kite.>", jwt.Stream
		c.Expires = time.Now().Add(40 * 24 * time.Hour).Unix()
	})
	o.push(t, "platform", export(jwt.Service, "auth.check"))
	o.push(t, "billing", export(jwt.Stream, "invoices.*"), func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(3*24*time.Hour + time.Hour).Unix()
	})
	o.push(t, "orders", imports(jwt.Service, "auth.check", platform),
		imports(jwt.Stream, "invoices.*", billing, func(i *jwt.Import) {
			i.LocalSubject = "billing.invoices.*"
		}),
		export(jwt.Service, "orders.place"), export(jwt.Service, "orders.status.*"),
		export(jwt.Stream, "orders.*.>", func(e *jwt.Export) { e.TokenReq = true }), ordersClaims(t))
	o.push(t, "web", imports(jwt.Service, "orders.place", orders),
		imports(jwt.Service, "auth.check", platform))
	o.push(t, "reports", imports(jwt.Stream, "orders.audit", orders),
		imports(jwt.Service, "orders.place", orders))
	o.push(t, "partner-kite", imports(jwt.Stream, "orders.kite.>", orders, func(i *jwt.Import) {
		i.Token = string(token)
	}), func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(12*24*time.Hour + time.Hour).Unix() })
	for _, name := range []string{"iot-north", "iot-south", "logs", "staging", hostileName} {
		o.push(t, name)
	}
}

// hostileName is a name that a tenant has chosen.
const hostileName = "\u202Eevil\u202C<img src=x onerror=alert(1)>\"'{{.}}"

// ordersClaims has limits, keys and revocations.
func ordersClaims(t testing.TB) claimsEdit {
	key, worker := jwttest.AccountKey(t), jwttest.AccountKey(t)
	_, user := jwttest.NewUser(t)
	return func(c *jwt.AccountClaims) {
		c.Limits.Conn, c.Limits.LeafNodeConn = 5, 2
		c.Limits.Payload = 1 << 20
		scope := jwt.NewUserScope()
		scope.Key, scope.Role = worker, "worker"
		scope.Template.Pub.Allow.Add("orders.>")
		scope.Template.Sub.Allow.Add("orders.>", "_INBOX.>")
		c.SigningKeys.AddScopedSigner(scope)
		c.SigningKeys.Add(key)
		c.RevokeAt(user, time.Now().Add(-time.Hour))
		c.Tags.Add("team:commerce", "tier:gold")
		c.Description = "What is ordered, and what has become of it"
	}
}

// screenshots writes pictures of pages into the directory that SCREENSHOTS names.
func screenshots(t *testing.T, b *browsertest.Browser, paths map[string]string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, width := range []int{400, 1280} {
		for _, isDark := range []bool{false, true} {
			tab := b.Open(t, browsertest.View{Width: width, IsDark: isDark})
			for name, url := range paths {
				tab.Go(url)
				tab.Screenshot(filepath.Join(dir, fmt.Sprintf("%s-%d-%t.png", name, width, isDark)))
			}
		}
	}
}

func TestBrowserScreens(t *testing.T) {
	b := browsertest.Start(t)
	o := newOffice(t)
	screenshots(t, b, map[string]string{"overview": o.url + "/", "list": o.url + "/accounts",
		"orders":  o.url + "/accounts/" + o.accounts["orders"].ID,
		"reports": o.url + "/accounts/" + o.accounts["reports"].ID,
		"hostile": o.url + "/accounts/" + o.accounts[hostileName].ID,
		"none":    o.url + "/nothing"})
}
