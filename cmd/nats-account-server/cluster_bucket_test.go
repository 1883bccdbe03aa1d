//go:build unix

package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nats-account-server/internal/natstest"
)

const bucketStream = "KV_ACCOUNT_JWTS"

// streamInfo is what the bucket's leader says of it. Without an answer it is empty.
type streamInfo struct {
	Cluster struct{ Leader string }
	State   struct {
		LastSeq uint64 `json:"last_seq"`
	}
}

func (c *bucketCluster) streamInfo() (info streamInfo) {
	answer, err := c.admin.Request("$JS.API.STREAM.INFO."+bucketStream, nil, time.Second)
	if err == nil {
		_ = json.Unmarshal(answer.Data, &info)
	}
	return info
}

// stepDown makes the bucket's leader give that up.
func (c *bucketCluster) stepDown() {
	_, _ = c.admin.Request("$JS.API.STREAM.LEADER.STEPDOWN."+bucketStream, nil, time.Second)
}

// bucketMessage is one message of the bucket. Its key begins with "a." or "t.".
type bucketMessage struct {
	number uint64
	key    string
	value  []byte
	at     time.Time
}

// messages are all that the bucket has, in its order, but for the system account, which account servers
// have from their configuration. A leader that does not answer in time, as on a machine that has much
// else to do, is asked again.
func (c *bucketCluster) messages() (all []bucketMessage, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		if all, err = c.readAll(ctx); err == nil || ctx.Err() != nil {
			return all, err
		}
	}
}

// readAll is messages without another attempt.
func (c *bucketCluster) readAll(ctx context.Context) (all []bucketMessage, err error) {
	js, err := jetstream.New(c.admin)
	if err != nil {
		return nil, err
	}
	// What is asked while there is no leader is never answered.
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := js.OrderedConsumer(asking, bucketStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	last := c.streamInfo().State.LastSeq
	if last == 0 {
		return nil, errors.New("the bucket's leader does not say how far it is")
	}
	for {
		m, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		key := m.Subject()[len("$KV.ACCOUNT_JWTS."):]
		if key != "a."+c.op.System.ID {
			all = append(all, bucketMessage{meta.Sequence.Stream, key, m.Data(), meta.Timestamp})
		}
		if meta.Sequence.Stream >= last {
			return all, nil
		}
	}
}

// TestTheServersOfABucketSayWhetherTheirDisksSync to the user that the shipped file has for account
// servers, and let that do nothing else than it needs.
func TestTheServersOfABucketSayWhetherTheirDisksSync(t *testing.T) {
	t.Parallel()
	c := newBucketCluster(t, "", "", "")
	denied := make(chan error, 1)
	nc := natstest.Dial(t, c.machines[0].links[0].URL(), nats.UserInfo("account-server", "secret"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	natstest.Eventually(t, "all three answer, and sync always", func() bool {
		return strings.Count(answersTo(t, nc, "$SYS.REQ.SERVER.PING.JSZ", 3), `"sync_always":true`) == 3
	})
	must(t, nc.Publish("$JS.API.STREAM.DELETE."+bucketStream, nil))
	if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("the error is %v", err)
	}
}

// answersTo makes one request and returns up to n answers, which come within a second.
func answersTo(t *testing.T, nc *nats.Conn, subject string, n int) (answers string) {
	t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	must(t, err, nc.PublishRequest(subject, inbox, nil))
	defer func() { _ = sub.Unsubscribe() }()
	for end := time.Now().Add(time.Second); n > 0; n-- {
		m, err := sub.NextMsg(time.Until(end))
		if err != nil {
			break
		}
		answers += string(m.Data) + "\n"
	}
	return answers
}
