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
	"nats-account-server/internal/notifier"
)

// connection keeps a connection to NATS for one configuration. The zero value is none.
type connection struct {
	// The task is embedded, so that stop of a zero connection does nothing.
	*task  // nil if NATS is not configured
	config config.NATS
	files  digests // of the files that config names
}

// digests are the SHA-256 sums of the credentials and the TLS files.
type digests [4][sha256.Size]byte

// connect connects in the background, if NATS is configured. It does not wait for the first
// connection. The connection outlives any context of the caller: only its stop ends it.
func (d *daemon) connect(c config.NATS) connection {
	if len(c.Servers) == 0 {
		d.notifier.SetConfigured(false)
		d.client.SetExpects(false)
		// Without NATS, no change must wait in the outbox for a connection that never comes.
		d.store.Outbox().SetAnnounce(false)
		d.log.infof("NATS is not configured, server will not fire notifications on update")
		return connection{}
	}
	// The outbox comes first: a client that is told "will be sent" relies on it.
	d.store.Outbox().SetAnnounce(true)
	d.notifier.SetConfigured(true)
	d.client.SetExpects(len(d.store.Outbox().Servers()) > 0)
	o := natsconn.Options{
		Servers:        c.Servers,
		Credentials:    c.Credentials,
		HandshakeFirst: c.TLS.HandshakeFirst,
		ConnectTimeout: c.ConnectTimeout,
		ReconnectWait:  c.ReconnectWait,
		Log:            d.log.Logger,
	}
	// A section that sets anything demands TLS, also if it names no file.
	if c.TLS != (config.NATSTLS{}) {
		o.TLS = tlsFiles("nats", c.TLS).Reload(d.log.Logger)
	}
	run := func(ctx context.Context) error {
		// Run connects again after every failure, so this task ends only when it is stopped.
		natsconn.Run(ctx, o, d.serveNATS)
		return nil
	}
	files := digest(c) // before they are read for the connection
	return connection{task: d.start(context.Background(), "nats", run), config: c, files: files}
}

// tlsFiles are the files that the tls of a section names: nats, or store.kv.
func tlsFiles(section string, c config.NATSTLS) natsconn.Files {
	return natsconn.Files{Root: c.Root, Cert: c.Cert, Key: c.Key, Section: section}
}

// serveNATS uses one connected session. The notifier announces once requests of nats-servers are
// answered. natsconn.Run calls it with each connection. It returns when ctx has ended and both have
// finished.
func (d *daemon) serveNATS(ctx context.Context, nc *nats.Conn) {
	var serving sync.WaitGroup
	if d.bucket.store != nil {
		serving.Go(func() { d.bucket.store.ServeSystem(ctx, nc) })
		d.bucket.await(ctx)
	}
	ready := make(chan struct{})
	serving.Go(func() { d.resolver.Serve(ctx, nc, func() { close(ready) }) })
	// Serve calls ready at the latest after a timeout of its own, or when it returns.
	<-ready
	serving.Go(func() { d.facts.Serve(ctx, nc) })
	user := notifier.User{Account: natsconn.AccountOf(nc), Systems: d.registry.SystemAccounts()}
	d.notifier.Serve(ctx, nc, user, d.registry, d.facts)
	serving.Wait()
}

// matches reports whether the connection is what c asks for: the same servers, and the same content
// of the same files.
func (n connection) matches(c config.NATS) bool {
	// Without a server, nothing else in the section matters.
	if len(n.config.Servers) == 0 && len(c.Servers) == 0 {
		return true
	}
	// Servers is a slice, so the sections can't be compared by ==.
	return reflect.DeepEqual(n.config, c) && n.files == digest(c)
}

// digest reads the files that c names. One that can't be read counts as empty: it is reported when
// the connection needs it.
func digest(c config.NATS) (all digests) {
	for i, path := range [...]string{c.Credentials, c.TLS.Root, c.TLS.Cert, c.TLS.Key} {
		// An empty path can't be read either, and counts as empty in the same way.
		content, _ := os.ReadFile(path)
		all[i] = sha256.Sum256(content)
	}
	return all
}
