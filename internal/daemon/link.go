package daemon

import (
	"context"
	"crypto/sha256"
	"os"
	"reflect"
	"sync"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/config"
	"nats-account-server/internal/natsconn"
)

// link is natsconn at work with one configuration.
type link struct {
	config config.NATS
	files  [sha256.Size]byte // of what the files it names hold
	cancel context.CancelFunc
	done   chan struct{}
}

// startLink dials in the background; nil when NATS is not configured.
func (d *daemon) startLink(c config.NATS) *link {
	if len(c.Servers) == 0 {
		d.notifier.SetConfigured(false)
		d.store.Outbox().SetAnnounce(false)
		d.say("NATS is not configured, server will not fire notifications on update")
		return nil
	}
	d.store.Outbox().SetAnnounce(true) // first: who is told "will be sent" must be owed
	d.notifier.SetConfigured(true)
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{config: c, files: digest(c), cancel: cancel, done: make(chan struct{})}
	o := natsconn.Options{
		Servers:        c.Servers,
		Credentials:    c.Credentials,
		HandshakeFirst: c.TLS.HandshakeFirst,
		ConnectTimeout: c.ConnectTimeout,
		ReconnectWait:  c.ReconnectWait,
		Log:            d.log,
	}
	if c.TLS != (config.NATSTLS{}) {
		files := &tlsFiles{NATSTLS: c.TLS, warn: d.warn}
		o.TLS = files.next
	}
	go func() {
		defer close(l.done)
		natsconn.Run(ctx, o, d.useLink)
	}()
	return l
}

// useLink is one connected session.
func (d *daemon) useLink(ctx context.Context, nc *nats.Conn) {
	var serving sync.WaitGroup
	ready := make(chan struct{})
	serving.Go(func() { d.resolver.Serve(ctx, nc, func() { close(ready) }) })
	<-ready
	d.notifier.Serve(ctx, nc, d.registry)
	serving.Wait()
}

// fits says whether the link is what c asks for: the same servers, and the same credentials and certificates inside
// the same files.
func (l *link) fits(c config.NATS) bool {
	if l == nil {
		return len(c.Servers) == 0
	}
	return reflect.DeepEqual(l.config, c) && l.files == digest(c)
}

// stop returns when the connection is closed.
func (l *link) stop() {
	if l != nil {
		l.cancel()
		<-l.done
	}
}

// digest tells apart what the files that c names hold; a file that can't be read is a version too.
func digest(c config.NATS) [sha256.Size]byte {
	all := sha256.New()
	for _, path := range []string{c.Credentials, c.TLS.Root, c.TLS.Cert, c.TLS.Key} {
		content, err := os.ReadFile(path)
		sum := sha256.Sum256(content)
		if err != nil {
			sum = [sha256.Size]byte{}
		}
		all.Write(sum[:])
	}
	return [sha256.Size]byte(all.Sum(nil))
}
