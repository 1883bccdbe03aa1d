// Package facts asks nats-servers what is the case in an account: whether they have loaded it,
// which of its imports work, which clients are connected, how much it stores. It needs a connection
// of a user of the system account.
//
//	Info           $SYS.REQ.ACCOUNT.<key>.INFO    all nats-servers at once; loads nothing
//	Connected      $SYS.REQ.ACCOUNT.PING.STATZ    all nats-servers at once; loads nothing
//	Connections    $SYS.REQ.SERVER.<id>.CONNZ     page by page; loads the account
//	JetStream      $SYS.REQ.ACCOUNT.<key>.JSZ     all nats-servers at once; loads nothing
//	Capacity       $SYS.REQ.SERVER.PING.JSZ       all nats-servers at once, and those that are in
//	               $SYS.REQ.SERVER.<id>.JSZ       no cluster again, with accounts; loads nothing
//
// A nats-server loads an account when the first client of it connects. To load one for a question
// would make it fetch the JWT, and keep the account for a while. Only Connections does that, and so
// it is for nats-servers which have said that clients of the account are connected there.
//
// The answers to CONNZ have the JWTs of users. They are read for what Connection has, and not kept,
// logged or shown.
//
// Every answer is taken with mistrust: any user of the system account can send one. It counts only
// if it has the id of a nats-server that was asked, is of a bounded size, and makes sense.
// Otherwise the nats-server is Unknown, with the reason.
//
// The package decides nothing, and keeps nothing but the last answers about capacity. What an
// answer means is said by others: package effect for a push, pages for people, and notifier for
// what a nats-server has left out of a JWT.
//
// # Files
//
// To be read in this order: facts.go has the Asker and its connection, and answer.go gathers the
// answers to a request. info.go, statz.go, connz.go, jsz.go and capacity.go have one request each.
// leftout.go compares an Info with claims.
//
// # Concurrency
//
// An Asker may be used from any goroutine. A call returns when all nats-servers have answered, at
// the latest when its ctx ends. Its result has a value for each nats-server that was asked.
package facts

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxAnswer is the size of the largest answer that is read, in bytes. INFO has an account's JWT
	// in two forms, and CONNZ the JWTs of many users.
	maxAnswer = 16 << 20
	// maxPending and maxPendingBytes bound the answers that wait to be read. More are dropped, and
	// so are not there.
	maxPending      = 4096
	maxPendingBytes = 64 << 20
)

// Server is a nats-server. Both are as the notifier has them from answers to PING.
type Server struct {
	Name string // under which it is known; any text
	ID   string // of its process: it is another one after a restart
}

// Conn is one NATS connection. *nats.Conn meets it. Its methods may be called from any goroutine.
type Conn interface {
	NewInbox() string
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
	PublishRequest(subject, reply string, data []byte) error
}

// Request is what nats-servers are asked, as metrics call it.
type Request string

// The Requests.
const (
	RequestInfo        Request = "info"
	RequestConnections Request = "connz"
	RequestJetStream   Request = "jsz"
)

// Result is what has become of a Request at one nats-server.
type Result string

// The Results.
const (
	Answered Result = "answered"
	Refused  Result = "refused" // the answer can't be used
	Silent   Result = "silent"  // there was none in time
)

// Options is what an Asker needs.
type Options struct {
	// Servers returns the nats-servers that are there now.
	Servers func() []Server
	// Observe is told what has become of a Request at each nats-server, and how long it took. It
	// must return at once. nil: it is not told.
	Observe func(what Request, result Result, took time.Duration)
}

// Asker asks nats-servers through the connection that it has. New makes one, and Serve gives it a
// connection. Its zero value is of no use.
type Asker struct {
	Options

	mu      sync.Mutex
	session *session // nil while NATS is not connected; guarded by mu

	capacities capacities
}

// New returns an Asker without a connection: all nats-servers are Unknown.
func New(o Options) *Asker {
	if o.Observe == nil {
		o.Observe = func(Request, Result, time.Duration) {}
	}
	return &Asker{Options: o}
}

// session is one connection. Asker.mu guards what is below it. One subscription takes the answers
// to all calls: the last token of the subject is the call's number.
type session struct {
	conn  Conn
	inbox string
	calls map[string]chan *nats.Msg // by the last token of the reply subject
	begun int                       // how many there were
}

// Serve lets all calls ask through conn until ctx ends. There is one session at a time. Calls that
// are waiting when it ends get no answer. conn must be one of the system account, and stays open
// until Serve returns.
func (a *Asker) Serve(ctx context.Context, conn Conn) {
	s := &session{conn: conn, inbox: conn.NewInbox(), calls: make(map[string]chan *nats.Msg)}
	sub, err := conn.Subscribe(s.inbox+".*", a.receive)
	if err != nil {
		return // the connection is closed, and its owner logs that
	}
	if sub != nil { // a test may have none
		_ = sub.SetPendingLimits(maxPending, maxPendingBytes)
	}
	a.use(s)
	<-ctx.Done()
	a.use(nil)
}

// use makes a session the one that is asked through.
func (a *Asker) use(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = s
}

// receive passes an answer on. One that is not waited for is dropped, and so is one too many.
// nats.go calls it from one goroutine.
func (a *Asker) receive(m *nats.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil {
		return
	}
	number, isOurs := strings.CutPrefix(m.Subject, a.session.inbox+".")
	if answers := a.session.calls[number]; isOurs && answers != nil {
		select {
		case answers <- m:
		default:
		}
	}
}

// send sends a question. Its answers come until end is called, which the caller must do. Their
// channel is never closed. ok is false without a connection.
func (a *Asker) send(q question) (answers <-chan *nats.Msg, end func(), ok bool) {
	a.mu.Lock()
	s := a.session
	if s == nil {
		a.mu.Unlock()
		return nil, nil, false
	}
	s.begun++
	number, received := strconv.Itoa(s.begun), make(chan *nats.Msg, 2*len(q.of))
	s.calls[number] = received
	a.mu.Unlock()
	end = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(s.calls, number)
	}
	// Outside of the lock: it may block.
	if s.conn.PublishRequest(q.subject, s.inbox+"."+number, q.payload) != nil {
		end()
		return nil, nil, false
	}
	return received, end, true
}
