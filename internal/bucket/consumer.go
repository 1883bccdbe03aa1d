package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullBatch is how many messages may be on their way to this server, and pullBytes how many
	// bytes they have if they are as large as the last ones. JetStream has a bound in bytes itself,
	// but with it a consumer of last_per_subject leaves messages out.
	minPullBatch, pullBatch = 8, 512
	pullBytes               = 2 << 20
	// firstSize is how large the first messages are thought to be.
	firstSize = 64 << 10
	// heartbeat is how often JetStream says that it has no message. A consumer from which nothing
	// has come for maxSilence is lost.
	heartbeat  = time.Second
	maxSilence = 3 * time.Second
	// pullTimeout is how long one pull waits for messages.
	pullTimeout = 30 * time.Second
	// forgetConsumer is when JetStream drops a consumer that is not asked any more.
	forgetConsumer = time.Minute
)

var errSilent = errors.New("the consumer does not answer")

// consumer reads the stream in its order. An error of next ends it: what is missing is then read by
// another one. One goroutine uses it, except that a denial comes from one of the connection. It
// acknowledges nothing: where this server is, the cursor says.
type consumer struct {
	s         *stream
	nc        *nats.Conn
	name      string
	pulls     string // subject of what asks for messages
	inbox     *nats.Subscription
	denied    atomic.Pointer[deniedError] // nil: it may ask
	done      func()                      // ends the wait for a denial
	delivered uint64                      // consumer sequence of the last message
	asked     int                         // messages that were asked for and have not come
	size      int                         // of the largest of the last messages
	// headersOnly says that no values were asked for.
	headersOnly bool
}

// consume makes a consumer.
//
// c says what it delivers: its DeliverPolicy and OptStartSeq, its filters, and HeadersOnly. The
// other fields are the same for all. The caller must close the consumer. It is in the memory of one
// nats-server, which may be a replica that is behind. If that one stops the consumer is gone. To
// make it takes a majority of the nats-servers of the bucket.
func (s *stream) consume(ctx context.Context, nc *nats.Conn, c nats.ConsumerConfig) (*consumer, error) {
	c.Name = rand.Text()
	c.AckPolicy, c.ReplayPolicy = nats.AckNonePolicy, nats.ReplayInstantPolicy
	c.Replicas, c.MemoryStorage, c.InactiveThreshold = 1, true, forgetConsumer
	// With the name in the subject the permissions need no other stream than this one.
	// FilterSubjects are in the body only.
	subject := "CONSUMER.CREATE." + s.name + "." + c.Name
	if c.FilterSubject != "" {
		subject += "." + c.FilterSubject
	}
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return nil, err
	}
	_ = inbox.SetPendingLimits(-1, -1) // the pulls bound it
	err = s.api(ctx, nc, subject, map[string]any{"stream_name": s.name, "config": c}, &answer{})
	if err != nil {
		_ = inbox.Unsubscribe()
		return nil, err
	}
	made := &consumer{s: s, nc: nc, name: c.Name, pulls: "$JS.API.CONSUMER.MSG.NEXT." + s.name + "." + c.Name,
		inbox: inbox, size: firstSize, headersOnly: c.HeadersOnly}
	made.done = s.rights.await(made.pulls, func(denied *deniedError) {
		made.denied.Store(denied)
		_ = inbox.Unsubscribe() // next waits no longer
	})
	return made, nil
}

// close deletes the consumer. If that is not possible JetStream does it later. close waits for no
// answer. c must not be used after it.
func (c *consumer) close() {
	c.done()
	_ = c.inbox.Unsubscribe()
	_ = c.nc.Publish("$JS.API.CONSUMER.DELETE."+c.s.name+"."+c.name, nil)
}

// pull asks for more messages, before none are on their way any more. A pull is sent when at most
// half of a batch is still to come. So the next messages are on their way while these are applied.
// A larger c.size makes smaller batches.
func (c *consumer) pull() error {
	batch := min(max(pullBytes/c.size, minPullBatch), pullBatch)
	if c.asked > batch/2 {
		return nil
	}
	body := fmt.Sprintf(`{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, batch-c.asked, pullTimeout,
		heartbeat)
	c.asked = batch
	return c.nc.PublishRequest(c.pulls, c.inbox.Subject, []byte(body))
}

// next returns the next revision, and waits for it. The zero revision is a sign of life. next waits
// for at most maxSilence, and returns errSilent after that. If ctx has ended the error is its
// cause, which is how watch ends a session.
func (c *consumer) next(ctx context.Context) (revision, error) {
	if err := c.pull(); err != nil {
		return revision{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxSilence, errSilent)
	defer cancel()
	m, err := c.inbox.NextMsgWithContext(ctx)
	if err != nil {
		if denied := c.denied.Load(); denied != nil {
			return revision{}, denied
		}
		if cause := context.Cause(ctx); cause != nil {
			return revision{}, cause
		}
		return revision{}, err
	}
	c.s.rights.allow(c.pulls)
	return c.read(m)
}

// ready returns the next revision if it is there already. It does not wait: that there is one was
// seen before. ok is false with an error.
func (c *consumer) ready() (r revision, ok bool, err error) {
	if n, _, _ := c.inbox.Pending(); n == 0 {
		return revision{}, false, nil
	}
	r, err = c.next(context.Background())
	return r, err == nil, err
}

// nextBatch waits for a revision, and returns it with those that are there already. A sign of life
// is an empty batch. A batch has at most maxApplied revisions, and ends with the value that brings
// it to pullBytes. With an error the batch counts for nothing: another consumer delivers it again.
func (c *consumer) nextBatch(ctx context.Context) (batch []revision, err error) {
	r, err := c.next(ctx)
	size := 0
	for ok := true; ok && err == nil; r, ok, err = c.ready() {
		if r.seq > 0 {
			batch = append(batch, r)
			size += len(r.value)
		}
		if len(batch) == maxApplied || size >= pullBytes {
			return batch, nil
		}
	}
	return batch, err
}

// read reads one message of the inbox. A message that was left out, or comes twice, is an error:
// JetStream numbers for each consumer what it delivers. A message with the header Status is none of
// the bucket, see readStatus.
func (c *consumer) read(m *nats.Msg) (revision, error) {
	if status := m.Header.Get("Status"); status != "" {
		return revision{}, c.readStatus(status, m.Header)
	}
	// $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
	fields := strings.Split(m.Reply, ".")
	if n := len(fields); n < 9 || fields[0] != "$JS" || fields[1] != "ACK" {
		return revision{}, fmt.Errorf("unexpected message on %s", m.Subject)
	} else if n >= 11 { // with a domain and the hash of an account before the stream
		fields = fields[2:]
	}
	var numbers [3]uint64 // what is pending after it counts for nothing: a replica may be behind
	for i := range numbers {
		n, err := strconv.ParseUint(fields[5+i], 10, 64)
		if err != nil {
			return revision{}, fmt.Errorf("unexpected reply subject %s", m.Reply)
		}
		numbers[i] = n
	}
	seq, own, at := numbers[0], numbers[1], numbers[2]
	if own != c.delivered+1 {
		return revision{}, fmt.Errorf("message %d of the consumer follows %d", own, c.delivered)
	}
	c.delivered, c.asked = own, c.asked-1
	// A large one counts for half after some 22 that are small.
	c.size = max(m.Size(), c.size-c.size/32)
	value := m.Data
	// A value that is empty must not look like one that was not asked for.
	if c.headersOnly {
		value = nil
	} else if value == nil {
		value = []byte{}
	}
	return c.s.newRevision(m.Subject, seq, time.Unix(0, int64(at)), m.Header, value), nil
}

// readStatus reads what JetStream says instead of a message. The error ends the consumer. An
// example is 409, which says that the consumer was deleted or its nats-server stops.
func (c *consumer) readStatus(status string, h nats.Header) error {
	switch status {
	case "100": // a heartbeat
		return nil
	case "404", "408": // a pull has ended
		left, err := strconv.Atoi(h.Get("Nats-Pending-Messages"))
		if err != nil {
			left = c.asked
		}
		c.asked = max(0, c.asked-left)
		return nil
	}
	return fmt.Errorf("the consumer has ended: %s %s", status, h.Get("Description"))
}
