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

// connection keeps a connection to NATS for one configuration.
type connection struct {
	*task
	config config.NATS
	files  [sha256.Size]byte // digest of the files that config names
}

// connect connects in the background. It returns nil if NATS is not configured.
func (d *daemon) connect(c config.NATS) *connection {
	if len(c.Servers) == 0 {
		d.notifier.SetConfigured(false)
		d.store.Outbox().SetAnnounce(false)
		d.log.infof("NATS is not configured, server will not fire notifications on update")
		return nil
	}
	// The outbox comes first: a client that is told "will be sent" relies on it.
	d.store.Outbox().SetAnnounce(true)
	d.notifier.SetConfigured(true)
	o := natsconn.Options{
		Servers:        c.Servers,
		Credentials:    c.Credentials,
		HandshakeFirst: c.TLS.HandshakeFirst,
		ConnectTimeout: c.ConnectTimeout,
		ReconnectWait:  c.ReconnectWait,
		Log:            d.log.Logger,
	}
	if c.TLS != (config.NATSTLS{}) {
		certificates := &tlsFiles{NATSTLS: c.TLS, log: d.log}
		o.TLS = certificates.next
	}
	run := func(ctx context.Context) error {
		natsconn.Run(ctx, o, d.serveNATS)
		return nil
	}
	files := digest(c)
	return &connection{task: d.start(context.Background(), "nats", run), config: c, files: files}
}

// serveNATS uses one connected session. The notifier announces once requests of nats-servers are
// answered.
func (d *daemon) serveNATS(ctx context.Context, nc *nats.Conn) {
	var serving sync.WaitGroup
	ready := make(chan struct{})
	serving.Go(func() { d.resolver.Serve(ctx, nc, func() { close(ready) }) })
	<-ready
	d.notifier.Serve(ctx, nc, d.registry)
	serving.Wait()
}

// matches reports whether the connection is what c asks for: the same servers, and the same content
// of the same files.
func (n *connection) matches(c config.NATS) bool {
	if n == nil {
		return len(c.Servers) == 0
	}
	return reflect.DeepEqual(n.config, c) && n.files == digest(c)
}

// stop returns when the connection is closed. A nil connection is none.
func (n *connection) stop() {
	if n != nil {
		n.task.stop()
	}
}

// digest changes with the content of the files that c names. A file that can't be read counts as a
// content.
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
