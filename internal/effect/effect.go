// Package effect foretells what a push of account claims does to those who are connected now, in
// this account and in others.
//
//	cut       connections are ended by the push
//	stop      messages no longer arrive, or publishes are refused; connections stay
//	starts    imports that did nothing begin to work
//	later     only new connections, streams and the like see it
//	lost      what is lost with every push of the account: replies in flight
//	unknown   what no nats-server has said
//
// In go the claims that are stored and those that are pushed, as claimdiff.Diff compares them. Out
// comes a Forecast: a Line for each effect. It writes nothing, announces nothing and refuses no
// push. Besides the claims it knows which accounts import from this one (the index), and what
// nats-servers say of it (package facts): INFO always, the connections and JetStream only if the
// changes need them. If a nats-server does not say it in time, a Line of Unknown says so, and the
// rest of the Forecast is what the others have said.
//
// # Effects of two packages
//
// claimdiff.Effect is the most that a change of a field can do to anyone. A Kind here is what it
// does now. A lower limit of connections has the Effect Cut: it is a Line of Cut if more are
// connected than it allows, and of Later if not. A change whose Effect is Later is always a Line of
// Later. One with the Effect None has no Line, unless something begins to work by it.
//
// # Files
//
// To be read in this order: effect.go makes a Forecast of what the finders have found. servers.go
// asks the nats-servers that have the account. cut.go looks at connections one by one, and conn.go
// compares how many there are with limits. shares.go is about imports and exports. storage.go
// compares what streams store with lower limits of JetStream, and capacity.go what a nats-server
// has with higher ones. rest.go has what follows from the changes alone.
//
// # A new effect
//
// If a new nats-server does something else with an update, or jwt/v2 has a new field:
//
//   - the row of the field in claimdiff.Effects says the most that it can do;
//   - Later needs no more: rest.go says it in the words of the change;
//   - Cut needs a cause in cut.go (causes, causeOf), and needed has to return that single
//     connections are looked at. If that needs more of a connection, facts.Connection gets a field;
//   - Stop needs a line in the finder of its part;
//   - a row of cutRows, shareRows, permissionRows or storageRows in the tests makes the push with
//     clients at a real nats-server, and compares what becomes of them with the lines.
//     TestEachFieldHasARow fails for a field that has an effect and no row;
//   - a Code, once it is there, stays: programs read it.
package effect

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
)

// Kind is a kind of effect. The values are part of answers in JSON.
type Kind string

// The Kinds, in the order of a Forecast.
const (
	Cut     Kind = "cut"
	Stop    Kind = "stop"
	Starts  Kind = "starts"
	Later   Kind = "later"
	Lost    Kind = "lost"
	Unknown Kind = "unknown"
)

// Kinds are all Kinds, in the order of a Forecast. It must not be changed.
var Kinds = []Kind{Cut, Stop, Starts, Later, Lost, Unknown}

// Line is one effect. Its JSON is a part of the answer to a dry run.
type Line struct {
	Kind Kind   `json:"kind"`
	Code string `json:"code"` // a stable name, such as "signing_key_removed"
	// Account and Name are the public key and the name of the other account that it is about. They
	// are empty for the account itself. The name is a tenant's text.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	Words   string `json:"words"` // one clause on one line, without the name
	// Connections is how many connections it is about, those of leaf nodes included. 0: none, or it
	// is not known.
	Connections int `json:"connections,omitempty"`
}

// Warning returns what a push is warned of because of the line: a kind and the text, or "" for
// nothing. Most effects are wanted. A warning is for one that is hardly meant: a limit below what
// is used already, or a limit that a nats-server leaves out.
func (l Line) Warning() (kind, text string) {
	switch l.Code {
	case "connections_exceeded", "leaf_nodes_exceeded", "subscriptions_reached", "storage_exceeded":
		return KindAboveUse, "more is used than the limit allows: " + l.Words
	case "jetstream_left_out":
		return claimcheck.KindIncomplete, l.Words
	}
	return "", ""
}

// KindAboveUse is the kind of a warning that more is used than a limit allows. Programs read it: it
// never changes. It is a value of the label kind of push_warnings_total.
const KindAboveUse = "above_use"

// Forecast is what a push does. Without Lines it does nothing to anyone. It says what is so now:
// between it and the push clients come and go.
type Forecast struct {
	Lines []Line        // in the order of the Kinds
	Asked []string      // names of the nats-servers that have answered
	Took  time.Duration // how long they were asked
}

// Options says what a Forecast may cost.
type Options struct {
	// Connections has the connections looked at one by one in any case, also if there are more than
	// MaxConnections. Then nats-servers are asked for 15 s instead of 500 ms.
	Connections bool
}

const (
	// MaxConnections is how many connections are looked at one by one unless Options says to look
	// at all: a nats-server takes about 0.4 s to say who they are.
	MaxConnections = 5000
	// usualLimit is how long nats-servers are asked, and connectionsLimit is that if all
	// connections are looked at.
	usualLimit       = 500 * time.Millisecond
	connectionsLimit = 15 * time.Second
	// pushLimit is how long they are asked when a push is answered, which waits for it. capacityAge
	// is how old an answer about JetStream may be then, so that thousands of pushes one after the
	// other ask once a second.
	pushLimit   = 200 * time.Millisecond
	capacityAge = time.Second
)

// Importers says which accounts import from one. *jwtstore.Index meets it. It may name an account
// that does not (Importer.Unsure), so that the claims of each are read. The order is that of the
// keys.
type Importers interface {
	Importers(key string) iter.Seq[jwtstore.Importer]
}

// Accounts has the JWTs that are stored. *accounts.Registry meets it. GetLocal asks no other
// server. An error means that there is none, or that it is not served.
type Accounts interface {
	GetLocal(ctx context.Context, key string) (*accounts.Account, error)
}

// Facts asks nats-servers. *facts.Asker meets it. Its methods return a value for each nats-server
// that was asked, which has a reason if that has not answered.
type Facts interface {
	Info(ctx context.Context, key string) []facts.Info
	Connections(
		ctx context.Context, key string, of []facts.Server, users ...string,
	) []facts.Connections
	JetStream(ctx context.Context, key string) []facts.JetStream
	Capacity(ctx context.Context, maxAge time.Duration) []facts.Capacity
}

// Foreteller makes Forecasts. It may be used from any goroutine, and its fields do not change.
type Foreteller struct {
	Importers Importers
	Accounts  Accounts
	Facts     Facts
	// Limit is how long nats-servers are asked, all together; 0 means 500 ms.
	Limit time.Duration
}

// Of returns what a push does, before it is made. t is what it would replace, and its claims, which
// are not nil. The error is that of ctx, and the Forecast is not complete then.
//
// The order: all nats-servers are asked for the account first, because the finders need to know
// where it is loaded. Cuts come before the rest, since their question takes longest and all finders
// share one limit of time. What was not answered in time is a line of Unknown.
func (f *Foreteller) Of(ctx context.Context, t *accounts.Trial, o Options) (Forecast, error) {
	p := f.begin(t.StoredClaims, t.Claims)
	if t.StoredClaims != nil {
		p.hash = t.Stored.Hash
	}
	limit := cmp.Or(f.Limit, usualLimit)
	if o.Connections {
		limit = max(limit, connectionsLimit)
	}
	var cancel context.CancelFunc
	p.asking, cancel = context.WithTimeout(ctx, limit)
	defer cancel()
	reader := &claimReader{ctx, f.Accounts}
	p.askServers()
	(&cutFinder{p, o.Connections}).find()
	(&shareFinder{push: p, accounts: reader, index: f.Importers}).find()
	(&storageFinder{p}).find()
	(&capacityFinder{p, reader, 0}).find()
	p.findRest()
	return p.forecast(), ctx.Err()
}

// OfStorage returns the part of a Forecast that each push is warned of: what its limits of
// JetStream do. It costs nothing if these do not change, and at most 200 ms otherwise. It is called
// when the push is stored already. Nothing that it finds can undo the push. The lines are warnings
// in its answer.
func (f *Foreteller) OfStorage(ctx context.Context, stored, pushed *jwt.AccountClaims) Forecast {
	if !hasStorage(stored) && !hasStorage(pushed) {
		return Forecast{}
	}
	p := f.begin(stored, pushed)
	var cancel context.CancelFunc
	p.asking, cancel = context.WithTimeout(ctx, pushLimit)
	defer cancel()
	(&storageFinder{p}).find()
	(&capacityFinder{p, &claimReader{ctx, f.Accounts}, capacityAge}).find()
	return p.forecast()
}

// hasStorage reports whether claims have a limit of JetStream. nil has none.
func hasStorage(c *jwt.AccountClaims) bool {
	return c != nil && (len(c.Limits.JetStreamTieredLimits) > 0 ||
		c.Limits.JetStreamLimits != jwt.JetStreamLimits{})
}

// begin begins a Forecast. An account that is new is compared with one without anything. pushed is
// never nil.
func (f *Foreteller) begin(stored, pushed *jwt.AccountClaims) *push {
	d := difference{key: pushed.Subject, stored: stored, pushed: pushed,
		changes: claimdiff.Diff(stored, pushed), now: time.Now()}
	if stored == nil {
		d.stored = jwt.NewAccountClaims(d.key)
	}
	return &push{difference: d, facts: f.Facts, lines: make(map[Kind][]Line)}
}

// difference is what a push changes in the claims of an account. It does not change once it is
// made.
type difference struct {
	key            string
	stored, pushed *jwt.AccountClaims // not nil
	changes        []claimdiff.Change // from stored to pushed
	now            time.Time          // when the push is made
}

// push is one Forecast in the making: what nats-servers have said, and what was found. One
// goroutine uses it. The finders, of which each has a file, embed it and add lines. It is made anew
// for each Forecast. asking is done when the limit has passed: questions after it are not answered.
type push struct {
	difference
	facts  Facts
	hash   jwtstore.Hash   // of the stored JWT; zero: none, or it is damaged
	asking context.Context // ends when nats-servers are not asked any more
	took   time.Duration   // how long they were asked so far
	infos  []facts.Info    // what they have said of the account, see askServers
	lines  map[Kind][]Line
}

// add adds a line about the account. connections is 0 if the line is about none. code is stable.
// The format makes the words, in which texts of tenants must be quoted by the caller.
func (p *push) add(k Kind, code string, connections int, format string, args ...any) {
	p.addLine(Line{Kind: k, Code: code, Words: fmt.Sprintf(format, args...),
		Connections: connections})
}

// addLine adds a line.
func (p *push) addLine(l Line) { p.lines[l.Kind] = append(p.lines[l.Kind], l) }

// forecast returns what was found so far.
func (p *push) forecast() (f Forecast) {
	for _, k := range Kinds {
		f.Lines = append(f.Lines, p.lines[k]...)
	}
	for _, i := range p.infos {
		if i.State != facts.Unknown {
			f.Asked = append(f.Asked, i.Server.Name)
		}
	}
	f.Took = p.took
	return f
}

// has reports whether one of these fields changes in a way that has an effect. A limit that is
// raised has none. Example: has("nats.limits.conn").
func (d *difference) has(fields ...string) bool {
	return slices.ContainsFunc(d.changes, func(c claimdiff.Change) bool {
		return c.Effect != claimdiff.None && slices.Contains(fields, c.Field)
	})
}
