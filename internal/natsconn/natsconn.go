// Package natsconn owns one NATS connection. It connects, passes the connection to the code that
// uses it, and connects again until its context ends.
//
// The reconnecting of nats.go is off. So a lost connection is noticed at once, and no message waits
// in a buffer of nats.go.
package natsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/pause"
)

// Options says where and how to connect.
type Options struct {
	Servers     []string // NATS URLs, at least one
	Credentials string   // path of a creds file; "" for none

	// TLS returns the configuration for the next connection. If it is not nil, or if a URL demands
	// TLS, a nats-server without TLS is refused. If it is nil, TLS is used if a URL or nats-server
	// demands it.
	TLS func() (*tls.Config, error)

	HandshakeFirst bool          // start TLS before nats-server sends its INFO
	ConnectTimeout time.Duration // of one attempt
	ReconnectWait  time.Duration // between attempts; up to a tenth is added at random
	Log            *slog.Logger
}

const (
	// Pings find a dead connection within half a minute. Without them, a broken cable is not
	// noticed.
	pingInterval = 10 * time.Second
	maxPings     = 2 // without a reply

	// writeTimeout is for a nats-server that has stopped reading.
	writeTimeout = 2 * time.Second
)

// Run connects until ctx ends and calls use with each connection. The context of use ends with the
// connection or with ctx. Run closes the connection when use returns.
func Run(ctx context.Context, o Options, use func(context.Context, *nats.Conn)) {
	l := link{Options: o, used: &tls.Config{}, secure: o.TLS != nil || slices.ContainsFunc(o.Servers, demandsTLS)}
	for ctx.Err() == nil {
		began, wait := time.Now(), o.ReconnectWait
		nc, err := l.connect(ctx)
		switch {
		case err == nil:
			l.session(ctx, nc, use)
			// After a long session the next attempt need not wait.
			wait -= time.Since(began)
		case ctx.Err() == nil:
			l.failed(err)
		}
		// The random part keeps account servers that lost the same nats-server from reconnecting
		// all at once.
		pause.For(ctx, wait+rand.N(o.ReconnectWait/10+time.Millisecond))
	}
}

// link is the state that Run keeps from one connection to the next.
type link struct {
	Options
	secure bool        // a nats-server without TLS is refused
	again  bool        // there was a connection before
	at     address     // of the last connection
	others []address   // servers of its cluster, as it announced them
	hinted string      // the hint that was logged last
	used   *tls.Config // of the last attempt
}

// connect makes one attempt: first at the configured servers, then at those of the cluster, each in
// random order. If none accepts, the error is that of a server that refused, because it says more
// than that of one which is not running.
func (l *link) connect(ctx context.Context) (*nats.Conn, error) {
	l.Log.Info("connecting to NATS for notifications")
	configured := make([]address, len(l.Servers))
	for i, s := range l.Servers {
		configured[i].url = s
	}
	err := nats.ErrNoServers
	for _, servers := range [][]address{configured, l.others} {
		for _, i := range rand.Perm(len(servers)) {
			nc, failed := l.dial(ctx, servers[i])
			if failed == nil {
				l.at = servers[i]
				return nc, nil
			}
			if errors.Is(err, nats.ErrNoServers) {
				err = failed
			}
		}
	}
	return nil, err
}

// session runs use with a connection, and returns when the connection is closed.
func (l *link) session(
	ctx context.Context, nc *nats.Conn, use func(context.Context, *nats.Conn),
) {
	if l.again {
		l.Log.Warn("nats reconnected")
	}
	l.again, l.hinted = true, ""
	l.Log.Info("connected to NATS for account and activation notifications")
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	nc.SetClosedHandler(func(*nats.Conn) { cancel() })
	if nc.IsClosed() { // before it had the handler
		cancel()
	}
	use(live, nc)
	l.others = l.at.discovered(nc.DiscoveredServers())
	nc.Close()
	if ctx.Err() != nil {
		l.Log.Info("disconnected from NATS")
	} else {
		l.Log.Warn("nats disconnected")
	}
}

// dial connects to the server at an address.
func (l *link) dial(ctx context.Context, at address) (*nats.Conn, error) {
	withTLS, err := l.withTLS(at)
	if err != nil {
		return nil, err
	}
	d := &dialer{ctx: ctx, timeout: l.ConnectTimeout}
	defer d.release()
	options := []nats.Option{
		nats.Name("nats-account-server"),
		nats.NoEcho(),
		nats.NoReconnect(),
		nats.Timeout(l.ConnectTimeout),
		nats.SkipHostLookup(), // the dialer does it, and stops when ctx ends
		nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.SetCustomDialer(d),
		nats.ErrorHandler(l.errorHandler()),
		withTLS,
	}
	if l.Credentials != "" {
		options = append(options, nats.UserCredentials(l.Credentials))
	}
	return nats.Connect(at.url, options...)
}

// dialer ends an attempt to connect as soon as its context ends, even during a handshake.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
	stop    func() bool // ends the watch over ctx; nil before the connection is there
}

// Dial implements nats.CustomDialer. nats.go calls it once, since it knows one address.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout}
	c, err := nd.DialContext(d.ctx, network, address)
	if err == nil {
		d.stop = context.AfterFunc(d.ctx, func() { _ = c.Close() })
	}
	return c, err
}

// release ends the watch over ctx. From now on the connection is closed in order.
func (d *dialer) release() {
	if d.stop != nil {
		d.stop()
	}
}

// failed logs a failed attempt as the original does. It logs a hint once, until the hint changes.
func (l *link) failed(err error) {
	l.Log.Error(fmt.Sprintf("failed to connect to NATS [%s]: %s", withoutUsers(l.Servers), err))
	if hint := l.hint(err); hint != "" && hint != l.hinted {
		l.hinted = hint
		l.Log.Warn(hint)
	}
	l.Log.Error(fmt.Sprintf("will try to connect again in %d milliseconds",
		l.ReconnectWait.Milliseconds()))
}

// errorHandler returns a handler that logs each error of a connection once. Permissions that are
// denied count as one error, whatever their subjects.
func (l *link) errorHandler() nats.ErrHandler {
	var mu sync.Mutex
	logged := map[string]bool{} // guarded by mu
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		cause, hint := err.Error(), ""
		if errors.Is(err, nats.ErrPermissionViolation) {
			hint = ": account updates can't be announced unless the user may publish to $SYS.> and " +
				"subscribe to $SYS.> and _INBOX.>"
			cause, _, _ = strings.Cut(cause, `"`) // the subject follows
		}
		mu.Lock()
		defer mu.Unlock()
		if !logged[cause] {
			logged[cause] = true
			l.Log.Warn(fmt.Sprintf("nats error %s%s", err, hint))
		}
	}
}
