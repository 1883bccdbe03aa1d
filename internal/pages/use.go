package pages

import (
	"context"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/facts"
	"nats-account-server/internal/monitor"
)

const (
	// askTimeout bounds the wait for what nats-servers say of an account. They answer within milliseconds.
	askTimeout = 300 * time.Millisecond
	// listTimeout is askTimeout for the list of accounts.
	listTimeout = 100 * time.Millisecond
	// maxAsked is how often nats-servers are asked in a second, on average. Every page of an account that is
	// shown asks.
	maxAsked = 20
)

// Asker asks nats-servers about an account. *facts.Asker meets it.
type Asker interface {
	Info(ctx context.Context, key string) []facts.Info
	JetStream(ctx context.Context, key string) []facts.JetStream
	Connected(ctx context.Context, keys []string) []facts.Connected
}

// use is what is in use of an account, as nats-servers have said a moment ago.
type use struct {
	Of       string // whose use it is; "" if it is not known
	byField  map[string]used
	byServer map[string]facts.Info
}

// used is what is in use of a limit.
type used struct {
	text, under   string
	amount, limit int64 // limit is 0 if there is none
}

// use asks nats-servers what is in use.
func (s *Site) use(ctx context.Context, key string, d monitor.Detail) (u use) {
	if s.asker == nil || d.Claims == nil || !s.asking.Allow() {
		return u
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	u.byServer = make(map[string]facts.Info)
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
	limits, all := d.Claims.Limits, clients+leafs
	u.byField = map[string]used{
		"nats.limits.conn": {text: count(all), amount: int64(all), limit: limits.Conn},
		"nats.limits.leaf": {text: count(leafs), amount: int64(leafs), limit: limits.LeafNodeConn},
	}
	if loaded > 0 && limits.IsJSEnabled() && len(limits.JetStreamTieredLimits) == 0 {
		u.addJetStream(limits.JetStreamLimits, s.asker.JetStream(ctx, key))
	}
	return u
}

// addConnections asks nats-servers how many connections the accounts of the list have.
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

// addJetStream adds what is stored. A replica counts as much as the first one.
func (u *use) addJetStream(limits jwt.JetStreamLimits, all []facts.JetStream) {
	var disk, memory uint64
	streams := make(map[string]bool)
	for _, j := range all {
		if j.Reason != "" {
			return // what is known would be too little
		}
		disk, memory = disk+j.Disk, memory+j.Memory
		for _, stream := range j.Streams {
			streams[stream.Name] = true
		}
	}
	u.byField["nats.limits.disk_storage"] = used{text: size(int64(disk)), amount: int64(disk),
		limit: limits.DiskStorage}
	u.byField["nats.limits.mem_storage"] = used{text: size(int64(memory)), amount: int64(memory),
		limit: limits.MemoryStorage}
	u.byField["nats.limits.streams"] = used{text: count(len(streams)), amount: int64(len(streams)),
		limit: limits.Streams}
}

// sumOf says whose use was summed up.
func sumOf(known, all int) string {
	switch {
	case known < all:
		return "sum of " + count(known) + " of " + counted(all, "nats-server", "nats-servers")
	case all == 1:
		return "on the only nats-server"
	}
	return "sum of " + count(all) + " nats-servers"
}

// addTo adds what a nats-server has said to what is known of it.
func (u use) addTo(row *deliveryRow, server string) {
	i, found := u.byServer[server]
	if !found || i.State == facts.Unknown {
		return
	}
	row.Connections = count(i.Total())
}
