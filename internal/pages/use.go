package pages

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/facts"
	"nats-account-server/internal/monitor"
)

const (
	// askTimeout bounds the wait for what nats-servers say of an account. They answer within
	// milliseconds, and a page without what they say is better than none.
	askTimeout = 300 * time.Millisecond
	// listTimeout is askTimeout for the list of accounts.
	listTimeout = 100 * time.Millisecond
	// maxAsked is how often nats-servers are asked in a second, on average. Every page of an
	// account that is shown asks.
	maxAsked = 20
)

// Asker asks nats-servers about an account. *facts.Asker meets it. An answer that does not come in
// time is left out, or has the State Unknown or a Reason.
type Asker interface {
	Info(ctx context.Context, key string) []facts.Info
	JetStream(ctx context.Context, key string) []facts.JetStream
	Connected(ctx context.Context, keys []string) []facts.Connected
}

// use is what is in use of an account, as nats-servers have said a moment ago. The zero value says
// that nothing is known. The page shows "not known" as nothing.
type use struct {
	Of string // whose use it is; "" if it is not known
	// byField is by the path of the limit in the claims, as claimdiff.Item.Field:
	// "nats.limits.conn".
	byField  map[string]used
	byServer map[string]facts.Info // by the name of the nats-server
}

// used is what is in use of a limit.
type used struct {
	text          string // amount in words
	amount, limit int64  // limit is 0 or below if there is none
}

// use asks nats-servers what is in use: INFO of all, and JSZ if the account has JetStream. It is
// not known if nats-servers were asked too often. The sum is of those that have answered. An
// account that no nats-server has loaded has no connections, which is known.
func (s *Site) use(ctx context.Context, key string, d monitor.Detail) (u use) {
	if s.asker == nil || d.Claims == nil || !s.asking.Allow() {
		return u
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	u.byServer = make(map[string]facts.Info)
	// loaded counts the nats-servers that have the account in memory; known counts those too that
	// say they have not.
	clients, leafs, loaded, known := 0, 0, 0, 0
	for _, i := range s.asker.Info(ctx, key) {
		u.byServer[i.Server.Name] = i
		switch i.State {
		case facts.Loaded:
			loaded++
			clients, leafs = clients+i.Clients, leafs+i.LeafNodes
		case facts.Unknown:
			continue
		}
		known++
	}
	if known == 0 {
		return u
	}
	u.Of = "in use: " + sumOf(known, len(u.byServer))
	// nats-server counts leaf nodes as connections too.
	limits, all := d.Claims.Limits, clients+leafs
	u.byField = map[string]used{
		"nats.limits.conn": {count(all), int64(all), limits.Conn},
		"nats.limits.leaf": {count(leafs), int64(leafs), limits.LeafNodeConn},
	}
	if loaded > 0 && limits.IsJSEnabled() && len(limits.JetStreamTieredLimits) == 0 {
		u.addJetStream(limits.JetStreamLimits, s.asker.JetStream(ctx, key))
	}
	return u
}

// addConnections asks nats-servers how many connections the accounts of a page of the list have,
// with one request for all of them (facts.Asker.Connected). Nothing is added if none answers.
// Accounts without connections have none in the answer, so 0 is known for them.
func (s *Site) addConnections(ctx context.Context, l *list) {
	if s.asker == nil || len(l.Rows) == 0 || !s.asking.Allow() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var keys []string
	for _, row := range l.Rows {
		keys = append(keys, row.Key)
	}
	answers, known, sum := s.asker.Connected(ctx, keys), 0, make(map[string]int)
	for _, a := range answers {
		if a.Reason != "" {
			continue
		}
		known++
		for key, n := range a.ByAccount {
			sum[key] += n
		}
	}
	if known == 0 {
		return
	}
	l.Counted = "connections: " + sumOf(known, len(answers))
	for i := range l.Rows {
		l.Rows[i].Connections = count(sum[l.Rows[i].Key])
	}
}

// addJetStream adds what is stored, if all nats-servers have said it. Each of a cluster says what
// all of them store together, in all replicas, and some have heard of the last messages later. So
// the greatest number counts, as it does for the limits at each nats-server.
func (u *use) addJetStream(limits jwt.JetStreamLimits, all []facts.JetStream) {
	var disk, memory uint64
	streams := make(map[string]bool)
	for _, j := range all {
		if j.Reason != "" {
			return // what is known would be too little
		}
		disk, memory = max(disk, j.Disk), max(memory, j.Memory)
		for _, stream := range j.Streams {
			streams[stream.Name] = true
		}
	}
	u.byField["nats.limits.disk_storage"] = used{size(int64(disk)), int64(disk), limits.DiskStorage}
	u.byField["nats.limits.mem_storage"] = used{size(int64(memory)), int64(memory),
		limits.MemoryStorage}
	u.byField["nats.limits.streams"] = used{count(len(streams)), int64(len(streams)),
		limits.Streams}
}

// sumOf says whose use was summed up. Example: "sum of 2 of 3 nats-servers".
func sumOf(known, all int) string {
	switch {
	case known < all:
		return "sum of " + count(known) + " of " + counted(all, "nats-server", "nats-servers")
	case all == 1:
		return "on the only nats-server"
	}
	return "sum of " + count(all) + " nats-servers"
}

// addTo adds the connections of a nats-server to what has become of the account there. A
// nats-server that has not answered leaves the row as it is.
func (u use) addTo(row *deliveryRow, server string) {
	i, found := u.byServer[server]
	if !found || i.State == facts.Unknown {
		return
	}
	row.Connections = count(i.Total())
}
