package effect

import (
	"fmt"
	"math"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// findConnCut adds what the limits of connections and leaf nodes do. atOnce is how many connections the
// nats-servers end by themselves, each above the limit, and left is how many there are without those that
// end for another reason.
func (p *push) findConnCut(atOnce, left int) {
	p.findLeafCut()
	if p.pushed.Limits.Conn == jwt.NoLimit {
		return
	}
	most := max(0, p.pushed.Limits.Conn)
	of, _ := loaders(p.infos)
	// In a cluster they exchange their counts within 30 seconds, and end what is too many together.
	all := atOnce + max(0, left-atOnce-int(min(most, math.MaxInt32)))
	switch {
	case all > 0 && len(of) == 1:
		p.add(Cut, "connections_exceeded", all, "%d of %s, the newest: there may be %s", all,
			count{clients: left}, claimdiff.Count(most))
	case all > 0:
		p.add(Cut, "connections_exceeded", all, "at least %d of %s, the newest of each nats-server, within "+
			"30 seconds: there may be %s on all together", all, count{clients: left}, claimdiff.Count(most))
	case p.has("nats.limits.conn"):
		p.add(Later, "connections_limited", 0, "new connections above %s are refused; %s that stay",
			claimdiff.Count(most), isOrAre(left))
	}
}

// countExceeding returns how many connections nats-servers have above the limit, each by itself.
func (p *push) countExceeding() (n int) {
	if p.pushed.Limits.Conn == jwt.NoLimit {
		return 0
	}
	for _, i := range p.infos {
		n += max(0, i.Total()-int(max(0, min(p.pushed.Limits.Conn, math.MaxInt32))))
	}
	return n
}

// isOrAre is "there are 22".
func isOrAre(n int) string {
	switch n {
	case 0:
		return "there is none"
	case 1:
		return "there is 1"
	}
	return fmt.Sprintf("there are %d", n)
}

// findLeafCut adds what the limit of leaf nodes does. One nats-server alone ends none.
func (p *push) findLeafCut() {
	if !p.has("nats.limits.leaf") {
		return
	}
	of, leafNodes := 0, 0
	for _, i := range p.infos {
		if i.State == facts.Loaded {
			of, leafNodes = of+1, leafNodes+i.LeafNodes
		}
	}
	most := int(max(0, min(p.pushed.Limits.LeafNodeConn, int64(leafNodes))))
	surplus := leafNodes - most
	if surplus > 0 && of > 1 {
		p.add(Cut, "leaf_nodes_exceeded", surplus, "at least %s within 30 seconds: there may be %d on all "+
			"nats-servers together", count{leafNodes: surplus}, p.pushed.Limits.LeafNodeConn)
		return
	}
	p.add(Later, "leaf_nodes_limited", 0, "new leaf nodes above %d are refused; %s now, which %s connected",
		max(0, p.pushed.Limits.LeafNodeConn), isOrAre(leafNodes), stayOrStays(leafNodes))
}

// stayOrStays is the verb for so many.
func stayOrStays(n int) string {
	if n == 1 {
		return "stays"
	}
	return "stay"
}
