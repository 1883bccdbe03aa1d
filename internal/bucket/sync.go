package bucket

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/pause"
)

// syncing is what is known of how the nats-servers of the bucket sync their disks. Only the system account
// of their cluster can ask them.
type syncing struct {
	mu      sync.Mutex
	cluster cluster         // of the stream
	always  map[string]bool // by server; one that has not answered is not in it
	text    string          // see get
	told    string          // what was logged last
}

// syncInterval is how often the nats-servers are asked.
const syncInterval = 10 * time.Second

// syncTimeout bounds one question.
const syncTimeout = time.Second

// get returns which nats-server does not sync each change, and why that matters; "" if all do that have
// answered.
func (y *syncing) get() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.text
}

// refusing returns why pushes are refused; "" if they are not.
func (s *Store) refusing() string {
	if s.Sync != SyncRequire {
		return ""
	}
	return s.syncing.get()
}

// ServeSystem asks over a connection of the system account how the nats-servers of the bucket sync, until
// ctx ends. If they are other servers than those of this system account none of them answers: then it is not
// known, which refuses nothing.
func (s *Store) ServeSystem(ctx context.Context, nc *nats.Conn) {
	for first := true; ctx.Err() == nil && s.Sync != SyncOff; first = false {
		s.askSync(ctx, nc)
		s.waitToAsk(ctx, first)
	}
}

// serveOwn asks over the connection of the bucket as well. Its account may import the subject from the
// system account. If no nats-server answers it does not, or the user may not ask: then it is not asked again,
// since nats-server logs each attempt.
func (s *Store) serveOwn(ctx context.Context, nc *nats.Conn) {
	for first := true; ctx.Err() == nil && s.Sync != SyncOff; first = false {
		if !s.askSync(ctx, nc) && first {
			return
		}
		s.waitToAsk(ctx, first)
	}
}

// waitToAsk waits between two questions.
func (s *Store) waitToAsk(ctx context.Context, first bool) {
	wait := syncInterval
	if first || !s.knowsCluster() {
		wait = infoInterval // the stream may not be known yet
	}
	pause.For(ctx, wait)
}

// knowsCluster reports whether it is known which nats-servers keep the bucket.
func (s *Store) knowsCluster() bool {
	s.syncing.mu.Lock()
	defer s.syncing.mu.Unlock()
	return s.syncing.cluster.Leader != ""
}

// checkSync records which nats-servers keep the bucket.
func (s *Store) checkSync(i stream) {
	s.syncing.mu.Lock()
	defer s.syncing.mu.Unlock()
	if i.Cluster.Leader != "" {
		s.syncing.cluster = i.Cluster
	}
	s.judgeSyncLocked()
}

// jszAnswer is what a nats-server says of its JetStream.
type jszAnswer struct {
	Server struct {
		Name    string `json:"name"`
		Cluster string `json:"cluster"`
	} `json:"server"`
	Data *struct {
		Disabled bool `json:"disabled"`
		Config   struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	} `json:"data"`
}

// askSync asks all nats-servers of the cluster that nc is connected to, and reports whether one has
// answered.
func (s *Store) askSync(ctx context.Context, nc *nats.Conn) (answered bool) {
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return false
	}
	defer inbox.Unsubscribe()
	if nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", inbox.Subject, nil) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	always := map[string]bool{}
	for m, err := inbox.NextMsgWithContext(ctx); err == nil; m, err = inbox.NextMsgWithContext(ctx) {
		var a jszAnswer
		if json.Unmarshal(m.Data, &a) != nil || a.Data == nil {
			continue
		}
		answered = true
		if !a.Data.Disabled {
			always[a.Server.Cluster+" "+a.Server.Name] = a.Data.Config.SyncAlways
		}
	}
	s.syncing.mu.Lock()
	defer s.syncing.mu.Unlock()
	// The two connections may be to two clusters.
	maps.Copy(s.syncing.always, always)
	s.judgeSyncLocked()
	return answered
}

// judgeSyncLocked brings the text up to date and logs it if it is another one. s.syncing.mu must be
// held.
func (s *Store) judgeSyncLocked() {
	y := &s.syncing
	var lazy []string
	for _, name := range y.cluster.servers() {
		if isAlways, answered := y.always[y.cluster.Name+" "+name]; answered && !isAlways {
			lazy = append(lazy, name)
		}
	}
	slices.Sort(lazy)
	if y.text = ""; len(lazy) > 0 {
		y.text = fmt.Sprintf("not all nats-servers of the bucket sync each change (%s): a power cut takes "+
			"what was acknowledged; set jetstream { sync_interval: always } there",
			strings.Join(lazy, ", "))
	}
	if y.text == y.told {
		return
	}
	switch y.told = y.text; {
	case y.text == "":
		s.Log.Info("all nats-servers of the bucket sync each change now")
	case s.Sync == SyncRequire:
		s.Log.Error("pushes are refused: " + y.text)
	default:
		s.Log.Warn(y.text)
	}
}
