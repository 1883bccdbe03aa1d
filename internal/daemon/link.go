package daemon

import (
	"context"
	"crypto/sha256"
	"os"
	"reflect"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/config"
	"nats-account-server/internal/natslink"
	"nats-account-server/internal/resolver"
)

// link is natslink at work with one configuration.
type link struct {
	config config.NATS
	creds  [sha256.Size]byte // of the credentials' content
	cancel context.CancelFunc
	done   chan struct{}
}

// startLink dials in the background; nil when NATS is not configured.
func (d *daemon) startLink(c config.NATS) *link {
	if len(c.Servers) == 0 {
		d.notifier.SetConfigured(false)
		d.store.SetAnnounce(false)
		d.say("NATS is not configured, server will not fire notifications on update")
		return nil
	}
	d.store.SetAnnounce(true) // first: who is told "will be sent" must be owed
	d.notifier.SetConfigured(true)
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{config: c, creds: digest(c.Credentials), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		natslink.Run(ctx, natslink.Options{
			Servers:        c.Servers,
			Credentials:    c.Credentials,
			ConnectTimeout: c.ConnectTimeout,
			ReconnectWait:  c.ReconnectWait,
			Log:            d.log,
		}, d.useLink)
	}()
	return l
}

// useLink is one connected session.
func (d *daemon) useLink(ctx context.Context, nc *nats.Conn) {
	resolver.Listen(nc, d.registry, d.log)
	d.notifier.Serve(ctx, nc)
}

// fits says whether the link is what c asks for: the same servers and the same credentials inside the same file.
func (l *link) fits(c config.NATS) bool {
	if l == nil {
		return len(c.Servers) == 0
	}
	return reflect.DeepEqual(l.config, c) && l.creds == digest(c.Credentials)
}

// stop returns when the connection is closed.
func (l *link) stop() {
	if l != nil {
		l.cancel()
		<-l.done
	}
}

// digest tells versions of a file apart; a file that can't be read is a version too.
func digest(path string) [sha256.Size]byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}
