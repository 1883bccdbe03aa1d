package notifier

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// link is the connection of a session. After an error the connection is closed, which its owner
// logs.
type link struct {
	Conn
	inbox string // prefix of all subjects that answers to requests go to
	log   *slog.Logger
}

// request is a message whose answers are for this session. They go to the reply subject below the
// inbox.
type request struct {
	subject, reply string
	data           []byte
}

// subscribe subscribes, and reports whether it could.
func (l *link) subscribe(subject string, handle nats.MsgHandler) bool {
	_, err := l.Subscribe(subject, handle)
	if err != nil {
		l.log.Debug(fmt.Sprintf("nats error %s", err))
	}
	return err == nil
}

// request sends a request.
func (l *link) request(q request) { l.publish(q.subject, l.inbox+"."+q.reply, q.data) }

// publish sends a message. If it can't, the session is over, and what was pending stays so.
func (l *link) publish(subject, reply string, data []byte) {
	if err := l.PublishRequest(subject, reply, data); err != nil {
		l.log.Debug(fmt.Sprintf("nats error %s", err))
	}
}

// flush waits, up to answerTimeout, until the connected nats-server has taken what was published,
// and reports whether it has.
func (l *link) flush(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return l.FlushWithContext(ctx) == nil
}
