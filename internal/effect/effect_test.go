package effect_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// same is an edit that changes nothing.
func same(*run, *jwt.AccountClaims) {}

// scoped is for a user that has only what its signing key's scope allows.
func scoped(u *jwt.UserClaims) { u.SetScoped(true) }

// bearer is for a user that proves nothing.
func bearer(u *jwt.UserClaims) { u.BearerToken = true }

// withKeys is an edit that adds plain signing keys.
func withKeys(names ...string) edit {
	return func(r *run, c *jwt.AccountClaims) {
		for _, name := range names {
			c.SigningKeys.Add(r.key(name))
		}
	}
}

// limits is an edit of the limits.
func limits(change func(*jwt.OperatorLimits)) edit {
	return func(_ *run, c *jwt.AccountClaims) { change(&c.Limits) }
}

// all does several edits.
func all(edits ...edit) edit {
	return func(r *run, c *jwt.AccountClaims) {
		for _, edit := range edits {
			edit(r, c)
		}
	}
}

// revoke is an edit that revokes the user of a client, or another one, if it was issued until this long
// after now.
func revoke(client string, after time.Duration) edit {
	return func(r *run, c *jwt.AccountClaims) {
		id := client
		if r.users[client] != "" {
			id = r.users[client]
		}
		c.RevokeAt(id, time.Now().Add(after))
	}
}

// withScope is an edit that adds a signing key with a scope.
func withScope(key, role string, edits ...func(*jwt.UserScope)) edit {
	return func(r *run, c *jwt.AccountClaims) { c.SigningKeys.AddScopedSigner(r.scope(key, role, edits...)) }
}

// template is a change of what the users of a scope may do.
func template(change func(*jwt.UserPermissionLimits)) func(*jwt.UserScope) {
	return func(s *jwt.UserScope) { change(&s.Template) }
}

// allow has the users of a scope publish these subjects only.
func allow(subjects ...string) func(*jwt.UserScope) {
	return template(func(l *jwt.UserPermissionLimits) { l.Pub.Allow.Add(subjects...) })
}

// bearerRole has the users of a scope prove nothing.
var bearerRole = template(func(l *jwt.UserPermissionLimits) { l.BearerToken = true })

// refused fails the test unless a new client of the account is refused.
func refused(c client) func(*run) {
	return func(r *run) {
		_, err := nats.Connect(r.servers[c.at].ClientURL(), nats.UserCredentialBytes(r.issue(c)),
			nats.NoReconnect(), nats.Timeout(20*time.Second))
		if err == nil {
			r.Errorf("a new connection is not refused")
		}
	}
}

// outForGood fails the test if the credentials of clients still work.
func outForGood(clients ...string) func(*run) {
	return func(r *run) {
		for _, name := range clients {
			_, err := nats.Connect(r.servers[0].ClientURL(), nats.UserCredentialBytes(r.creds[name]),
				nats.NoReconnect(), nats.Timeout(20*time.Second))
			if err == nil {
				r.Errorf("%s may connect again", name)
			}
		}
	}
}

// mayReturn fails the test if the credentials of clients do not work any more.
func mayReturn(clients ...string) func(*run) {
	return func(r *run) {
		for _, name := range clients {
			natstest.Connect(r, r.servers[0].ClientURL(), r.creds[name])
		}
	}
}

// cutRows are the pushes that end connections, and those that might seem to.
var cutRows = []row{
	{
		name: "a renewal", stored: same, pushed: same,
		clients: []client{{name: "a"}, {name: "b", subs: 3}},
	},
	{
		name: "a user is revoked", stored: same, pushed: revoke("a", 0),
		clients: []client{{name: "a"}, {name: "b"}, {name: "other"}},
		lines:   []string{"cut user_revoked 1"}, cut: []string{"a"}, after: outForGood("a"),
	},
	{
		name: "the user of a leaf node is revoked", stored: same, pushed: revoke("a", 0),
		clients: []client{{name: "a", leaf: true}, {name: "b"}},
		lines:   []string{"cut user_revoked 1"}, cut: []string{"a"},
	},
	{
		name: "all users are revoked", stored: withKeys("k"), pushed: all(withKeys("k"), revoke("*", 0)),
		clients: []client{{name: "a"}, {name: "b", by: "k"}},
		lines:   []string{"cut user_revoked 1", "cut user_revoked 1"}, cut: []string{"a", "b"},
	},
	{
		name: "a user is revoked before it was issued", stored: same, pushed: revoke("a", -time.Hour),
		clients: []client{{name: "a"}, {name: "b"}},
	},
	{
		name: "all users are revoked before they were issued", stored: same, pushed: revoke("*", -time.Hour),
		clients: []client{{name: "a"}, {name: "b"}},
	},
	{
		name: "a revocation is taken away", stored: revoke("UNKNOWN", 0), pushed: same,
		clients: []client{{name: "a"}},
	},
	{
		name: "a bearer user is revoked", stored: same, pushed: revoke("a", 0),
		clients: []client{{name: "a", edits: bearer}, {name: "b", edits: bearer}},
		lines:   []string{"cut user_revoked 1"}, cut: []string{"a"},
	},
	{
		name: "a signing key is removed", stored: withKeys("k", "l"), pushed: withKeys("l"),
		clients: []client{{name: "a", by: "k"}, {name: "b", by: "k"}, {name: "c", by: "l"}, {name: "d"},
			{name: "leaf", by: "k", leaf: true}},
		lines: []string{"cut signing_key_removed 3"}, cut: []string{"a", "b", "leaf"},
		after: outForGood("a", "b"),
	},
	{
		name: "a signing key with a role is removed", stored: withScope("k", "worker"), pushed: same,
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
		lines:   []string{"cut signing_key_removed 1"}, cut: []string{"a"}, after: outForGood("a"),
	},
	{
		name: "a signing key is added", stored: withKeys("k"),
		pushed:  all(withKeys("k"), withScope("l", "x")),
		clients: []client{{name: "a", by: "k"}, {name: "b"}},
	},
	{
		name: "a signing key gets a role", stored: withKeys("k"), pushed: withScope("k", "worker"),
		clients: []client{{name: "a", by: "k"}, {name: "b"}},
		lines:   []string{"cut signing_key_scoped 1"}, cut: []string{"a"}, after: outForGood("a"),
	},
	{
		name: "a signing key loses its role", stored: withScope("k", "worker"), pushed: withKeys("k"),
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
		lines:   []string{"cut signing_key_unscoped 1"}, cut: []string{"a"},
	},
	{
		name: "a role gets another name", stored: withScope("k", "worker"), pushed: withScope("k", "helper"),
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
		lines:   []string{"cut signing_key_scope_changed 1"}, cut: []string{"a"}, after: mayReturn("a"),
	},
	{
		name:   "a role gets a description",
		stored: withScope("k", "worker"),
		pushed: withScope("k", "worker", func(s *jwt.UserScope) { s.Description = "x" }),
		clients: []client{{name: "a", by: "k", edits: scoped},
			{name: "leaf", by: "k", leaf: true, edits: scoped}},
		lines: []string{"cut signing_key_scope_changed 2"}, cut: []string{"a", "leaf"}, after: mayReturn("a"),
	},
	{
		name:    "a role allows more",
		stored:  withScope("k", "w", allow("a")),
		pushed:  withScope("k", "w", allow("a", "b")),
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
		lines:   []string{"cut signing_key_scope_changed 1"}, cut: []string{"a"}, after: mayReturn("a"),
	},
	{
		name:    "a role has its subjects in another order",
		stored:  withScope("k", "w", allow("a", "b")),
		pushed:  withScope("k", "w", allow("b", "a")),
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
		lines:   []string{"cut signing_key_scope_changed 1"}, cut: []string{"a"}, after: mayReturn("a"),
	},
	{
		name: "bearer tokens are refused", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.DisallowBearer = true }),
		clients: []client{{name: "a", edits: bearer}, {name: "b"}},
		lines:   []string{"cut bearer_refused 1"}, cut: []string{"a"}, after: outForGood("a"),
	},
	{
		name: "bearer tokens are refused, and a role allows them", stored: withScope("k", "w", bearerRole),
		pushed: all(withScope("k", "w", bearerRole), limits(func(l *jwt.OperatorLimits) {
			l.DisallowBearer = true
		})),
		clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
	},
	{
		name: "the key of bearer users is removed", stored: withKeys("k"), pushed: same,
		clients: []client{{name: "a", by: "k", edits: bearer}, {name: "b", edits: bearer},
			{name: "leaf", by: "k", leaf: true, edits: bearer}},
		lines: []string{"cut signing_key_removed 2"}, cut: []string{"a", "leaf"},
	},
	{
		name: "bearer users with as many subscriptions as the limit", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Subs = 3 }),
		clients: []client{{name: "a", subs: 2, edits: bearer}, {name: "b", subs: 4, edits: bearer}},
		lines:   []string{"cut subscriptions_reached 1"}, cut: []string{"b"},
	},
	{
		name: "all users are revoked, and bearer tokens are refused", stored: same,
		pushed:  all(revoke("*", 0), limits(func(l *jwt.OperatorLimits) { l.DisallowBearer = true })),
		clients: []client{{name: "a", edits: bearer}, {name: "b"}},
		lines:   []string{"cut user_revoked 1", "cut user_revoked 1"}, cut: []string{"a", "b"},
	},
	{
		name: "users of a role have more subscriptions than the account allows", stored: withScope("k", "w"),
		pushed: all(withScope("k", "w"), limits(func(l *jwt.OperatorLimits) { l.Subs = 2 })),
		clients: []client{{name: "a", by: "k", subs: 3, edits: scoped},
			{name: "b", by: "k", subs: 1, edits: scoped}},
		lines: []string{"cut subscriptions_reached 1"}, cut: []string{"a"},
	},
	{
		name:   "a renewal when users of a role have as many subscriptions as it allows",
		stored: withScope("k", "w", template(func(l *jwt.UserPermissionLimits) { l.Subs = 3 })),
		pushed: withScope("k", "w", template(func(l *jwt.UserPermissionLimits) { l.Subs = 3 })),
		clients: []client{{name: "a", by: "k", subs: 3, edits: scoped},
			{name: "b", by: "k", subs: 1, edits: scoped}},
		lines: []string{"cut subscriptions_reached 1"}, cut: []string{"a"},
	},
	{
		name: "as many subscriptions as the limit", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Subs = 3 }),
		clients: []client{{name: "a", subs: 2}, {name: "b", subs: 3}, {name: "c", subs: 4}},
		lines:   []string{"cut subscriptions_reached 2"}, cut: []string{"b", "c"},
	},
	{
		name:    "a renewal when as many subscriptions are there as the limit",
		stored:  limits(func(l *jwt.OperatorLimits) { l.Subs = 3 }),
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Subs = 3 }),
		clients: []client{{name: "a", subs: 2}, {name: "b", subs: 3}},
		lines:   []string{"cut subscriptions_reached 1"}, cut: []string{"b"},
	},
	{
		name: "no subscriptions at all", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Subs = 0 }),
		clients: []client{{name: "a"}, {name: "b", subs: 1}},
		lines:   []string{"cut subscriptions_reached 2"}, cut: []string{"a", "b"},
	},
	{
		name: "as many subscriptions as the limit of a user", stored: same,
		pushed: limits(func(l *jwt.OperatorLimits) { l.Subs = 5 }),
		clients: []client{{name: "a", subs: 2, edits: func(u *jwt.UserClaims) { u.Limits.Subs = 2 }},
			{name: "b", subs: 4}},
		lines: []string{"cut subscriptions_reached 1"}, cut: []string{"a"},
	},
	{
		name: "fewer connections than there are", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Conn = 2 }),
		clients: []client{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}},
		lines:   []string{"cut connections_exceeded 2"}, cut: []string{"c", "d"},
		after: refused(client{name: "e"}),
	},
	{
		name: "no connections at all", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Conn = 0 }),
		clients: []client{{name: "a"}, {name: "b"}},
		lines:   []string{"cut connections_exceeded 2"}, cut: []string{"a", "b"},
		after: refused(client{name: "e"}),
	},
	{
		name: "leaf nodes are connections too", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Conn = 2 }),
		clients: []client{{name: "a"}, {name: "b"}, {name: "leaf", leaf: true}},
		lines:   []string{"cut connections_exceeded 1"}, cut: []string{"leaf"},
	},
	{
		name: "fewer connections, and those of a signing key go", stored: withKeys("k"),
		pushed: limits(func(l *jwt.OperatorLimits) { l.Conn = 3 }),
		clients: []client{{name: "a", by: "k"}, {name: "b", by: "k"}, {name: "c"}, {name: "d"},
			{name: "e", by: "k"}},
		lines: []string{"cut signing_key_removed 3", "cut connections_exceeded 1"},
		cut:   []string{"a", "b", "d", "e"},
	},
	{
		name: "as many connections as there are", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Conn = 2 }),
		clients: []client{{name: "a"}, {name: "b"}},
		lines:   []string{"later connections_limited"}, after: refused(client{name: "e"}),
	},
	{
		name: "fewer leaf nodes than there are", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.LeafNodeConn = 0 }),
		clients: []client{{name: "a"}, {name: "leaf", leaf: true}},
		lines:   []string{"later leaf_nodes_limited"},
	},
	{
		name: "smaller messages", stored: same,
		pushed:  limits(func(l *jwt.OperatorLimits) { l.Payload = 100 }),
		clients: []client{{name: "a"}, {name: "b"}}, lines: []string{"cut limit_changed"},
		after: func(r *run) {
			check(r.T, r.conns["a"].Publish("x", make([]byte, 101)))
			r.waitOut("a")
			r.checkStays("b")
		},
	},
	{
		name: "it expires soon", stored: same,
		pushed:  func(_ *run, c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 12 },
		clients: []client{{name: "a"}, {name: "leaf", leaf: true}}, lines: []string{"cut expiry_changed 2"},
		cut: []string{"a", "leaf"},
	},
	{
		name: "it expires in a year that nats-server takes for one that has passed", stored: same,
		pushed: func(_ *run, c *jwt.AccountClaims) {
			c.Expires = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
		},
		clients: []client{{name: "a"}, {name: "leaf", leaf: true}}, lines: []string{"cut expiry_too_far 2"},
		cut: []string{"a", "leaf"},
	},
	{
		name: "it expires before 1970", stored: same,
		pushed:  func(_ *run, c *jwt.AccountClaims) { c.Expires = -1 },
		clients: []client{{name: "a"}, {name: "leaf", leaf: true}}, lines: []string{"later expired"},
	},
	{
		name:   "it expires later",
		stored: func(_ *run, c *jwt.AccountClaims) { c.Expires = time.Now().Unix() + 3600 },
		pushed: same, clients: []client{{name: "a"}},
	},
	{
		name: "a service authorizes its users", stored: same,
		pushed:  func(r *run, c *jwt.AccountClaims) { c.Authorization.AuthUsers.Add(r.users["b"]) },
		clients: []client{{name: "a"}, {name: "b"}},
		lines:   []string{"later authorization_changed", "later authorization_changed"},
		after:   refused(client{name: "e"}),
	},
	{
		name: "what no client notices", stored: same,
		pushed: func(_ *run, c *jwt.AccountClaims) {
			c.Name, c.Description, c.InfoURL, c.Audience = "x", "y", "https://example.com", "z"
			c.Tags.Add("t")
			c.Limits.Data, c.Trace = 10, &jwt.MsgTrace{Destination: "trace", Sampling: 5}
			c.ClusterTraffic = jwt.ClusterTrafficOwner
		},
		clients: []client{{name: "a"}, {name: "leaf", leaf: true}},
	},
}

// TestForecasts holds what is foretold against what nats-servers do, for each field that has an effect.
func TestForecasts(t *testing.T) {
	for _, kind := range []string{"URL", "full"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind, 1)
			t.Run("rows", func(t *testing.T) {
				for _, row := range rows() {
					t.Run(row.name, func(t *testing.T) {
						t.Parallel()
						start(t, w, row).run()
					})
				}
			})
		})
	}
}

// start prepares a run.
func start(t *testing.T, w *world, of row) *run {
	return &run{
		T: t, row: &of, world: w, began: time.Now(), accounts: map[string]*jwttest.Account{},
		keys: map[string]nkeys.KeyPair{}, users: map[string]string{}, conns: map[string]*nats.Conn{},
		creds: map[string][]byte{}, leaves: map[string]*server.Server{}, closed: map[string]chan struct{}{},
		subs: map[int]*nats.Subscription{},
	}
}

// TestEachFieldHasARow that has an effect.
func TestEachFieldHasARow(t *testing.T) {
	changed := map[string]bool{}
	for _, row := range rows() {
		r := start(t, &world{op: jwttest.NewOperator(t)}, row)
		for _, c := range r.clients {
			r.issue(c)
		}
		stored := r.token("", time.Hour, row.stored)
		for _, c := range claimdiff.Diff(decode(stored), decode(r.token("", 0, row.pushed))) {
			changed[c.Field] = true
		}
	}
	for field, of := range claimdiff.Effects {
		has := of == claimdiff.Cut || of == claimdiff.Stop || of == claimdiff.Later
		if has && !changed[cmp.Or(partOf[field], field)] {
			t.Errorf("no row changes %s", field)
		}
	}
}

// partOf has the fields that are named as another one, to which they belong.
var partOf = map[string]string{
	"nats.exports[].type": "nats.exports[].subject", "nats.imports[].type": "nats.imports[].subject",
	"nats.imports[].account":                   "nats.imports[].subject",
	"nats.signing_keys{}.template.times[].end": "nats.signing_keys{}.template.times[].start",
}

// rows returns all rows.
func rows() []row {
	return slices.Concat(cutRows, templateRows(), shareRows, permissionRows, storageRows)
}

// templateRows have a row for each field of a template.
func templateRows() (all []row) {
	for name, change := range map[string]func(*jwt.UserPermissionLimits){
		"connection types": func(l *jwt.UserPermissionLimits) { l.AllowedConnectionTypes.Add("STANDARD") },
		"bearer tokens":    func(l *jwt.UserPermissionLimits) { l.BearerToken = true },
		"data":             func(l *jwt.UserPermissionLimits) { l.Data = 1000 },
		"payload":          func(l *jwt.UserPermissionLimits) { l.Payload = 1000 },
		"proxy":            func(l *jwt.UserPermissionLimits) { l.ProxyRequired = true },
		"publish":          func(l *jwt.UserPermissionLimits) { l.Pub.Deny.Add("x") },
		"replies":          func(l *jwt.UserPermissionLimits) { l.Resp.MaxMsgs = 5 },
		"time of replies":  func(l *jwt.UserPermissionLimits) { l.Resp.Expires = time.Second },
		"addresses":        func(l *jwt.UserPermissionLimits) { l.Src.Add("127.0.0.0/8") },
		"subscribe":        func(l *jwt.UserPermissionLimits) { l.Sub.Allow.Add(">"); l.Sub.Deny.Add("x") },
		"subscriptions":    func(l *jwt.UserPermissionLimits) { l.Subs = 1000 },
		"times": func(l *jwt.UserPermissionLimits) {
			l.Times = []jwt.TimeRange{{Start: "00:00:00", End: "23:59:59"}}
		},
		"time zone": func(l *jwt.UserPermissionLimits) { l.Locale = "Europe/Berlin" },
	} {
		replies := template(func(l *jwt.UserPermissionLimits) {
			l.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}
		})
		all = append(all, row{
			name:    "a role changes: " + name,
			stored:  withScope("k", "role", replies),
			pushed:  withScope("k", "role", replies, template(change)),
			clients: []client{{name: "a", by: "k", edits: scoped}, {name: "b"}},
			lines:   []string{"cut signing_key_scope_changed 1"}, cut: []string{"a"},
		})
	}
	return all
}
