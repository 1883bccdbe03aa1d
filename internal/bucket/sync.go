package bucket

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/pause"
)

// syncing is what is known of how the nats-servers of the bucket sync their disks. Only the system
// account of their cluster can ask them.
//
// A key of always is the name of the cluster and that of the nats-server, for example "kv kv1".
// Answers are kept for the life of the process: a nats-server that stops keeps its last one.
type syncing struct {
	rule Sync
	log  *slog.Logger

	mu      sync.Mutex      // guards what follows
	asked   bool            // once, and the time for answers is over
	cluster cluster         // of the stream
	always  map[string]bool // by server; one that has not answered is not in it
	text    string          // see refusing; it was logged
}

// syncInterval is how often the nats-servers are asked.
const syncInterval = 10 * time.Second

// syncTimeout bounds one question. All that time is waited, since it is not known how many will
// answer.
const syncTimeout = time.Second

// refusing returns why pushes are refused: which nats-server does not sync each change, and why
// that matters. It is "" if they are not refused. Those that have not answered refuse nothing.
func (y *syncing) refusing() string {
	if y.rule != SyncRequire {
		return ""
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.text
}

// unknown returns of which nats-servers of the bucket it is not known whether they sync each change;
// "" if it is known of all, or does not matter.
func (y *syncing) unknown() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.rule == SyncOff || !y.asked || y.cluster.Leader == "" {
		return ""
	}
	names := slices.DeleteFunc(y.cluster.servers(), func(name string) bool {
		_, answered := y.always[y.cluster.Name+" "+name]
		return answered
	})
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("it is not known whether all nats-servers of the bucket sync each change "+
		"(not of %s): let the account of the bucket import %s from their system account, or set "+
		"nats.servers of the same cluster", strings.Join(names, ", "), subjectJSZ)
}

// serve asks over a connection how the nats-servers of the bucket sync, until ctx ends. It is that
// of the system account, or isOwn: that of the bucket, whose account may import the subject from the
// system account. If no nats-server answers, that account does not import it, or the user may not
// ask: then it is not asked again, since nats-server logs each attempt. An import is noticed with
// the next connection.
func (y *syncing) serve(ctx context.Context, nc *nats.Conn, isOwn bool) {
	for first := true; ctx.Err() == nil && y.rule != SyncOff; first = false {
		if !y.ask(ctx, nc) && first && isOwn {
			return
		}
		wait := syncInterval
		if first || !y.knowsCluster() {
			wait = infoInterval // the stream may not be known yet
		}
		pause.For(ctx, wait)
	}
}

// knowsCluster reports whether it is known which nats-servers keep the bucket.
func (y *syncing) knowsCluster() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.cluster.Leader != ""
}

// setCluster records which nats-servers keep the bucket. They may be others than before. An answer
// without a leader changes nothing.
func (y *syncing) setCluster(i streamInfo) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if i.Cluster.Leader != "" {
		y.cluster = i.Cluster
	}
	y.judgeLocked()
}

// jszAnswer is what a nats-server says of its JetStream.
//
//	{"server":{"name":"kv1","cluster":"kv"},"data":{"config":{"sync_always":true}}}
//
// Without data it is an error, which counts as no answer.
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

// subjectJSZ is where nats-servers are asked about their JetStream.
const subjectJSZ = "$SYS.REQ.SERVER.PING.JSZ"

// ask asks all nats-servers of the cluster that nc is connected to, and reports whether one has
// answered. It takes syncTimeout. false also means that the question could not be sent.
func (y *syncing) ask(ctx context.Context, nc *nats.Conn) (answered bool) {
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return false
	}
	defer inbox.Unsubscribe()
	if nc.PublishRequest(subjectJSZ, inbox.Subject, nil) != nil {
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
	y.mu.Lock()
	defer y.mu.Unlock()
	// The two connections may be to two clusters.
	maps.Copy(y.always, always)
	y.asked = true
	y.judgeLocked()
	return answered
}

// judgeLocked brings the text up to date and logs it if it is another one. y.mu must be held.
func (y *syncing) judgeLocked() {
	var lazy []string
	for _, name := range y.cluster.servers() {
		if isAlways, answered := y.always[y.cluster.Name+" "+name]; answered && !isAlways {
			lazy = append(lazy, name)
		}
	}
	slices.Sort(lazy)
	before := y.text
	if y.text = ""; len(lazy) > 0 {
		y.text = fmt.Sprintf("not all nats-servers of the bucket sync each change (%s): a power cut takes "+
			"what was acknowledged; set jetstream { sync_interval: always } there",
			strings.Join(lazy, ", "))
	}
	switch {
	case y.text == before:
	case y.text == "":
		y.log.Info("all nats-servers of the bucket sync each change now")
	case y.rule == SyncRequire:
		y.log.Error("pushes are refused: " + y.text)
	default:
		y.log.Warn(y.text)
	}
}
