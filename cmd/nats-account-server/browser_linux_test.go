package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	waitServers(t, o.url, 3)
	o.fill(t)
	natstest.Eventually(t, "it is known that an import has no export", func() bool {
		_, list := getPage(t, o.url+"/accounts")
		_, overview := getPage(t, o.url+"/")
		return strings.Contains(list, "show=dangling") &&
			strings.Contains(overview, "Two things want your attention")
	})
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
	mustPush(t, o.url, a.ID, o.op.Account(t, a, append([]claimsEdit{named}, edits...)...))
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

// TestTheOfficeInABrowser uses the pages as people do.
func TestTheOfficeInABrowser(t *testing.T) {
	t.Parallel()
	b, o := browsertest.Start(t), newOffice(t)
	orders := o.url + "/accounts/" + o.accounts["orders"].ID
	tests := map[string]func(*testing.T, *browsertest.Tab){
		"the first line says what wants attention": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url)
			tab.Wait(`document.querySelector("h1").textContent === "Two things want your attention"`)
			tab.Click(`.notes a[href="/accounts/` + o.accounts["billing"].ID + `"]`)
			tab.Wait(`document.querySelector("h1").textContent === "billing"`)
		},
		"a search by a part of the name, with keys": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url)
			tab.Click(`input[name=q]`)
			tab.Type("IOT")
			tab.Press("Enter")
			tab.Wait(`document.querySelector("h1").textContent === "Accounts like “IOT”"`)
			want(t, tab, `[...document.querySelectorAll("td a")].map(a => a.textContent).join()`,
				"iot-north,iot-south")
			tab.Click(`td a`)
			tab.Wait(`document.querySelector("h1").textContent === "iot-north"`)
		},
		"a search for a key leads to its account": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url + "/accounts?q=" + o.accounts["web"].ID)
			want(t, tab, `document.querySelector("h1").textContent`, "web")
		},
		"a filter": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url + "/accounts")
			tab.Click(`a[href="/accounts?show=dangling"]`)
			tab.Wait(`document.querySelectorAll("tbody tr").length === 1`)
			want(t, tab, `document.querySelector("td a").textContent`, "reports")
		},
		"the order of the tab key begins with a link to the content": func(t *testing.T,
			tab *browsertest.Tab) {
			tab.Go(o.url)
			const focused = `document.activeElement.textContent || document.activeElement.name`
			for _, text := range []string{"To the content", "Acme accounts", "Overview", "Accounts", "Help",
				"q",
				"Find", "billing"} {
				tab.Press("Tab")
				want(t, tab, focused, text)
			}
			tab.Press("Shift+Tab")
			want(t, tab, focused, "Find")
			tab.Go(o.url + "/accounts")
			tab.Press("Tab")
			want(t, tab, `document.activeElement.getBoundingClientRect().left >= 0`, "true")
			tab.Press("Enter")
			tab.Press("Tab")
			want(t, tab, `document.activeElement.closest("main") !== null`, "true")
		},
		"an account is linked both ways, also in the drawing": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(orders)
			want(t, tab, `document.querySelector("svg.graph").getAttribute("aria-label").split(".")[0]`,
				"orders imports from 2 accounts, and is imported from by 3 accounts")
			tab.Click(`svg.graph a[href="/accounts/` + o.accounts["web"].ID + `"] text`)
			tab.Wait(`document.querySelector("h1").textContent === "web"`)
			tab.Click(`#share ~ .scroll td a[href="/accounts/` + o.accounts["orders"].ID + `"]`)
			tab.Wait(`document.querySelector("h1").textContent === "orders"`)
		},
		"what is in use stands beside the limit": func(t *testing.T, tab *browsertest.Tab) {
			goUntil(t, tab, orders, `document.querySelector("table.limits tbody tr").innerText.`+
				`replace(/\s+/g, " ").trim() === "Connections 4 80 % 5"`)
		},
		"the list has connections": func(t *testing.T, tab *browsertest.Tab) {
			goUntil(t, tab, o.url+"/accounts?q=orders", `document.querySelector(".pager").innerText.`+
				`includes("connections: sum of 3 nats-servers")`)
			want(t, tab, `document.querySelector("td.connections").innerText`, "4")
		},
		"a click copies the JWT": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(orders)
			tab.Click(`#token summary`)
			// The page follows what happens: what is new may move the button before the click arrives.
			natstest.Eventually(t, "the button says that it has copied", func() bool {
				tab.Click(`button[data-copy=text]`)
				return tab.Eval(`document.querySelector("button[data-copy=text]").textContent`) == "Copied"
			})
			want(t, tab, `getSelection().isCollapsed || getSelection().toString() === `+
				`document.getElementById("text").textContent`, "true")
		},
		"hostile names are texts": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url + "/accounts/" + o.accounts[hostileName].ID)
			want(t, tab, `document.querySelector("h1").textContent`,
				`\u202eevil\u202c<img src=x onerror=alert(1)>"'{{.}}`)
			want(t, tab, `document.querySelectorAll("img").length`, "0")
			tab.Click(`#claims summary`)
			want(t, tab, `document.body.innerText.includes("\u202e")`, "false")
		},
		"a page that is not there": func(t *testing.T, tab *browsertest.Tab) {
			tab.Go(o.url + "/nothing")
			want(t, tab, `document.querySelector("h1").textContent`, "There is nothing here")
			tab.Faults() // the browser complains of the 404
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tab := b.Open(t, browsertest.View{Width: 1280})
			test(t, tab)
			for _, fault := range tab.Faults() {
				t.Errorf("the browser complains: %s", fault)
			}
		})
	}
	t.Run("nothing scrolls sideways", func(t *testing.T) { neverSideways(t, b, o) })
	t.Run("complete without a script", func(t *testing.T) {
		tab := b.Open(t, browsertest.View{Width: 1280, NoScript: true})
		tab.Go(orders)
		want(t, tab, `document.querySelectorAll("button[data-copy][hidden]").length`, "3")
		want(t, tab, `document.getElementById("text").textContent.split(".").length`, "3")
	})
	t.Run("a narrow list says what its words are about", func(t *testing.T) {
		tab := b.Open(t, browsertest.View{Width: 400})
		goUntil(t, tab, o.url+"/accounts?q=orders", `document.querySelector("td.connections") !== null`)
		const around = `(s, part) => getComputedStyle(document.querySelector(s), part).content`
		want(t, tab, `(`+around+`)("td.expires", "::after")`, `" expires"`)
		want(t, tab, `(`+around+`)("td.connections", "::after")`, `" connections"`)
		tab.Go(o.url + "/accounts?q=billing")
		want(t, tab, `(`+around+`)("td.expires .tag", "::before")`, `"expires "`)
	})
	screenshots(t, b, o)
	t.Run("a push is seen at once", func(t *testing.T) { seesPushes(t, b, o) })
}

// want checks the value of an expression.
func want(t *testing.T, tab *browsertest.Tab, expression, value string) {
	t.Helper()
	if got := tab.Eval(expression); got != value {
		t.Errorf("%s is %q, want %q", expression, got, value)
	}
}

// goUntil goes to a page until an expression is true there. On a busy machine nats-servers may answer
// later than a page waits.
func goUntil(t *testing.T, tab *browsertest.Tab, url, expression string) {
	t.Helper()
	natstest.Eventually(t, expression, func() bool {
		tab.Go(url)
		return tab.Eval(expression) == "true"
	})
}

// paths are the pages to look at.
func (o *office) paths() map[string]string {
	return map[string]string{"overview": "/", "list": "/accounts", "none": "/nothing", "help": "/help",
		"manual": "/help/monitoring", "orders": "/accounts/" + o.accounts["orders"].ID,
		"reports": "/accounts/" + o.accounts["reports"].ID,
		"hostile": "/accounts/" + o.accounts[hostileName].ID}
}

// neverSideways opens each page on a small screen.
func neverSideways(t *testing.T, b *browsertest.Browser, o *office) {
	tab := b.Open(t, browsertest.View{Width: 400})
	for name, path := range o.paths() {
		tab.Go(o.url + path)
		tab.Eval(`document.querySelectorAll("details").forEach(d => d.open = true)`)
		if got := tab.Eval(`document.documentElement.scrollWidth`); got != "400" {
			t.Errorf("%s is %s pixels wide on a screen of 400", name, got)
		}
		want(t, tab, obstacles, "")
		for _, fault := range tab.Faults() {
			if name != "none" || !strings.Contains(fault, "404") {
				t.Errorf("%s: the browser complains: %s", name, fault)
			}
		}
	}
}

// obstacles lists what keeps people who do not see a page, or have no mouse, from using it.
const obstacles = `(() => {
	const all = (s) => [...document.querySelectorAll(s)], found = [];
	const add = (what, of) => of.forEach((e) => found.push(what + ": " + e.outerHTML.slice(0, 80)));
	const levels = all("h1, h2, h3, h4").map((h) => [h, +h.tagName[1]]);
	const isDeep = ([, n], i) => n > (i ? levels[i - 1][1] : 0) + 1;
	add("a heading is left out", levels.filter(isDeep).map(([h]) => h));
	if (all("h1").length !== 1 || all("main").length !== 1) found.push("not one h1 and one main");
	if (!document.documentElement.lang || !document.title) found.push("no language or title");
	add("a cell of a head without a scope", all("th:not([scope])"));
	add("a table without a head", all("table:not(:has(th))"));
	add("a field without a name", all("input:not([aria-label])"));
	add("a link or button without a text", all("a, button, summary").filter((e) => !e.textContent.trim()));
	add("a picture without a text", all("img:not([alt]), svg:not([aria-hidden]):not([aria-label])"));
	add("an order of its own", all("[tabindex]").filter((e) => e.tabIndex > 0));
	add("an id twice", all("[id]").filter((e) => all("#" + CSS.escape(e.id)).length > 1));
	add("style or script in the page", all("[style], style, script:not([src])"));
	add("navigation without a name", all("nav:not([aria-label])"));
	return found.join("\n");
})()`

// seesPushes has a page open while something happens. What is open in it stays open.
func seesPushes(t *testing.T, b *browsertest.Browser, o *office) {
	tab := b.Open(t, browsertest.View{Width: 1280})
	tab.Go(o.url + "/accounts/" + o.accounts["staging"].ID)
	tab.Wait(`document.getElementById("live").textContent === " · live"`)
	tab.Click(`#claims summary`)
	o.push(t, "staging", func(c *jwt.AccountClaims) {
		c.IssuedAt += 2
		c.Limits.Conn = 77
	})
	tab.Wait(`document.getElementById("changes").nextElementSibling.innerText.` +
		`includes("may open 77 connections")`)
	want(t, tab, `document.getElementById("claims").open`, "true")
	want(t, tab, `document.getElementById("json").textContent.includes('"conn": 77')`, "true")
	want(t, tab, `document.activeElement.tagName`, "SUMMARY")
	// The stream ends with a reload of the configuration, and the browser comes back.
	o.signal(syscall.SIGHUP)
	o.wait("configuration reloaded")
	o.push(t, "staging", func(c *jwt.AccountClaims) {
		c.IssuedAt += 4
		c.Limits.Conn = 78
	})
	tab.Wait(`document.getElementById("json").textContent.includes('"conn": 78')`)
	// And it does not keep the program from ending.
	o.term()
	if strings.Contains(o.log.String(), "requests that took too long were cut off") {
		t.Errorf("it has waited for the page:\n%s", o.log)
	}
	tab.Wait(`document.getElementById("live").textContent === " · not live"`)
}

// screenshots writes pictures of the pages into the directory that SCREENSHOTS names.
func screenshots(t *testing.T, b *browsertest.Browser, o *office) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, v := range []browsertest.View{{Width: 400}, {Width: 400, IsDark: true}, {Width: 1280},
		{Width: 1280, IsDark: true}} {
		tab := b.Open(t, v)
		for name, path := range o.paths() {
			tab.Go(o.url + path)
			tab.Screenshot(filepath.Join(dir, fmt.Sprintf("%s-%d-%t.png", name, v.Width, v.IsDark)))
		}
	}
}
