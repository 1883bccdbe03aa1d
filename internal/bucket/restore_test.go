package bucket_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// backup is a copy of the bucket, as `nats stream backup` makes it.
type backup struct {
	description map[string]json.RawMessage // the configuration and the state
	chunks      [][]byte
}

// backUp makes a copy of the bucket.
func (k *keeper) backUp(t *testing.T) (b backup) {
	t.Helper()
	nc := k.connect(t, "admin")
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	must(t, err)
	k.ask(t, nc, "$JS.API.STREAM.SNAPSHOT.KV_B", map[string]any{"deliver_subject": inbox.Subject},
		&b.description)
	for {
		m, err := inbox.NextMsg(10 * time.Second)
		must(t, err)
		if len(m.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, m.Data)
		if m.Reply != "" {
			must(t, m.Respond(nil))
		}
	}
}

// restoreBucket deletes the bucket and puts a copy in its place.
func (k *keeper) restoreBucket(t *testing.T, b backup) {
	t.Helper()
	nc := k.connect(t, "admin")
	k.ask(t, nc, "$JS.API.STREAM.DELETE.KV_B", nil, nil)
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	k.ask(t, nc, "$JS.API.STREAM.RESTORE.KV_B", map[string]any{
		"config": b.description["config"], "state": b.description["state"]}, &to)
	for _, chunk := range b.chunks {
		_, err := nc.Request(to.Subject, chunk, 10*time.Second)
		must(t, err)
	}
	k.ask(t, nc, to.Subject, nil, nil)
}

// publish writes to the bucket as an administrator.
func (k *keeper) publish(t *testing.T, subject string, value []byte) {
	t.Helper()
	_, err := k.js(t).Publish(t.Context(), subject, value)
	must(t, err)
}

// ask asks JetStream, which must not answer with an error.
func (k *keeper) ask(t *testing.T, nc *nats.Conn, subject string, body, v any) {
	t.Helper()
	data, err := json.Marshal(body)
	must(t, err)
	if body == nil {
		data = nil
	}
	m, err := nc.Request(subject, data, 10*time.Second)
	must(t, err)
	var failed struct{ Error json.RawMessage }
	must(t, json.Unmarshal(m.Data, &failed))
	if failed.Error != nil {
		t.Fatalf("%s: %s", subject, failed.Error)
	}
	if v != nil {
		must(t, json.Unmarshal(m.Data, v))
	}
}

// A bucket that was restored from a backup has the id of before, and gives the same numbers to other
// revisions. What it lacks comes back from the directories, without a restart of the account servers.
func TestABucketThatWasRestoredFromABackupIsRepaired(t *testing.T) {
	for _, row := range []struct {
		name    string
		stopped bool // the account servers are, meanwhile
		since   int  // how many accounts others push after it, before these account servers see it
		says    string
	}{
		{"while the servers run", false, 0, "it ends with revision 4, and 7 was read before"},
		{"others have pushed since", false, 5, "revision 7 is another one than was read before"},
		{"while the servers are stopped", true, 0, "it ends with revision 4, and 7 was read before"},
		{"others have pushed since the servers were stopped", true, 5,
			"revision 7 is another one than was read before"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			op := jwttest.NewOperator(t)
			k := startKeeper(t, "")
			line := natstest.NewRelay(t, 0, "nats://"+k.address)
			relayed := &keeper{address: strings.TrimPrefix(line.URL(), "nats://")}
			both := []*member{newMember(t, op), newMember(t, op)}
			both[0].start(relayed).await()
			both[1].start(relayed).await()
			x, y, gone := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
			both[0].mustPush(issue(t, op, x, 1))
			both[0].mustPush(issue(t, op, x, 2))
			both[0].mustPush(issue(t, op, x, 3))
			both[0].mustPush(issue(t, op, gone, 1))
			copied := k.backUp(t)
			both[0].mustPush(issue(t, op, x, 5))
			both[0].remove(gone)
			both[0].mustPush(issue(t, op, y, 1))
			for _, m := range both {
				natstest.Eventually(t, "all is read", func() bool { return m.Progress().Revision == 7 })
				if row.stopped {
					m.stop()
				}
			}
			line.Down()
			k.restoreBucket(t, copied)
			others := k.fill(t, op, row.since)
			if row.since > 0 { // from a server that has lost its directory
				k.publish(t, "$KV.B.a."+x.ID, issue(t, op, x, 4))
			}
			line.Up()
			for _, m := range both {
				if row.stopped {
					m.start(relayed)
				}
				natstest.Eventually(t, "the log says it", func() bool {
					return strings.Contains(m.log.String(), "has lost what it acknowledged")
				})
			}
			if text := both[0].log.String() + both[1].log.String(); !strings.Contains(text, row.says) {
				t.Errorf("the logs do not say %q:\n%s", row.says, text)
			}
			both = append(both, newMember(t, op).start(k).await())
			for _, m := range both {
				m.serves(x.ID, issue(t, op, x, 5))
				m.serves(y.ID, issue(t, op, y, 1))
				m.serves(gone.ID, nil)
				for _, other := range others {
					m.serves(other.ID, issue(t, op, other, 1))
				}
			}
			both[1].mustPush(issue(t, op, x, 6))
			for _, m := range both {
				m.serves(x.ID, issue(t, op, x, 6))
			}
		})
	}
}
