// Package effect foretells what a push of account claims does to those who are connected now, in this
// account and in others.
//
//	cut       connections are ended by the push
//	stop      messages no longer arrive, or publishes are refused; connections stay
//	starts    imports that did nothing begin to work
//	later     only new connections, streams and the like see it
//	lost      what is lost with every push of the account: replies in flight
//	unknown   what no nats-server has said
//
// It knows the claims, which accounts import from this one (the index), and what nats-servers say of it
// (package facts): INFO always, the connections and JetStream only if the difference needs them. What it
// says is proven against nats-server by the tests of this package, a row for each field that has an
// effect.
package effect

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
)

// Kind is a kind of effect.
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

var kinds = []Kind{Cut, Stop, Starts, Later, Lost, Unknown}

// Line is one effect.
type Line struct {
	Kind Kind   `json:"kind"`
	Code string `json:"code"` // a stable name, such as "signing_key_removed"
	// Account and Name are the public key and the name of the other account that it is about. They are empty
	// for the account itself. The name is a tenant's text.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	Words   string `json:"words"` // one clause on one line, without the name
	// Connections is how many connections it is about, those of leaf nodes included. 0: none, or it is not
	// known.
	Connections int `json:"connections,omitempty"`
}

// Warning returns what a push is warned of because of the line: a kind and the text, or "" for nothing.
func (l Line) Warning() (kind, text string) {
	switch l.Code {
	case "connections_exceeded", "leaf_nodes_exceeded", "subscriptions_reached", "storage_exceeded":
		return KindAboveUse, "more is used than the limit allows: " + l.Words
	case "jetstream_left_out":
		return KindIncomplete, l.Words
	}
	return "", ""
}

// The kinds of warnings.
const (
	KindAboveUse   = "above_use"
	KindIncomplete = "incomplete"
)

// Forecast is what a push does.
type Forecast struct {
	Lines []Line        // by kind
	Asked []string      // names of the nats-servers that have answered
	Took  time.Duration // of asking them
}

// Options says what a Forecast may cost.
type Options struct {
	// Connections has the connections looked at one by one also if there are more than MaxConnections.
	Connections bool
}

const (
	// MaxConnections is how many connections are looked at without being asked for.
	MaxConnections = 5000
	// usualLimit is how long nats-servers are asked, and connectionsLimit is that if all connections are
	// looked at.
	usualLimit       = 500 * time.Millisecond
	connectionsLimit = 15 * time.Second
	// pushLimit is how long they are asked after a push, and capacityAge how long an answer counts then.
	pushLimit   = 200 * time.Millisecond
	capacityAge = time.Second
)

// Importers says which accounts import from one. *jwtstore.Index meets it.
type Importers interface {
	Importers(key string) iter.Seq[jwtstore.Importer]
}

// Accounts has the JWTs that are stored. *accounts.Registry meets it.
type Accounts interface {
	GetLocal(ctx context.Context, key string) (*accounts.Account, error)
}

// Facts asks nats-servers. *facts.Asker meets it.
type Facts interface {
	Info(ctx context.Context, key string) []facts.Info
	Connections(ctx context.Context, key string, of []facts.Server, users ...string) []facts.Connections
	JetStream(ctx context.Context, key string) []facts.JetStream
	Capacity(ctx context.Context, maxAge time.Duration) []facts.Capacity
}

// Foreteller makes Forecasts. It may be used from any goroutine.
type Foreteller struct {
	Importers Importers
	Accounts  Accounts
	Facts     Facts // nil: no nats-server is asked
	// Limit is how long nats-servers are asked, all together; 0 means 500 ms.
	Limit time.Duration
}

// Of returns what a push of claims does. stored is what is stored for the account, nil if nothing is. The
// error is that of ctx.
func (f *Foreteller) Of(
	ctx context.Context, stored, pushed *jwt.AccountClaims, o Options,
) (Forecast, error) {
	p := f.begin(stored, pushed)
	if stored != nil {
		if a, err := f.Accounts.GetLocal(ctx, p.key); err == nil {
			p.hash = a.Hash
		}
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

// OfStorage returns what the limits of JetStream do of claims that are pushed just now. Pushes that follow
// each other ask once what nats-servers have.
func (f *Foreteller) OfStorage(ctx context.Context, stored, pushed *jwt.AccountClaims) Forecast {
	p := f.begin(stored, pushed)
	var cancel context.CancelFunc
	p.asking, cancel = context.WithTimeout(ctx, pushLimit)
	defer cancel()
	(&storageFinder{p}).find()
	(&capacityFinder{p, &claimReader{ctx, f.Accounts}, capacityAge}).find()
	return p.forecast()
}

// begin begins a Forecast.
func (f *Foreteller) begin(stored, pushed *jwt.AccountClaims) *push {
	d := difference{key: pushed.Subject, stored: stored, pushed: pushed,
		changes: claimdiff.Diff(stored, pushed), now: time.Now()}
	if stored == nil {
		d.stored = jwt.NewAccountClaims(d.key)
	}
	return &push{difference: d, facts: f.Facts, lines: make(map[Kind][]Line)}
}

// difference is what a push changes in the claims of an account.
type difference struct {
	key            string
	stored, pushed *jwt.AccountClaims // not nil
	changes        []claimdiff.Change
	now            time.Time
}

// push is one Forecast in the making: what nats-servers have said, and what was found.
type push struct {
	difference
	facts  Facts           // nil: no nats-server is asked
	hash   jwtstore.Hash   // of the stored JWT; zero: it is not known
	asking context.Context // ends when nats-servers are not asked any more
	took   time.Duration
	infos  []facts.Info
	lines  map[Kind][]Line
}

// add adds a line.
func (p *push) add(k Kind, code string, connections int, format string, args ...any) {
	p.addOf(k, code, "", "", connections, fmt.Sprintf(format, args...))
}

// addOf adds a line about another account.
func (p *push) addOf(k Kind, code, account, name string, connections int, words string) {
	p.lines[k] = append(p.lines[k], Line{k, code, account, name, words, connections})
}

// forecast returns what was found.
func (p *push) forecast() (f Forecast) {
	for _, k := range kinds {
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

// has reports whether the difference has a change of one of these fields that harms.
func (d *difference) has(fields ...string) bool {
	for _, c := range d.changes {
		for _, field := range fields {
			if c.Field == field && c.Effect != claimdiff.None {
				return true
			}
		}
	}
	return false
}
