package effect

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// cause is why a connection is ended. Connections with the same cause are one line. It is
// comparable: it is the key of a map.
type cause struct {
	reason reason
	of     string // the key of the signing key or the user; "" for other reasons
}

// reason is a kind of cause. Lines are in the order of their reasons. A connection for which
// several hold counts for the first.
type reason int

const (
	keyRemoved    reason = iota
	keyScoped            // the key had no scope, and has one now
	keyUnscoped          // it had a scope, and has none now
	scopeChanged         // anything in its scope differs
	userRevoked          // up to a time that is not before that of the user's JWT
	bearerRefused        // bearer tokens are not allowed, which may have been so before
	subsReached          // it has as many subscriptions as it may, or more
	connExceeded         // above the limit of connections, see conn.go
)

// reasons has the code of the line for each reason, and what becomes of the connections. The verb
// agrees with more than one. %s is the key of the cause. What is said for connExceeded depends on
// how many nats-servers there are.
var reasons = [...]struct{ code, words string }{
	keyRemoved: {"signing_key_removed", "issued by %s: out, and their credentials are worthless"},
	keyScoped: {"signing_key_scoped",
		"issued by %s: out, and their credentials are worthless: they were issued without a role"},
	// The JWT of a user that was issued for a role has no limits of its own, and an absent one is
	// 0.
	keyUnscoped: {"signing_key_unscoped",
		"issued by %s: out and back again and again, with limits of 0: " +
			"they were issued for a role"},
	scopeChanged: {"signing_key_scope_changed",
		"issued by %s: reconnected, and then they get what its role allows now"},
	userRevoked: {"user_revoked", "of user %s: out until the user is issued anew"},
	bearerRefused: {"bearer_refused",
		"with bearer tokens: out, and their credentials are worthless"},
	// A client subscribes again to what it had, up to the limit.
	subsReached: {"subscriptions_reached", "that have as many subscriptions as they may or more: " +
		"out; they come back with a part of these"},
	connExceeded: {code: "connections_exceeded"},
}

// count is how many connections there are, or a cause ends. Leaf nodes are connections of other
// nats-servers.
type count struct{ clients, leafNodes int }

// total counts clients and leaf nodes alike, as the limit of connections does.
func (n count) total() int { return n.clients + n.leafNodes }

// add counts one.
func (n *count) add(c facts.Connection) {
	if c.IsLeaf {
		n.leafNodes++
	} else {
		n.clients++
	}
}

// String is "74 connections and 1 leaf node".
func (n count) String() string {
	clients := claimdiff.Counted(n.clients, "connection", "connections")
	leafNodes := claimdiff.Counted(n.leafNodes, "leaf node", "leaf nodes")
	switch {
	case n.leafNodes == 0:
		return clients
	case n.clients == 0:
		return leafNodes
	}
	return clients + " and " + leafNodes
}

// maxUsers is how many revoked users nats-servers are asked for by name. More of them are looked
// for among all connections.
const maxUsers = 20

// cutFinder finds the connections that a push ends, and what else limits of connections do.
type cutFinder struct {
	*push
	looksAtAll bool // at each connection, however many there are
}

// find finds the connections that the push ends. Single connections are looked at only if it
// matters which they are. Otherwise it is enough how many there are, which INFO has said.
//
// The order: how many connections there are is known from INFO already. needed then says whether
// their details matter, and for which users. More than MaxConnections are looked at only on
// request, since each nats-server builds a list of all.
func (f *cutFinder) find() {
	of, total := connected(f.infos)
	users, isNeeded := f.needed(total)
	if !isNeeded {
		f.findConnCut(f.countExceeding(), total)
		return
	}
	if users == nil && total > MaxConnections && !f.looksAtAll {
		f.add(Unknown, "connections_not_asked", 0, "which of the %s are cut: they are looked at "+
			"one by one with ?connections=true", count{clients: total})
		return
	}
	began := time.Now()
	all := f.facts.Connections(f.asking, f.key, of, users...)
	f.spend(began)
	hint := "; with ?connections=true it has more time"
	if f.looksAtAll {
		hint = ""
	}
	for _, s := range all {
		if s.Reason != "" {
			f.unknown(s.Server, "its connections are not known: "+s.Reason+hint)
		}
	}
	found := f.causes(all)
	f.addCuts(found, all)
	if f.looksAtAll {
		f.findHidden(found, all)
	}
	f.findDefaults(all)
}

// findHidden adds that some connections which stay may have as many subscriptions as they may: that
// can't be known of a user whose JWT nats-servers do not show.
func (f *cutFinder) findHidden(found map[connectionID]cause, all []facts.Connections) {
	hidden := count{}
	for _, s := range all {
		for _, c := range s.All {
			_, isCut := found[idOf(c)]
			hasScope := claimdiff.UserScope(f.pushed.SigningKeys[c.Issuer]) != nil
			if c.IsHidden && !isCut && !hasScope && c.Subscriptions > 0 {
				hidden.add(c)
			}
		}
	}
	if n := hidden.total(); n > 0 {
		f.add(Unknown, "user_limits_hidden", n, "%s with bearer tokens or an authorization "+
			"service: nats-servers do not show how many subscriptions their users may have; those "+
			"that have as many are out with each push", hidden)
	}
}

// needed reports whether single connections have to be looked at, and which users have those; nil:
// all have to. A user that has reached a limit of its own is out with each push, also if nothing
// differs: to find it connections are looked at only if that is asked for. total is how many there
// are. The cases are: no connection, all by request, all by need, all for the sake of revoked
// users, and some by name.
func (f *cutFinder) needed(total int) (users []string, isNeeded bool) {
	users = f.revoked()
	switch {
	case total == 0:
		return nil, false
	case f.looksAtAll:
		return nil, true
	case !reflect.DeepEqual(f.stored.SigningKeys, f.pushed.SigningKeys), f.changesDefaults(),
		f.has("nats.limits.disallow_bearer", "nats.limits.subs"), f.mayReachSubscriptions():
		return nil, true
	case f.has("nats.limits.conn"), len(users) > maxUsers, slices.Contains(users, jwt.All):
		return nil, len(users) > 0
	}
	return users, len(users) > 0
}

// revoked returns the users that the push revokes, or revokes from a later time on. jwt.All stands
// for all of them. A user whose revocation is of the same time as before is none.
func (d *difference) revoked() (users []string) {
	for _, c := range d.changes {
		if c.Field == "nats.revocations{}" && c.Effect != claimdiff.None {
			users = append(users, c.Of)
		}
	}
	return users
}

// mayReachSubscriptions reports whether a connection may have as many subscriptions as it may.
// Those that do are ended with each push.
func (f *cutFinder) mayReachSubscriptions() bool {
	fewest := f.fewestSubscriptions()
	return slices.ContainsFunc(f.infos, func(i facts.Info) bool {
		return i.State == facts.Loaded && int64(i.Subscriptions) >= fewest
	})
}

// fewestSubscriptions returns the lowest limit of subscriptions in the pushed claims.
func (d *difference) fewestSubscriptions() int64 {
	fewest := unlimitedIfNone(d.pushed.Limits.Subs)
	for _, s := range d.pushed.SigningKeys {
		if scope := claimdiff.UserScope(s); scope != nil {
			fewest = min(fewest, unlimitedIfNone(scope.Template.Subs))
		}
	}
	return fewest
}

// unlimitedIfNone returns a limit, as a number that others can be compared with. nats-server takes
// one below -1 for 0, which no number of subscriptions is below either. -1 becomes the greatest
// number.
func unlimitedIfNone(limit int64) int64 {
	if limit == jwt.NoLimit {
		return math.MaxInt64
	}
	return limit
}

// connectionID identifies a connection: each nats-server counts its own.
type connectionID struct {
	server string
	id     uint64
}

// idOf returns the identity of a connection.
func idOf(c facts.Connection) connectionID { return connectionID{c.Server.ID, c.ID} }

// causes returns the connections that the push ends, and why. Others are not in it.
func (d *difference) causes(all []facts.Connections) map[connectionID]cause {
	found := make(map[connectionID]cause)
	for _, s := range all {
		exceeding := d.exceeding(s.All)
		for _, c := range s.All {
			if why, ok := d.causeOf(c); ok {
				found[idOf(c)] = why
			} else if exceeding[c.ID] {
				found[idOf(c)] = cause{reason: connExceeded}
			}
		}
	}
	return found
}

// exceeding returns the connections of one nats-server that are above the limit of connections: the
// newest ones. It counts those too that end for another reason. Each nats-server applies the limit
// to its own connections, so of is of one of them. A limit below 0 that is not unlimited counts as
// 0.
func (d *difference) exceeding(of []facts.Connection) map[uint64]bool {
	most := d.pushed.Limits.Conn
	if most == jwt.NoLimit || int64(len(of)) <= max(0, most) {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(of), func(a, b facts.Connection) int {
		return a.Start.Compare(b.Start)
	})
	exceeding := make(map[uint64]bool)
	for _, c := range sorted[max(0, most):] {
		exceeding[c.ID] = true
	}
	return exceeding
}

// causeOf returns why a connection is ended, whatever others there are. ok is false if it stays.
// Users that the account's own key has issued are not touched by a change of signing keys. A
// signing key that is new has issued none of those that are connected.
//
// The order of the cases is that of the reasons. What the signing key decides comes first, and what
// the number of subscriptions decides last.
func (d *difference) causeOf(c facts.Connection) (why cause, ok bool) {
	stored, was := d.stored.SigningKeys[c.Issuer]
	pushed, is := d.pushed.SigningKeys[c.Issuer]
	bySigningKey := c.Issuer != "" && c.Issuer != d.key
	switch before, now := claimdiff.UserScope(stored), claimdiff.UserScope(pushed); {
	case bySigningKey && was && !is:
		return cause{keyRemoved, c.Issuer}, true
	case bySigningKey && was && before == nil && now != nil:
		return cause{keyScoped, c.Issuer}, true
	case bySigningKey && was && before != nil && now == nil:
		return cause{keyUnscoped, c.Issuer}, true
	case bySigningKey && was && !reflect.DeepEqual(stored, pushed):
		return cause{scopeChanged, c.Issuer}, true
	case d.isRevoked(c):
		return cause{userRevoked, c.User}, true
	case d.pushed.Limits.DisallowBearer && c.IsBearer():
		return cause{reason: bearerRefused}, true
	case int64(c.Subscriptions) >= d.mostSubscriptions(c):
		return cause{reason: subsReached}, true
	}
	return cause{}, false
}

// isRevoked reports whether the push revokes the user of a connection. Of a user whose JWT is not
// shown it is known only that it was issued before the connection was made. jwt.All revokes each
// user whose JWT was issued up to its time.
func (d *difference) isRevoked(c facts.Connection) bool {
	issued := c.IssuedAt
	if c.IsHidden {
		issued = c.Start.Unix()
	}
	return d.pushed.Revocations.IsRevoked(c.User, time.Unix(issued, 0))
}

// mostSubscriptions returns how many subscriptions a connection may have: the lower of the limits
// of the account and of the user. The scope of a signing key stands in for the user's own limit.
func (d *difference) mostSubscriptions(c facts.Connection) int64 {
	own := c.MaxSubscriptions
	if c.IsHidden {
		own = jwt.NoLimit
	}
	if scope := claimdiff.UserScope(d.pushed.SigningKeys[c.Issuer]); scope != nil {
		own = scope.Template.Subs
	}
	return min(unlimitedIfNone(own), unlimitedIfNone(d.pushed.Limits.Subs))
}

// addCuts adds a line for each cause, and one for the limit of connections. The limit of
// connections is left to findConnCut, which needs how many would stay.
func (f *cutFinder) addCuts(found map[connectionID]cause, all []facts.Connections) {
	counts := make(map[cause]*count)
	total := 0
	for _, s := range all {
		for _, c := range s.All {
			total++
			why, isCut := found[idOf(c)]
			if !isCut {
				continue
			}
			if counts[why] == nil {
				counts[why] = new(count)
			}
			counts[why].add(c)
		}
	}
	sorted := slices.SortedFunc(maps.Keys(counts), func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.reason, b.reason),
			cmp.Compare(counts[b].total(), counts[a].total()), strings.Compare(a.of, b.of))
	})
	atOnce := 0
	for _, why := range sorted {
		if why.reason == connExceeded {
			atOnce = counts[why].total()
			continue
		}
		f.addCut(why, *counts[why])
	}
	f.findConnCut(atOnce, total-len(found)+atOnce)
}

// addCut adds the line of a cause. It is one line with the number of connections and the key in
// short.
func (f *cutFinder) addCut(why cause, n count) {
	of := reasons[why.reason]
	words := of.words
	if why.of != "" {
		words = fmt.Sprintf(words, claimdiff.Key(why.of))
	}
	f.add(Cut, of.code, n.total(), "%s %s", n, words)
}
