package effect_test

import (
	"errors"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// exports is an edit that adds an export.
func exports(kind jwt.ExportType, subject string, changes ...func(*run, *jwt.Export)) edit {
	return func(r *run, c *jwt.AccountClaims) {
		e := &jwt.Export{Name: subject, Subject: jwt.Subject(subject), Type: kind}
		for _, change := range changes {
			change(r, e)
		}
		c.Exports.Add(e)
	}
}

// imports is an edit that adds an import from an account; "" is the account of the row.
func imports(kind jwt.ExportType, from, subject string, changes ...func(*run, *jwt.Import)) edit {
	return func(r *run, c *jwt.AccountClaims) {
		i := &jwt.Import{Account: r.account(from).ID, Subject: jwt.Subject(subject), Type: kind}
		for _, change := range changes {
			change(r, i)
		}
		c.Imports.Add(i)
	}
}

// private is an export that needs an activation token.
func private(_ *run, e *jwt.Export) { e.TokenReq = true }

// byPosition is an export that the account which the second token of the subject names may import.
func byPosition(_ *run, e *jwt.Export) { e.AccountTokenPosition = 2 }

// as is an import under another subject.
func as(subject string) func(*run, *jwt.Import) {
	return func(_ *run, i *jwt.Import) { i.LocalSubject = jwt.RenamingSubject(subject) }
}

// activated is an import by another account with a token, signed by the account of the row or a signing key
// of it.
func activated(importer, key string) func(*run, *jwt.Import) {
	return activatedBy("", importer, key)
}

// activatedBy is activated for the export of any account.
func activatedBy(exporter, importer, key string) func(*run, *jwt.Import) {
	return func(r *run, i *jwt.Import) {
		signer := r.account(exporter).Key
		if key != "" {
			r.key(key)
			signer = r.keys[key]
		}
		token, _ := jwttest.ActivationBy(r, signer, r.account(importer), r.began.Add(-time.Minute),
			func(c *jwt.ActivationClaims) {
				c.ImportSubject, c.ImportType = i.Subject, i.Type
				if key != "" {
					c.IssuerAccount = r.account(exporter).ID
				}
			})
		i.Token = string(token)
	}
}

// pair is a client of the account and one of web.
var pair = []client{{name: "own"}, {name: "web", of: "web"}}

// toWeb is what the account publishes and web hears. toOwn is a request of web.
func toWeb(publish, subscribe string, before, after bool) flow {
	return flow{"own", publish, "web", subscribe, before, after}
}

func toOwn(publish, subscribe string, before, after bool) flow {
	return flow{"web", publish, "own", subscribe, before, after}
}

const lost = "lost replies_lost"

// shareRows are the pushes that change what accounts have of each other.
var shareRows = []row{
	{
		name: "a stream is no longer exported", clients: pair,
		stored: exports(jwt.Stream, "orders.>"), pushed: same,
		others: map[string]edit{"web": imports(jwt.Stream, "", "orders.>")},
		lines:  []string{"stop import_stops web 1"},
		flows:  []flow{toWeb("orders.x", "orders.>", true, false)},
	},
	{
		name: "a service is no longer exported", clients: pair,
		stored: exports(jwt.Service, "help"), pushed: same,
		others: map[string]edit{"web": imports(jwt.Service, "", "help", as("ask"))},
		lines:  []string{"stop import_stops web 1", lost}, flows: []flow{toOwn("ask", "help", true, false)},
		after: func(r *run) {
			_, err := r.conns["web"].Request("ask", nil, 20*time.Second)
			if !errors.Is(err, nats.ErrNoResponders) {
				r.Errorf("a request gets %v", err)
			}
		},
	},
	{
		name: "a stream that is imported twice is exported", clients: pair,
		stored: same, pushed: exports(jwt.Stream, "a.x"),
		others: map[string]edit{"web": all(imports(jwt.Stream, "", "a.x", as("b")),
			imports(jwt.Stream, "", "a.x", as("c")))},
		lines: []string{"starts import_starts web 1"},
		flows: []flow{toWeb("a.x", "b", false, true), toWeb("a.x", "c", false, false)},
	},
	{
		name: "an export is narrowed", clients: pair,
		stored: all(exports(jwt.Stream, "a.>"), exports(jwt.Stream, "b.>")),
		pushed: all(exports(jwt.Stream, "a.x.>"), exports(jwt.Stream, "b.>")),
		others: map[string]edit{"web": all(imports(jwt.Stream, "", "a.>"), imports(jwt.Stream, "", "a.x.*"),
			imports(jwt.Stream, "", "b.>", as("c.>")))},
		lines: []string{"stop import_stops web 1"},
		flows: []flow{toWeb("a.y.z", "a.y.>", true, false), toWeb("a.x.z", "a.x.>", true, true),
			toWeb("b.x", "c.>", true, true)},
	},
	{
		name: "an export becomes another type", clients: pair,
		stored: exports(jwt.Stream, "a"), pushed: exports(jwt.Service, "a"),
		others: map[string]edit{"web": imports(jwt.Stream, "", "a")},
		lines:  []string{"stop import_stops web 1"}, flows: []flow{toWeb("a", "a", true, false)},
	},
	{
		name: "an export becomes private", clients: append(pair, client{name: "kite", of: "kite"}),
		stored: exports(jwt.Stream, "a"), pushed: exports(jwt.Stream, "a", private),
		others: map[string]edit{"web": imports(jwt.Stream, "", "a"),
			"kite": imports(jwt.Stream, "", "a", activated("kite", ""))},
		lines: []string{"stop import_stops web 1"},
		flows: []flow{toWeb("a", "a", true, false), {"own", "a", "kite", "a", true, true}},
	},
	{
		name: "an export becomes public", clients: pair,
		stored: exports(jwt.Stream, "a", private), pushed: exports(jwt.Stream, "a"),
		others: map[string]edit{"web": imports(jwt.Stream, "", "a")},
		lines:  []string{"starts import_starts web 1"}, flows: []flow{toWeb("a", "a", false, true)},
	},
	{
		name: "an activation token is revoked", clients: append(pair, client{name: "kite", of: "kite"}),
		stored: exports(jwt.Service, "a", private),
		pushed: exports(jwt.Service, "a", private, func(r *run, e *jwt.Export) {
			e.RevokeAt(r.account("web").ID, time.Now())
		}),
		others: map[string]edit{"web": imports(jwt.Service, "", "a", activated("web", "")),
			"kite": imports(jwt.Service, "", "a", activated("kite", ""))},
		lines: []string{"stop import_stops web 1", lost},
		flows: []flow{toOwn("a", "a", true, false), {"kite", "a", "own", "a", true, true}},
	},
	{
		name: "the signing key of an activation token is removed", clients: pair,
		stored: all(withKeys("k"), exports(jwt.Stream, "a", private)),
		pushed: exports(jwt.Stream, "a", private),
		others: map[string]edit{"web": imports(jwt.Stream, "", "a", activated("web", "k"))},
		lines:  []string{"stop import_stops web 1"}, flows: []flow{toWeb("a", "a", true, false)},
	},
	{
		name: "an export is for the account that the subject names", clients: pair,
		stored: exports(jwt.Stream, "a.*.x"), pushed: exports(jwt.Stream, "a.*.x", byPosition),
		others: map[string]edit{"web": func(r *run, c *jwt.AccountClaims) {
			imports(jwt.Stream, "", "a."+r.account("web").ID+".x", as("mine"))(r, c)
			imports(jwt.Stream, "", "a."+r.account("").ID+".x", as("other"))(r, c)
			imports(jwt.Stream, "", "a.*.x", as("any.$1"))(r, c)
		}},
		lines: []string{"stop import_stops web 1", "stop import_stops web 1"},
		before: func(r *run) {
			r.row.flows = []flow{toWeb("a."+r.account("web").ID+".x", "mine", true, true),
				toWeb("a."+r.account("").ID+".x", "other", true, false),
				toWeb("a.z.x", "any.z", true, false)}
			for n, f := range r.row.flows {
				if !r.flow(n, f) {
					r.Errorf("%s does not arrive", f.publish)
				}
			}
		},
	},
	{
		name: "what others wait for is exported", clients: pair,
		stored: same, pushed: all(exports(jwt.Stream, "a"), exports(jwt.Service, "b")),
		others: map[string]edit{"web": all(imports(jwt.Stream, "", "a"), imports(jwt.Service, "", "b"))},
		lines:  []string{"starts import_starts web 1", "starts import_starts web 1"},
		flows:  []flow{toWeb("a", "a", false, true), toOwn("b", "b", false, true)},
	},
	{
		name:   "what others wait for is a new account",
		pushed: exports(jwt.Service, "b"), clients: []client{{name: "web", of: "web"}},
		others: map[string]edit{"web": imports(jwt.Service, "", "b")},
		lines:  []string{"starts import_starts web 1"},
		after: func(r *run) {
			r.connect(client{name: "own"})
			if !r.flow(0, toOwn("b", "b", false, true)) {
				r.Errorf("a request does not arrive")
			}
		},
	},
	{
		name: "it no longer imports", clients: pair,
		stored: imports(jwt.Stream, "web", "a"), pushed: same,
		others: map[string]edit{"web": exports(jwt.Stream, "a")},
		lines:  []string{"stop import_stops"}, flows: []flow{{"web", "a", "own", "a", true, false}},
	},
	{
		name: "it imports more", clients: pair,
		stored: same, pushed: all(imports(jwt.Stream, "web", "a"), imports(jwt.Service, "web", "b"),
			imports(jwt.Service, "web", "missing")),
		others: map[string]edit{"web": all(exports(jwt.Stream, "a"), exports(jwt.Service, "b"))},
		lines:  []string{"starts import_starts", "starts import_starts"},
		flows:  []flow{{"web", "a", "own", "a", false, true}, {"own", "b", "web", "b", false, true}},
	},
	{
		name: "it imports under another subject", clients: pair,
		stored: imports(jwt.Stream, "web", "a", as("x")), pushed: imports(jwt.Stream, "web", "a", as("y")),
		others: map[string]edit{"web": exports(jwt.Stream, "a")},
		lines:  []string{"starts import_starts", "stop import_stops"},
		flows:  []flow{{"web", "a", "own", "x", true, false}, {"web", "a", "own", "y", false, true}},
	},
	{
		name: "a subject is mapped", clients: []client{{name: "own"}, {name: "two"}},
		stored: same, pushed: func(_ *run, c *jwt.AccountClaims) {
			c.AddMapping("a", jwt.WeightedMapping{Subject: "b"})
		},
		lines: []string{"stop mapping_added"},
		flows: []flow{{"own", "a", "two", "a", true, false}, {"own", "a", "two", "b", false, true}},
	},
	{
		name: "half of a subject is mapped", clients: []client{{name: "own"}, {name: "two"}},
		stored: mapped("b", 100, ""), pushed: mapped("b", 50, ""), lines: []string{"stop mapping_changed"},
	},
	{
		name: "a mapping is for one cluster only", clients: []client{{name: "own"}, {name: "two"}},
		stored: mapped("b", 100, ""), pushed: mapped("b", 50, "elsewhere"),
		lines: []string{"stop mapping_changed", "stop mapping_changed"},
		flows: []flow{{"own", "a", "two", "b", true, false}, {"own", "a", "two", "a", false, true}},
	},
	{
		name: "its import loses its token", clients: pair,
		stored: imports(jwt.Stream, "web", "a", activatedBy("web", "", "")),
		pushed: imports(jwt.Stream, "web", "a"),
		others: map[string]edit{"web": exports(jwt.Stream, "a", private)},
		lines:  []string{"stop import_stops"}, flows: []flow{{"web", "a", "own", "a", true, false}},
	},
	{
		name: "it imports under another prefix", clients: pair,
		stored: imports(jwt.Stream, "web", "a", to("x")), pushed: imports(jwt.Stream, "web", "a", to("y")),
		others: map[string]edit{"web": exports(jwt.Stream, "a")},
		lines:  []string{"starts import_starts", "stop import_stops"},
		flows:  []flow{{"web", "a", "own", "x.a", true, false}, {"web", "a", "own", "y.a", false, true}},
	},
	{
		name: "a service under the old field is no longer exported", clients: pair,
		stored: exports(jwt.Service, "help"), pushed: same,
		others: map[string]edit{"web": imports(jwt.Service, "", "ask", to("help"))},
		lines:  []string{"stop import_stops web 1", lost}, flows: []flow{toOwn("ask", "help", true, false)},
	},
	{
		name: "a service gets other replies", clients: pair,
		stored: exports(jwt.Service, "help"), pushed: exports(jwt.Service, "help", streamed,
			func(_ *run, e *jwt.Export) { e.ResponseThreshold = time.Minute }),
		others: map[string]edit{"web": imports(jwt.Service, "", "help")},
		lines:  []string{"later export_changed", "later export_changed", lost},
		flows:  []flow{toOwn("help", "help", true, true)},
	},
	{
		name: "a renewal of an account with a service that others import", clients: pair,
		stored: exports(jwt.Service, "help"), pushed: exports(jwt.Service, "help"),
		others: map[string]edit{"web": imports(jwt.Service, "", "help")}, lines: []string{lost},
		before: func(r *run) { r.ask("web", "own", "help") },
		after:  func(r *run) { r.checkReply(false) },
	},
	{
		name: "a renewal of an account that imports a service", clients: pair,
		stored: imports(jwt.Service, "web", "help"), pushed: imports(jwt.Service, "web", "help"),
		others: map[string]edit{"web": exports(jwt.Service, "help")},
		before: func(r *run) { r.ask("own", "web", "help") },
		after:  func(r *run) { r.checkReply(true) },
	},
}

// ask sends a request that waits for its reply.
func (r *run) ask(from, to, subject string) {
	requests, err := r.conns[to].SubscribeSync(subject)
	check(r.T, err)
	check(r.T, r.conns[to].FlushTimeout(20*time.Second))
	inbox := nats.NewInbox()
	r.replies, err = r.conns[from].SubscribeSync(inbox)
	check(r.T, err)
	check(r.T, r.conns[from].PublishRequest(subject, inbox, nil))
	r.request, err = requests.NextMsg(20 * time.Second)
	check(r.T, err)
	r.asker, r.asked = r.conns[from], r.conns[to]
}

// checkReply replies to the request, and fails the test unless the reply arrives or not as is expected.
func (r *run) checkReply(arrives bool) {
	check(r.T, r.request.Respond([]byte("x")))
	check(r.T, r.asked.FlushTimeout(20*time.Second))
	check(r.T, r.asker.FlushTimeout(20*time.Second))
	if _, err := r.replies.NextMsg(time.Millisecond); (err == nil) != arrives {
		r.Errorf("the reply arrives: %v", err == nil)
	}
}

// to is an import with the old field, which says the prefix of a stream, or the exporter's subject of a
// service.
func to(subject string) func(*run, *jwt.Import) {
	return func(_ *run, i *jwt.Import) { i.To = jwt.Subject(subject) } //lint:ignore SA1019 old JWTs have it
}

// mapped is an edit that maps the subject a.
func mapped(subject string, weight uint8, cluster string) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		c.AddMapping("a",
			jwt.WeightedMapping{Subject: jwt.Subject(subject), Weight: weight, Cluster: cluster})
	}
}
