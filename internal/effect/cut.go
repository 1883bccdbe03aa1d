package effect

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// cause is why a connection is ended. Its order is that of the lines. A connection with several causes
// counts for the first.
type cause struct {
	code causeCode
	of   string // key of the signing key or the user
}

type causeCode int

const (
	keyRemoved causeCode = iota
	keyScoped            // it was plain, and has a scope now
	keyUnscoped
	scopeChanged
	userRevoked
	bearerRefused
	subsReached
	connExceeded
)

// causeCodes are the codes of their lines.
var causeCodes = [...]string{
	"signing_key_removed", "signing_key_scoped", "signing_key_unscoped", "signing_key_scope_changed",
	"user_revoked", "bearer_refused", "subscriptions_reached", "connections_exceeded",
}

// causeWords say what becomes of the connections. The verb agrees with more than one.
var causeWords = [...]string{
	"issued by %s: out, and their credentials are worthless",
	"issued by %s: out, and their credentials are worthless: they were issued without a role",
	"issued by %s: out and back again and again, with limits of 0: they were issued for a role",
	"issued by %s: reconnected, and then they get what its role allows now",
	"of %s: out until the user is issued anew",
	"with bearer tokens: out, and their credentials are worthless",
	"that have as many subscriptions as they may or more: out; they come back with a part of these",
	"above the limit of %s, the newest ones: out",
}

// count is how many connections a cause ends.
type count struct{ clients, leafNodes int }

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
	clients := countOf(n.clients, "connection")
	leafNodes := countOf(n.leafNodes, "leaf node")
	switch {
	case n.leafNodes == 0:
		return clients
	case n.clients == 0:
		return leafNodes
	}
	return clients + " and " + leafNodes
}

// maxUsers is how many users are asked for one by one. More of them are looked for among all.
const maxUsers = 20

// cutFinder finds the connections that a push ends, and what else limits of connections do.
type cutFinder struct {
	*push
	looksAtAll bool // at each connection, however many there are
}

// find finds the connections that the push ends.
func (f *cutFinder) find() {
	of, total := loaders(f.infos)
	users, isNeeded := f.needed(total)
	if !isNeeded {
		f.findConnCut(f.countExceeding(), total)
		return
	}
	if users == nil && total > MaxConnections && !f.looksAtAll {
		f.add(Unknown, "connections_not_asked", 0, "which of the %s are cut: they are looked at one by one "+
			"with ?connections=true", count{clients: total})
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
	f.addCuts(f.causes(all), all)
	f.findDefaults(all)
}

// needed reports whether single connections have to be looked at, and which users have those; nil: all have
// to. total is how many there are.
func (f *cutFinder) needed(total int) (users []string, isNeeded bool) {
	users = f.revoked()
	switch {
	case total == 0:
		return nil, false
	case !reflect.DeepEqual(f.stored.SigningKeys, f.pushed.SigningKeys), f.changesDefaults(),
		f.has("nats.limits.disallow_bearer", "nats.limits.subs"), f.mayReachSubscriptions():
		return nil, true
	case f.has("nats.limits.conn"), len(users) > maxUsers, slices.Contains(users, jwt.All):
		return nil, len(users) > 0
	}
	return users, len(users) > 0
}

// revoked returns the users that the push revokes.
func (d *difference) revoked() (users []string) {
	for _, c := range d.changes {
		if c.Field == "nats.revocations{}" && c.Effect != claimdiff.None {
			users = append(users, c.Of)
		}
	}
	return users
}

// mayReachSubscriptions reports whether a connection may have as many subscriptions as it may. Those that do
// are ended with each push.
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
		if scope := userScope(s); scope != nil {
			fewest = min(fewest, unlimitedIfNone(scope.Template.Subs))
		}
	}
	return fewest
}

// unlimitedIfNone returns a limit, as a number that others can be compared with.
func unlimitedIfNone(limit int64) int64 {
	if limit == jwt.NoLimit {
		return math.MaxInt64
	}
	return limit
}

// userScope returns the scope of a signing key, nil if it has none.
func userScope(s jwt.Scope) *jwt.UserScope {
	scope, _ := s.(*jwt.UserScope)
	return scope
}

// connectionID identifies a connection.
type connectionID struct {
	server string
	id     uint64
}

// idOf returns the identity of a connection.
func idOf(c facts.Connection) connectionID { return connectionID{c.Server.ID, c.ID} }

// causes returns the connections that the push ends, and why.
func (d *difference) causes(all []facts.Connections) map[connectionID]cause {
	found := make(map[connectionID]cause)
	for _, s := range all {
		exceeding := d.exceeding(s.All)
		for _, c := range s.All {
			if why, ok := d.causeOf(c); ok {
				found[idOf(c)] = why
			} else if exceeding[c.ID] {
				found[idOf(c)] = cause{code: connExceeded}
			}
		}
	}
	return found
}

// exceeding returns the connections of one nats-server that are above the limit of connections: the newest
// ones. It counts those too that end for another reason.
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

// causeOf returns why a connection is ended, whatever others there are.
func (d *difference) causeOf(c facts.Connection) (why cause, ok bool) {
	stored, was := d.stored.SigningKeys[c.Issuer]
	pushed, is := d.pushed.SigningKeys[c.Issuer]
	bySigningKey := c.Issuer != "" && c.Issuer != d.key
	switch before, now := userScope(stored), userScope(pushed); {
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
		return cause{code: bearerRefused}, true
	case int64(c.Subscriptions) >= d.mostSubscriptions(c):
		return cause{code: subsReached}, true
	}
	return cause{}, false
}

// isRevoked reports whether the push revokes the user of a connection. Of a user whose JWT is not shown it
// is known only that it was issued before the connection was made.
func (d *difference) isRevoked(c facts.Connection) bool {
	issued := c.IssuedAt
	if c.IsHidden {
		issued = c.Start.Unix()
	}
	return d.pushed.Revocations.IsRevoked(c.User, time.Unix(issued, 0))
}

// mostSubscriptions returns how many subscriptions a connection may have, as nats-server counts.
func (d *difference) mostSubscriptions(c facts.Connection) int64 {
	own := c.MaxSubscriptions
	if c.IsHidden {
		own = jwt.NoLimit
	}
	if scope := userScope(d.pushed.SigningKeys[c.Issuer]); scope != nil {
		own = scope.Template.Subs
	}
	return min(unlimitedIfNone(own), unlimitedIfNone(d.pushed.Limits.Subs))
}

// addCuts adds a line for each cause, and one for the limit of connections.
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
	sorted := make([]cause, 0, len(counts))
	for why := range counts {
		sorted = append(sorted, why)
	}
	slices.SortFunc(sorted, func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(counts[b].total(), counts[a].total()),
			strings.Compare(a.of, b.of))
	})
	atOnce := 0
	for _, why := range sorted {
		if why.code == connExceeded {
			atOnce = counts[why].total()
			continue
		}
		f.addCut(why, *counts[why])
	}
	f.findConnCut(atOnce, total-len(found)+atOnce)
}

// addCut adds the line of a cause.
func (f *cutFinder) addCut(why cause, n count) {
	words := causeWords[why.code]
	if strings.Contains(words, "%s") {
		of := claimdiff.Key(why.of)
		if why.code == userRevoked {
			of = "user " + of
		}
		words = fmt.Sprintf(words, of)
	}
	f.add(Cut, causeCodes[why.code], n.total(), "%s %s", n, words)
}
