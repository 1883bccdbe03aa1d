package claimdiff_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// A user is what an account of a row tries on a real nats-server.
type user struct {
	t    *testing.T
	s    *server.Server
	acc  *server.Account
	dial func() (*nats.Conn, error)
}

// emptyMessages stands for the limit of messages, of which 0 is enough for an empty one.
const emptyMessages = "nats.limits.payload, and an empty message"

// meanings says for each field of a limit how a client finds out whether there is one. set gives the
// number to claims that have no other limit. try returns an error if nats-server holds the client to 0;
// that is nil where the number has no bound.
var meanings = []struct {
	field string
	set   func(l *jwt.OperatorLimits, n int64)
	try   func(u user) error
}{
	{"nats.limits.conn", func(l *jwt.OperatorLimits, n int64) { l.Conn = n }, user.connects},
	{"nats.limits.leaf", func(l *jwt.OperatorLimits, n int64) { l.LeafNodeConn = n },
		func(u user) error {
			if u.acc.MaxTotalLeafNodesReached() {
				return errors.New("no leaf node may connect")
			}
			return nil
		}},
	{"nats.limits.subs", func(l *jwt.OperatorLimits, n int64) { l.Subs = n }, user.subscribes},
	{"nats.limits.payload", func(l *jwt.OperatorLimits, n int64) { l.Payload = n },
		func(u user) error { return u.publishes("x") }},
	{emptyMessages, func(l *jwt.OperatorLimits, n int64) { l.Payload = n },
		func(u user) error { return u.publishes("") }},
	{"nats.limits.data", func(l *jwt.OperatorLimits, n int64) { l.Data = n },
		func(u user) error { return u.publishes("more than no data") }},
	{"nats.limits.disk_storage",
		func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.MemoryStorage = n, -1 },
		func(u user) error { return u.stores(nats.StreamConfig{Storage: nats.FileStorage}) }},
	{"nats.limits.mem_storage",
		func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.MemoryStorage = -1, n },
		func(u user) error { return u.stores(nats.StreamConfig{Storage: nats.MemoryStorage}) }},
	{"nats.limits.streams", func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.Streams = -1, n },
		func(u user) error { return u.stores(nats.StreamConfig{}) }},
	{"nats.limits.consumer", func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.Consumer = -1, n },
		func(u user) error { return u.stores(nats.StreamConfig{}) }},
	{"nats.limits.max_ack_pending",
		func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.MaxAckPending = -1, n },
		func(u user) error { return u.stores(nats.StreamConfig{}) }},
	{"nats.limits.disk_max_stream_bytes",
		func(l *jwt.OperatorLimits, n int64) { l.DiskStorage, l.DiskMaxStreamBytes = -1, n },
		func(u user) error { return u.stores(nats.StreamConfig{MaxBytes: 1 << 20}) }},
	{"nats.limits.mem_max_stream_bytes",
		func(l *jwt.OperatorLimits, n int64) { l.MemoryStorage, l.MemoryMaxStreamBytes = -1, n },
		func(u user) error {
			return u.stores(nats.StreamConfig{MaxBytes: 1 << 20, Storage: nats.MemoryStorage})
		}},
}

// connects returns why a client can't connect.
func (u user) connects() error {
	nc, err := u.dial()
	if err == nil {
		nc.Close()
	}
	return err
}

// answered returns the error that nats-server has sent to a client by now.
func answered(nc *nats.Conn) error {
	if err := nc.Flush(); err != nil {
		return err
	}
	return nc.LastError()
}

// subscribes returns why a client can't subscribe.
func (u user) subscribes() error {
	nc, err := u.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := nc.SubscribeSync("a"); err != nil {
		return err
	}
	return answered(nc)
}

// publishes returns why a client can't publish a message. The library looks at the size too.
func (u user) publishes(data string) error {
	nc, err := u.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.Publish("a", []byte(data)); err != nil {
		return err
	}
	return answered(nc)
}

// stores returns why a client can't make two streams, and two consumers of one of them.
func (u user) stores(config nats.StreamConfig) error {
	nc, err := u.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := nc.JetStream(nats.MaxWait(10 * time.Second))
	if err != nil {
		return err
	}
	for _, name := range []string{"A", "B"} {
		config.Name, config.Subjects = name, []string{name}
		if _, err := js.AddStream(&config); err != nil {
			return err
		}
		consumer := &nats.ConsumerConfig{Durable: name, MaxAckPending: 100}
		consumer.AckPolicy = nats.AckExplicitPolicy
		if _, err := js.AddConsumer("A", consumer); err != nil {
			return err
		}
	}
	return nil
}

// The words for a number say what nats-server takes it for: unlimited, or not.
func TestNumbersMeanWhatNatsServerTakesThemFor(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	tokens := map[string][]byte{op.System.ID: op.SystemAccount(t)}
	type attempt struct {
		name      string
		account   *jwttest.Account
		unlimited bool
		try       func(user) error
	}
	var attempts []attempt
	for _, m := range meanings {
		for _, n := range []int64{0, -1, -2} {
			a := jwttest.NewAccount(t)
			token := op.Account(t, a, func(c *jwt.AccountClaims) { m.set(&c.Limits, n) })
			tokens[a.ID] = token
			claims, err := jwt.DecodeAccountClaims(string(token))
			if err != nil {
				t.Fatal(err)
			}
			field, _, _ := strings.Cut(m.field, ",")
			value := valueOf(t, claims, field)
			name := fmt.Sprintf("%s %d is %s", path.Ext(m.field)[1:], n, value)
			attempts = append(attempts, attempt{name, a,
				value == "unlimited" || strings.HasSuffix(m.field, ".data") ||
					m.field == emptyMessages && value == "0", m.try})
		}
	}
	resolver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(tokens[path.Base(r.URL.Path)]) // empty for the check at the start
	}))
	t.Cleanup(resolver.Close)
	s := natstest.Start(t, natstest.URLConf(t, op, resolver.URL+"/jwt/v1/accounts/",
		natstest.AnyPort+fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir())))
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			creds, _ := a.account.User(t)
			file := jwttest.File(t, t.TempDir(), "user.creds", creds)
			acc, err := s.LookupAccount(a.account.ID)
			if err != nil {
				t.Fatal(err)
			}
			err = a.try(user{t, s, acc, func() (*nats.Conn, error) {
				return nats.Connect(s.ClientURL(), nats.UserCredentials(file), nats.Timeout(20*time.Second),
					nats.MaxReconnects(0))
			}})
			if (err == nil) != a.unlimited {
				t.Errorf("unlimited: %t, but nats-server says: %v", a.unlimited, err)
			}
		})
	}
}

// What jwt's own check refuses, of which no nats-server hears, and the word for no message at all.
func TestTheRestOfTheTable(t *testing.T) {
	t.Parallel()
	blocks := func(set func(*jwt.OperatorLimits), exports ...*jwt.Export) bool {
		c := jwt.NewAccountClaims(accountKey)
		set(&c.Limits)
		c.Exports.Add(exports...)
		found := jwt.CreateValidationResults()
		c.Validate(found)
		return found.IsBlocking(false)
	}
	one := &jwt.Export{Type: jwt.Service, Subject: "a"}
	if !blocks(func(l *jwt.OperatorLimits) { l.Exports = 0 }, one) ||
		blocks(func(l *jwt.OperatorLimits) { l.Exports = -1 }, one) ||
		!blocks(func(l *jwt.OperatorLimits) { l.Exports = -2 }) ||
		!blocks(func(l *jwt.OperatorLimits) { l.Imports = -2 }) {
		t.Error("exports and imports are not as the table says")
	}
	got := text(t, claimdiff.Diff(orders(), orders(limits(func(l *jwt.OperatorLimits) { l.Payload = -2 }))))
	if got != "~ cut message size none, was unlimited" {
		t.Error(got)
	}
}

// valueOf returns how Describe calls the number of a field.
func valueOf(t *testing.T, c *jwt.AccountClaims, field string) string {
	t.Helper()
	for _, g := range claimdiff.Describe(c) {
		for _, i := range g.Items {
			if i.Field == field {
				return i.Value
			}
		}
	}
	t.Fatalf("%s is not described", field)
	return ""
}
