package resolver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// bridge is a nats-server of another operator, with accounts of its own. It is a leaf node whose
// system account is joined to that of the account server's operator.
type bridge struct {
	*accountServer
	edgeOperator *jwttest.Operator
	edge         *server.Server
	nc           *nats.Conn // a system user at the edge
}

func startBridge(t *testing.T) *bridge {
	op, other := jwttest.NewOperator(t), jwttest.NewOperator(t)
	hub := natstest.Start(t, natstest.MemoryConf(t, op, natstest.AnyPort+
		"server_name: hub\nleafnodes { listen: \"127.0.0.1:-1\" }\n"))
	env := newEnvironmentAt(t, op, hub)
	creds := jwttest.File(t, t.TempDir(), "hub.creds", env.creds)
	remote := fmt.Sprintf("server_name: edge\n"+
		"leafnodes { remotes [ { url: %q, credentials: %q, account: %s } ] }\n",
		fmt.Sprintf("nats-leaf://127.0.0.1:%d", leafPort(t, hub)), creds, other.System.ID)
	edge := natstest.Start(t, natstest.DirConf(t, other, "full", t.TempDir(),
		natstest.AnyPort+remote))
	b := &bridge{accountServer: startServer(t, env), edgeOperator: other, edge: edge}
	edgeCreds, _ := other.System.User(t)
	b.nc = natstest.Connect(t, edge.ClientURL(), edgeCreds)
	natstest.Eventually(t, "the account server is heard at the edge", func() bool {
		names := b.ask(t, "$SYS.REQ.CLAIMS.LIST", nil, `"edge"`)
		return strings.Contains(names, "nats-account-server")
	})
	return b
}

// leafPort returns the port on which a nats-server takes leaf nodes.
func leafPort(t *testing.T, s *server.Server) int {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.LeafNode.Port
}

// ask sends a request at the edge, and returns all answers up to the one that contains want, and
// those that have arrived meanwhile.
func (b *bridge) ask(t *testing.T, subject string, data []byte, want string) (answers string) {
	t.Helper()
	sub, err := b.nc.SubscribeSync(b.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := b.nc.PublishRequest(subject, sub.Subject, data); err != nil {
		t.Fatal(err)
	}
	for timeout := 20 * time.Second; ; {
		m, err := sub.NextMsg(timeout)
		if err != nil {
			return answers
		}
		if answers += string(m.Data); strings.Contains(answers, want) {
			timeout = 100 * time.Millisecond
		}
	}
}

// TestWhatAnotherOperatorSignedIsLeftToItsNATSServers: nsc takes any refusal for a failure, also
// one that comes over the bridge. What our operator's key has signed is refused with an answer
// there, too.
func TestWhatAnotherOperatorSignedIsLeftToItsNATSServers(t *testing.T) {
	t.Parallel()
	b := startBridge(t)
	a := jwttest.NewAccount(t)
	const push = "$SYS.REQ.CLAIMS.UPDATE"
	for subject, data := range map[string][]byte{
		push:          b.edgeOperator.Account(t, a),
		deleteSubject: order(t, b.edgeOperator.Key, nil, a.ID),
	} {
		answers := b.ask(t, subject, data, `"edge"`)
		if !strings.Contains(answers, `"edge"`) ||
			strings.Contains(answers, "nats-account-server") {
			t.Errorf("%s is answered %s", subject, answers)
		}
		want := "a request on " + subject + " is left to others"
		natstest.Eventually(t, "it is logged", func() bool { return b.log.Count(want) == 1 })
	}
	if n := b.log.Count("is refused"); n > 0 {
		t.Errorf("%d refusals are logged: %s", n, b.log)
	}
	damaged := jwttest.Flip(b.signed(t, a, 0))
	if answers := b.ask(t, push, damaged, "bad JWT"); !strings.Contains(answers, "bad JWT") {
		t.Errorf("a damaged JWT of our operator is answered %s", answers)
	}
}
