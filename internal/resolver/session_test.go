package resolver_test

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// fakeSession is a session whose messages come from the test.
type fakeSession struct {
	mu        sync.Mutex
	handlers  map[string]nats.MsgHandler
	inboxes   int
	requests  chan string // reply subjects of the requests that were sent
	published chan struct{}
	// unflushed counts the bytes that were published and not flushed, most is the greatest such
	// number, and sent counts all messages.
	unflushed, most, sent int
	last                  string // message
}

func newFakeSession() *fakeSession {
	return &fakeSession{
		handlers:  map[string]nats.MsgHandler{},
		requests:  make(chan string, 16),
		published: make(chan struct{}, 1024),
	}
}

func (s *fakeSession) NewInbox() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inboxes++
	return "_INBOX." + strconv.Itoa(s.inboxes)
}

func (s *fakeSession) Subscribe(
	subject string, handle nats.MsgHandler,
) (*nats.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[subject] = handle
	return nil, nil
}

func (s *fakeSession) QueueSubscribe(subject, _ string, handle nats.MsgHandler) (*nats.Subscription,
	error) {
	return s.Subscribe(subject, handle)
}

func (s *fakeSession) Publish(_ string, data []byte) error {
	s.mu.Lock()
	s.unflushed, s.sent, s.last = s.unflushed+len(data), s.sent+1, string(data)
	s.most = max(s.most, s.unflushed)
	s.mu.Unlock()
	select {
	case s.published <- struct{}{}:
	default:
	}
	return nil
}

func (s *fakeSession) MaxPayload() int64 { return 8 << 10 }

func (s *fakeSession) FlushWithContext(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return nats.ErrNoDeadlineContext
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unflushed = 0
	return nil
}

func (s *fakeSession) RequestWithContext(context.Context, string, []byte) (*nats.Msg, error) {
	return nil, nats.ErrNoResponders
}

func (s *fakeSession) PublishRequest(_, reply string, _ []byte) error {
	select {
	case s.requests <- reply:
	default:
	}
	return nil
}

// deliver gives a message to every handler of its subject, and reports whether there is one.
func (s *fakeSession) deliver(m *nats.Msg) bool {
	s.mu.Lock()
	var handlers []nats.MsgHandler
	for pattern, handle := range s.handlers {
		if matches(pattern, m.Subject) {
			handlers = append(handlers, handle)
		}
	}
	s.mu.Unlock()
	for _, handle := range handlers {
		handle(m)
	}
	return len(handlers) > 0
}

// matches is for patterns with one wildcard at most. Unlike with NATS, that stands for any text.
func matches(pattern, subject string) bool {
	prefix, suffix, wild := strings.Cut(pattern, "*")
	return subject == pattern || wild && len(subject) > len(prefix)+len(suffix) &&
		strings.HasPrefix(subject, prefix) && strings.HasSuffix(subject, suffix)
}

// silentAnnouncer announces nothing.
type silentAnnouncer struct{ accounts.Announcer }

func (silentAnnouncer) Announce(string, uint64) accounts.Receipt                 { return nil }
func (silentAnnouncer) Heard(string, uint64)                                     {}
func (silentAnnouncer) Contested(string)                                         {}
func (silentAnnouncer) MaxPayload() int                                          { return 0 }
func (silentAnnouncer) Report(context.Context, string, bool) (r accounts.Report) { return r }
