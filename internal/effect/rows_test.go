package effect_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/effect"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// row is a push, with clients that are connected, and what becomes of them.
type row struct {
	name string
	// stored and pushed make the claims of the account of the row. stored is nil if there are none before.
	stored, pushed edit
	// others are accounts besides it. They are pushed after stored, in the order of their names.
	others  map[string]edit
	clients []client
	// lines are what is foretold: "cut user_revoked 1", or "stop import_stops web 2" about another account.
	lines []string
	// cut has the names of the clients that the push throws out.
	cut []string
	// flows are messages between clients, which arrive before the push, or after it.
	flows []flow
	// before and after look at what else there is.
	before, after func(*run)
}

// edit changes the claims of an account.
type edit func(*run, *jwt.AccountClaims)

// client is a client that is connected before the push.
type client struct {
	name  string
	of    string // the name of another account; "" is the account of the row
	by    string // the name of the signing key that has issued its user; "" is the key of the account
	at    int    // which nats-server
	subs  int    // how many subscriptions it has
	leaf  bool   // it is a leaf node
	edits func(*jwt.UserClaims)
}

// flow is whether what one client publishes gets to another one.
type flow struct {
	from, publish, to, subscribe string
	before, after                bool
}

// run is a row on a world.
type run struct {
	*testing.T
	*row
	*world
	accounts map[string]*jwttest.Account
	keys     map[string]nkeys.KeyPair // signing keys, by name
	users    map[string]string        // public keys, by client
	conns    map[string]*nats.Conn
	creds    map[string][]byte
	leaves   map[string]*server.Server
	closed   map[string]chan struct{} // is closed when the client or leaf node is out
	subs     map[int]*nats.Subscription
	began    time.Time

	asker, asked *nats.Conn // of a request on its way
	request      *nats.Msg
	replies      *nats.Subscription
}

// account returns the account with a name.
func (r *run) account(name string) *jwttest.Account {
	if r.accounts[name] == nil {
		r.accounts[name] = jwttest.NewAccount(r)
	}
	return r.accounts[name]
}

// key returns the public key of a signing key.
func (r *run) key(name string) string {
	if r.keys[name] == nil {
		key, err := nkeys.CreateAccount()
		check(r.T, err)
		r.keys[name] = key
	}
	public, err := r.keys[name].PublicKey()
	check(r.T, err)
	return public
}

// scope returns a scope of a signing key.
func (r *run) scope(key, role string, edits ...func(*jwt.UserScope)) jwt.Scope {
	s := jwt.NewUserScope()
	s.Key, s.Role = r.key(key), role
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// token makes the JWT of an account. Later ones are issued later.
func (r *run) token(name string, age time.Duration, edits ...edit) []byte {
	return jwttest.Sign(r, r.op.Signing, r.account(name), r.began.Add(-age), func(c *jwt.AccountClaims) {
		if c.Name = name; name == "" {
			c.Name = "own"
		}
		for _, edit := range edits {
			if edit != nil {
				edit(r, c)
			}
		}
	})
}

// issue makes the creds of a client.
func (r *run) issue(c client) []byte {
	key, id := jwttest.NewUser(r)
	u := jwt.NewUserClaims(id)
	u.Name = c.name
	signer := r.account(c.of).Key
	if c.by != "" {
		r.key(c.by)
		u.IssuerAccount, signer = r.account(c.of).ID, r.keys[c.by]
	}
	if c.edits != nil {
		c.edits(u)
	}
	token, err := u.Encode(signer)
	check(r.T, err)
	seed, err := key.Seed()
	check(r.T, err)
	creds, err := jwt.FormatUserConfig(token, seed)
	check(r.T, err)
	r.users[c.name], r.creds[c.name] = id, creds
	return creds
}

// connect connects a client. closed is closed when the nats-server has thrown it out.
func (r *run) connect(c client) {
	creds, closed := r.issue(c), make(chan struct{})
	if r.closed[c.name] = closed; c.leaf {
		r.connectLeaf(c, creds)
		return
	}
	nc := natstest.Connect(r, r.servers[c.at].ClientURL(), creds, nats.NoReconnect(), nats.Name(c.name),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ErrorHandler(
			func(*nats.Conn, *nats.Subscription, error) {}))
	r.conns[c.name] = nc
	for n := range c.subs {
		_, err := nc.SubscribeSync(fmt.Sprintf("many.%s.%d", c.name, n))
		check(r.T, err)
	}
	check(r.T, nc.FlushTimeout(20*time.Second))
}

// connectLeaf runs a nats-server that is a leaf node.
func (r *run) connectLeaf(c client, creds []byte) {
	file := jwttest.File(r, r.TempDir(), "leaf.creds", creds)
	const conf = natstest.AnyPort + "server_name: %q\nleafnodes { reconnect: 1h, remotes: " +
		"[{ url: \"nats-leaf://127.0.0.1:%d\", credentials: %q }] }\n"
	// It connects once in an hour, and a busy machine may take too long for that.
	natstest.Eventually(r, "the leaf node is connected", func() bool {
		leaf := natstest.Start(r, fmt.Sprintf(conf, c.name, r.leafs[c.at], file))
		r.leaves[c.name] = leaf
		for end := time.Now().Add(5 * time.Second); leaf.NumLeafNodes() == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		if leaf.NumLeafNodes() == 0 {
			natstest.Stop(leaf)
			return false
		}
		return true
	})
}

// waitOut waits until a client or leaf node is out.
func (r *run) waitOut(name string) {
	if leaf := r.leaves[name]; leaf != nil {
		natstest.Eventually(r, name+" is out", func() bool { return leaf.NumLeafNodes() == 0 })
		return
	}
	select {
	case <-r.closed[name]:
	case <-time.After(35 * time.Second):
		r.Errorf("%s is not thrown out", name)
	}
}

// checkStays fails the test if a client or leaf node is out.
func (r *run) checkStays(name string) {
	if leaf := r.leaves[name]; leaf != nil {
		if leaf.NumLeafNodes() != 1 {
			r.Errorf("%s is thrown out, which was not foretold", name)
		}
		return
	}
	if err := r.conns[name].FlushTimeout(20 * time.Second); err != nil {
		r.Errorf("%s is thrown out, which was not foretold: %v", name, err)
	}
}

// flow reports whether a message of a flow arrives.
func (r *run) flow(n int, f flow) bool {
	from, to := r.conns[f.from], r.conns[f.to]
	if from == nil || to == nil {
		r.Fatalf("%s and %s are to be connected", f.from, f.to)
	}
	if r.subs[n] == nil {
		sub, err := to.SubscribeSync(f.subscribe)
		check(r.T, err)
		r.subs[n] = sub
	}
	check(r.T, to.FlushTimeout(20*time.Second))
	for err := error(nil); err == nil; { // what came from other flows
		_, err = r.subs[n].NextMsg(time.Microsecond)
	}
	check(r.T, from.PublishRequest(f.publish, nats.NewInbox(), []byte("x")))
	// A nats-server passes a message on before it answers the flush that follows it.
	check(r.T, from.FlushTimeout(20*time.Second))
	check(r.T, to.FlushTimeout(20*time.Second))
	m, err := r.subs[n].NextMsg(time.Millisecond)
	return err == nil && m != nil
}

// checkLines compares what is foretold with the lines of the row.
func (r *run) checkLines(f effect.Forecast) {
	var got []string
	for _, l := range f.Lines {
		line := string(l.Kind) + " " + l.Code
		if l.Name != "" {
			line += " " + l.Name
		}
		if l.Connections > 0 {
			line += fmt.Sprintf(" %d", l.Connections)
		}
		got = append(got, line)
		if strings.ContainsAny(l.Words, "\n\x00") || l.Words == "" {
			r.Errorf("the words of %q: %q", line, l.Words)
		}
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(r.lines))) {
		r.Errorf("foretold is\n\t%s\ninstead of\n\t%s", strings.Join(got, "\n\t"),
			strings.Join(r.lines, "\n\t"))
		for _, l := range f.Lines {
			r.Logf("%-8s %s %s", l.Kind, l.Name, l.Words)
		}
	}
}

// run does what the row says.
func (r *run) run() {
	others := make([]string, 0, len(r.others))
	for name := range r.others {
		others = append(others, name)
	}
	slices.Sort(others)
	for _, name := range others {
		r.account(name)
	}
	if r.stored != nil {
		r.world.push(r.T, r.account("").ID, r.token("", time.Hour, r.stored))
	}
	for _, name := range others {
		r.world.push(r.T, r.account(name).ID, r.token(name, time.Hour, r.others[name]))
	}
	for _, c := range r.clients {
		r.connect(c)
	}
	for n, f := range r.row.flows {
		if r.flow(n, f) != f.before {
			r.Errorf("before the push, from %s to %s: %v", f.publish, f.subscribe, !f.before)
		}
	}
	if r.before != nil {
		r.before(r)
	}
	token := r.token("", 0, r.pushed)
	forecast := r.forecast(r.T, token)
	r.checkLines(forecast)
	r.world.push(r.T, r.account("").ID, token)
	for _, name := range r.cut {
		r.waitOut(name)
	}
	for _, c := range r.clients {
		if !slices.Contains(r.cut, c.name) {
			r.checkStays(c.name)
		}
	}
	for n, f := range r.row.flows {
		if r.flow(n, f) != f.after {
			r.Errorf("after the push, from %s to %s: %v", f.publish, f.subscribe, !f.after)
		}
	}
	if r.after != nil {
		r.after(r)
	}
}
