package effect

import (
	"fmt"
	"math"
	"slices"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// findConnCut adds what the limits of connections and leaf nodes do. atOnce is how many connections
// the nats-servers end by themselves, each above the limit, and left is how many there are without
// those that end for another reason.
func (f *cutFinder) findConnCut(atOnce, left int) {
	f.findLeafCut()
	if f.pushed.Limits.Conn == jwt.NoLimit {
		return
	}
	most := max(0, f.pushed.Limits.Conn)
	of, _ := connected(f.infos)
	// In a cluster they exchange their counts within 30 seconds, and end what is too many together.
	all := atOnce + max(0, left-atOnce-int(min(most, math.MaxInt32)))
	ended := claimdiff.Count(all)
	switch {
	case all > 0 && most == 0:
		f.add(Cut, "connections_exceeded", all, "%s: there may be none", count{clients: left})
	case all > 0 && len(of) == 1:
		f.add(Cut, "connections_exceeded", all, "%s of %s, the newest: there may be %s", ended,
			count{clients: left}, claimdiff.Count(most))
	case all > 0:
		f.add(Cut, "connections_exceeded", all, "at least %s of %s, the newest of each "+
			"nats-server, within 30 seconds: there may be %s on all together", ended,
			count{clients: left}, claimdiff.Count(most))
	case f.has("nats.limits.conn"):
		f.add(Later, "connections_limited", 0, "%s; %s", newAbove("connections", most),
			f.staying(left))
	}
}

// countExceeding returns how many connections nats-servers have above the limit, each by itself.
// When a nats-server gets the JWT, it compares the limit with its own connections only. Each one
// ends its newest connections until the limit holds.
func (f *cutFinder) countExceeding() (n int) {
	if f.pushed.Limits.Conn == jwt.NoLimit {
		return 0
	}
	for _, i := range f.infos {
		n += max(0, i.Total()-int(max(0, min(f.pushed.Limits.Conn, math.MaxInt32))))
	}
	return n
}

// isOrAre is "there are 22", as nats-servers have said or not.
func isOrAre(n int) string {
	switch n {
	case 0:
		return "there is none"
	case 1:
		return "there is 1"
	}
	return "there are " + claimdiff.Count(n)
}

// findLeafCut adds what the limit of leaf nodes does. One nats-server alone ends none: leaf nodes
// are counted when they connect, and again when the nats-servers of a cluster exchange their
// counts.
func (f *cutFinder) findLeafCut() {
	if !f.has("nats.limits.leaf") {
		return
	}
	of, leafNodes := 0, 0
	for _, i := range f.infos {
		if i.State == facts.Loaded {
			of, leafNodes = of+1, leafNodes+i.LeafNodes
		}
	}
	most := int(max(0, min(f.pushed.Limits.LeafNodeConn, int64(leafNodes))))
	surplus := leafNodes - most
	if surplus > 0 && of > 1 {
		f.add(Cut, "leaf_nodes_exceeded", surplus, "at least %s within 30 seconds: there may be "+
			"%d on all nats-servers together", count{leafNodes: surplus},
			f.pushed.Limits.LeafNodeConn)
		return
	}
	f.add(Later, "leaf_nodes_limited", 0, "%s; %s",
		newAbove("leaf nodes", max(0, f.pushed.Limits.LeafNodeConn)), f.staying(leafNodes))
}

// newAbove is "new connections above 5 are refused". most is 0 if there may be none.
func newAbove(what string, most int64) string {
	if most == 0 {
		return "new " + what + " are refused"
	}
	return fmt.Sprintf("new %s above %s are refused", what, claimdiff.Count(most))
}

// there is isOrAre of what nats-servers have said. If one has not, there may be more.
func (p *push) there(n int) string {
	isKnown := len(p.infos) > 0 && !slices.ContainsFunc(p.infos, func(i facts.Info) bool {
		return i.State == facts.Unknown
	})
	switch {
	case isKnown:
		return isOrAre(n)
	case n == 0:
		return "it is not known how many there are"
	case n == 1:
		return "at least 1 is known"
	}
	return "at least " + claimdiff.Count(n) + " are known"
}

// staying is "there are 22, which stay".
func (p *push) staying(n int) string {
	switch n {
	case 0:
		return p.there(n) + " now"
	case 1:
		return p.there(n) + ", which stays"
	}
	return p.there(n) + ", which stay"
}
