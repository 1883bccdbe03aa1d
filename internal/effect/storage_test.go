package effect_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/facts"
)

const megabyte = 1 << 20

// stores is an edit with limits of JetStream, and a change of them.
func stores(changes ...func(*jwt.OperatorLimits)) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: 12 * megabyte,
			MemoryStorage: 3 * megabyte, Streams: -1, Consumer: -1, MaxAckPending: -1}
		for _, change := range changes {
			change(&c.Limits)
		}
	}
}

// tiered is an edit with limits of JetStream for streams of one replica, and of three.
func tiered(tiers ...string) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		c.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{}
		for _, tier := range tiers {
			c.Limits.JetStreamTieredLimits[tier] = jwt.JetStreamLimits{DiskStorage: 12 * megabyte,
				Streams: -1, Consumer: -1, MaxAckPending: -1}
		}
	}
}

// tierMemory is an edit of what the tier R1 may have in memory.
func tierMemory(bytes int64) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		l := c.Limits.JetStreamTieredLimits["R1"]
		l.MemoryStorage = bytes
		c.Limits.JetStreamTieredLimits["R1"] = l
	}
}

// tierDisk is an edit of what the tier R1 may have on disk.
func tierDisk(bytes int64) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		l := c.Limits.JetStreamTieredLimits["R1"]
		l.DiskStorage = bytes
		c.Limits.JetStreamTieredLimits["R1"] = l
	}
}

// fill makes the streams disk and memory, and puts this many messages of 100 KB into each.
func fill(disk, memory int) func(*run) {
	return func(r *run) {
		js := r.jetStream()
		for _, s := range []struct {
			name string
			n    int
			kind nats.StorageType
		}{{"disk", disk, nats.FileStorage}, {"memory", memory, nats.MemoryStorage}} {
			if s.n == 0 {
				continue
			}
			_, err := js.AddStream(&nats.StreamConfig{Name: s.name, Storage: s.kind})
			check(r.T, err)
			for range s.n {
				_, err := js.Publish(s.name, make([]byte, 100<<10))
				check(r.T, err)
			}
		}
	}
}

// jetStream returns the JetStream of the client own.
func (r *run) jetStream() nats.JetStreamContext {
	js, err := r.conns["own"].JetStream(nats.MaxWait(20 * time.Second))
	check(r.T, err)
	return js
}

// publishes fails the test unless publishing to a stream works or not as it is expected.
func publishes(stream string, works bool) func(*run) {
	return func(r *run) {
		if _, err := r.jetStream().Publish(stream, make([]byte, 100<<10)); (err == nil) != works {
			r.Errorf("publishing to %s: %v", stream, err)
		}
		if _, err := r.jetStream().StreamInfo(stream); err != nil {
			r.Errorf("the stream %s: %v", stream, err)
		}
	}
}

// isComplete fails the test unless the nats-server has put all of the JWT into effect, or not.
func isComplete(want bool) func(*run) {
	return func(r *run) {
		i := r.world.asker.Info(timeout(r.T, 20*time.Second), r.account("").ID)[0]
		if i.State != facts.Loaded || i.Complete != want {
			r.Errorf("it is complete: %v, state %d", i.Complete, i.State)
		}
	}
}

// own is the one client of most of these rows.
var own = []client{{name: "own"}}

// storageRows are the pushes that change limits of JetStream.
var storageRows = []row{
	{
		name: "less disk than is used", clients: own, stored: stores(), before: fill(20, 0),
		pushed: stores(func(l *jwt.OperatorLimits) { l.DiskStorage = megabyte }),
		lines:  []string{"stop storage_exceeded"}, after: publishes("disk", false),
	},
	{
		name: "less disk, but more than is used", clients: own, stored: stores(), before: fill(2, 0),
		pushed: stores(func(l *jwt.OperatorLimits) { l.DiskStorage = megabyte }),
		lines:  []string{"later limit_changed"}, after: publishes("disk", true),
	},
	{
		name: "less memory than is used", clients: own, stored: stores(), before: fill(0, 20),
		pushed: stores(func(l *jwt.OperatorLimits) { l.MemoryStorage = megabyte }),
		lines:  []string{"stop storage_exceeded"}, after: publishes("memory", false),
	},
	{
		name: "no memory", clients: own, stored: stores(), before: fill(2, 2),
		pushed: stores(func(l *jwt.OperatorLimits) { l.MemoryStorage = 0 }),
		lines:  []string{"stop storage_exceeded"},
		after:  func(r *run) { publishes("disk", true)(r); publishes("memory", false)(r) },
	},
	{
		name: "JetStream is off", clients: own, stored: stores(), pushed: same, before: fill(2, 0),
		lines: []string{"stop jetstream_off"},
		after: func(r *run) {
			if _, err := r.jetStream().StreamInfo("disk"); err == nil {
				r.Errorf("the stream is there")
			}
			r.world.push(r.T, r.account("").ID, r.token("", -time.Second, stores()))
			publishes("disk", true)(r)
		},
	},
	{
		name: "more disk", clients: own, stored: stores(), before: fill(2, 0),
		pushed: stores(func(l *jwt.OperatorLimits) { l.DiskStorage++ }), after: publishes("disk", true),
	},
	{
		name: "the tier of a stream is removed", clients: own, stored: tiered("R1", "R3"),
		pushed: tiered("R3"), before: fill(2, 0),
		lines: []string{"stop tier_removed"}, after: publishes("disk", false),
	},
	{
		name: "the tier of no stream is removed", clients: own, stored: tiered("R1", "R3"),
		pushed: tiered("R1"), before: fill(2, 0), after: publishes("disk", true),
	},
	{
		name: "what only new streams see", clients: own, stored: stores(), before: fill(2, 0),
		pushed: stores(func(l *jwt.OperatorLimits) {
			l.Streams, l.Consumer, l.MaxAckPending, l.MaxBytesRequired = 1, 1, 10, true
			l.DiskMaxStreamBytes, l.MemoryMaxStreamBytes = 100, 100
		}),
		lines: slices.Repeat([]string{"later limit_changed"}, 6),
		after: func(r *run) {
			publishes("disk", true)(r)
			if _, err := r.jetStream().AddStream(&nats.StreamConfig{Name: "new"}); err == nil {
				r.Errorf("a new stream is not refused")
			}
		},
	},
	{
		name: "what only new streams of a tier see", clients: own, before: fill(2, 0),
		stored: tiered("R1"), pushed: all(tiered("R1"), func(_ *run, c *jwt.AccountClaims) {
			c.Limits.JetStreamTieredLimits["R1"] = jwt.JetStreamLimits{DiskStorage: 12 * megabyte, Streams: 1,
				Consumer: 1, MaxAckPending: 10, MaxBytesRequired: true, DiskMaxStreamBytes: 100,
				MemoryMaxStreamBytes: 100}
		}),
		lines: slices.Repeat([]string{"later limit_changed"}, 6), after: publishes("disk", true),
	},
	{
		name: "less of a tier", clients: own, before: fill(2, 0),
		stored: all(tiered("R1"), tierMemory(megabyte)), pushed: all(tiered("R1"), tierMemory(0)),
		lines: []string{"later limit_changed"}, after: publishes("disk", true),
	},
	{
		name: "less disk of a tier than is used", clients: own, stored: tiered("R1", "R3"),
		before: fill(20, 0), pushed: all(tiered("R1", "R3"), tierDisk(megabyte)),
		lines: []string{"stop storage_exceeded"}, after: publishes("disk", false),
	},
	{
		name: "less disk of a tier, but more than is used", clients: own, stored: tiered("R1", "R3"),
		before: fill(8, 0), pushed: all(tiered("R1", "R3"), tierDisk(megabyte)),
		lines: []string{"later limit_changed"}, after: publishes("disk", true),
	},
	{
		name: "less memory of a tier than is used", clients: own, before: fill(1, 20),
		stored: all(tiered("R1"), tierMemory(3*megabyte)), pushed: all(tiered("R1"), tierMemory(megabyte)),
		lines: []string{"stop storage_exceeded"},
		after: func(r *run) { publishes("disk", true)(r); publishes("memory", false)(r) },
	},
	{
		name: "limits become those of tiers", clients: own, stored: stores(), before: fill(2, 0),
		pushed: tiered("R1"), lines: []string{"stop tiers_changed"}, after: publishes("disk", false),
	},
	{
		name: "limits of tiers become those of the account", clients: own, stored: tiered("R1"),
		before: fill(2, 0), pushed: stores(), after: publishes("disk", false),
		lines: []string{"stop tier_removed", "stop tiers_changed"},
	},
	{
		name: "limits become those of tiers without a stream", clients: own, stored: stores(),
		pushed: tiered("R1"), lines: []string{"later tiers_changed"}, after: func(r *run) {
			fill(2, 0)(r)
			publishes("disk", true)(r)
		},
	},
	{
		name: "more disk than the nats-server has", clients: own, stored: stores(), before: fill(2, 0),
		pushed: stores(func(l *jwt.OperatorLimits) { l.DiskStorage = 1 << 40 }),
		lines:  []string{"later jetstream_left_out"},
		after:  func(r *run) { publishes("disk", true)(r); isComplete(false)(r) },
	},
	{
		name: "more memory than the nats-server has for a tier", clients: own, stored: tiered("R1"),
		pushed: all(tiered("R1"), tierMemory(1<<40)), lines: []string{"later jetstream_left_out"},
		after: isComplete(false),
	},
	{
		name: "too much for a nats-server that has not loaded the account", stored: tiered("R1"),
		pushed: all(tiered("R1"), tierDisk(1<<40)), lines: []string{"later jetstream_left_out"},
		after: func(r *run) { r.connect(own[0]); isComplete(false)(r) },
	},
	{
		name: "a renewal of what is too much", stored: all(tiered("R1"), tierDisk(1<<40)), clients: own,
		pushed: all(tiered("R1"), tierDisk(1<<40)), lines: []string{"later jetstream_left_out"},
		after: isComplete(false),
	},
	{
		name: "unlimited disk", clients: own, stored: stores(), after: isComplete(true),
		pushed: stores(func(l *jwt.OperatorLimits) { l.DiskStorage = -1 }),
	},
	{
		name: "an open pull when the account is renewed", clients: own, stored: stores(), pushed: stores(),
		before: func(r *run) {
			fill(1, 0)(r)
			r.pull()
		},
		after: func(r *run) {
			_, err := r.jetStream().Publish("disk", []byte("later"))
			check(r.T, err)
			m, err := r.replies.NextMsg(20 * time.Second)
			if err != nil || string(m.Data) != "later" {
				r.Errorf("the pull gets %v", err)
			}
		},
	},
	{
		name: "an open pull of another account when the account is renewed", clients: pair,
		stored: all(stores(), exports(jwt.Service, "$JS.API.>", streamed)),
		pushed: all(stores(), exports(jwt.Service, "$JS.API.>", streamed)),
		others: map[string]edit{"web": imports(jwt.Service, "", "$JS.API.>", as("JS.own.>"))},
		lines:  []string{lost},
		before: func(r *run) {
			fill(1, 0)(r)
			r.pullFrom("web", "JS.own")
		},
		after: func(r *run) {
			_, err := r.jetStream().Publish("disk", []byte("later"))
			check(r.T, err)
			check(r.T, r.conns["web"].FlushTimeout(20*time.Second))
			if _, err := r.replies.NextMsg(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
				r.Errorf("the pull gets something: %v", err)
			}
		},
	},
}

// streamed is a service with several replies to a request.
func streamed(_ *run, e *jwt.Export) { e.ResponseType = jwt.ResponseTypeStream }

// pull asks for two messages of the stream disk, of which there is one.
func (r *run) pull() { r.pullFrom("own", "$JS.API") }

// pullFrom is pull of a client that has the API of JetStream under a prefix.
func (r *run) pullFrom(name, prefix string) {
	_, err := r.jetStream().AddConsumer("disk",
		&nats.ConsumerConfig{Durable: "c", AckPolicy: nats.AckNonePolicy})
	check(r.T, err)
	nc, inbox := r.conns[name], nats.NewInbox()
	r.replies, err = nc.SubscribeSync(inbox)
	check(r.T, err)
	check(r.T, nc.PublishRequest(prefix+".CONSUMER.MSG.NEXT.disk.c", inbox,
		[]byte(`{"batch":2,"expires":60000000000}`)))
	_, err = r.replies.NextMsg(20 * time.Second)
	check(r.T, err)
}

// TestRoomForJetStream is what other accounts and streams leave of what a nats-server has.
func TestRoomForJetStream(t *testing.T) {
	w := newWorld(t, "URL", 1)
	load := func(edits ...edit) *run {
		r := start(t, w, row{})
		r.push(t, r.account("").ID, r.token("", time.Hour, edits...))
		r.connect(client{name: "own"})
		return r
	}
	disk := func(bytes int64) edit { return stores(func(l *jwt.OperatorLimits) { l.DiskStorage = bytes }) }
	load(disk(200 * megabyte))
	load(disk(-1))
	a := load(disk(400 * megabyte))
	b := load(tiered("R1"), tierDisk(49*megabyte))
	if f := b.forecast(t, b.token("", 0, tiered("R1"), tierDisk(50*megabyte))); len(f.Lines) > 0 {
		t.Errorf("its own tier is not another one's: foretold is %+v", f.Lines)
	}
	// 1 GB is there, and others may use 200 MB of it, and 49 MB for tiers.
	for _, row := range []struct {
		bytes int64
		want  string
	}{
		{775 * megabyte, ""},
		{776 * megabyte, "it does not show what all others may use"},
		{825 * megabyte, "disk, it has 1 GiB for all, of which others may use 200 MiB"},
	} {
		token, words := a.token("", 0, disk(row.bytes)), ""
		for _, l := range a.forecast(t, token).Lines {
			words += l.Words
		}
		if !strings.Contains(words, row.want) || (words == "") != (row.want == "") {
			t.Errorf("%d: foretold is %q, want %q", row.bytes, words, row.want)
		}
		a.push(t, a.account("").ID, token)
		isComplete(row.want == "")(a)
	}
}
