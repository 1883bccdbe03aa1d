// Package resolver is the door on NATS: it hears what others say about accounts and hands it to the gate.
package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
)

// updateSubjects are where nats-servers take account updates, from whoever may publish to the system account.
var updateSubjects = []string{"$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"}

// Session is a connected NATS session that does not hear what it publishes itself. *nats.Conn meets it.
type Session interface {
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
}

// Gate judges what is heard.
type Gate interface {
	// Overheard is told of an update that somebody has announced. key is what the subject says, unchecked.
	Overheard(ctx context.Context, key string, token []byte)
}

// Listen hands every update that passes by to the gate, as long as the session lasts.
func Listen(conn Session, gate Gate, log *slog.Logger) {
	for _, subject := range updateSubjects {
		_, err := conn.Subscribe(subject, func(m *nats.Msg) {
			gate.Overheard(context.Background(), accountOf(m.Subject), m.Data)
		})
		if err != nil {
			log.Warn(fmt.Sprintf("nats error %s", err))
		}
	}
}

// accountOf is the account's key in an update subject.
func accountOf(subject string) string {
	_, rest, _ := strings.Cut(subject, "ACCOUNT.")
	key, _, _ := strings.Cut(rest, ".")
	return key
}
