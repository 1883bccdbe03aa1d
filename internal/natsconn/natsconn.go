// Package natslink owns the one NATS connection: it dials, hands the connected session to whoever uses it, and
// dials again until its context ends.
//
// nats.go's own reconnecting is off, so that a lost connection is seen at once and nothing waits in a buffer that
// nobody accounts for.
package natsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Options says where and how to dial.
type Options struct {
	Servers     []string // NATS URLs
	Credentials string   // path of a creds file, "" for none
	// TLS gives the configuration of the next connection; nil means that nothing more is asked for than the URLs and
	// nats-server ask for. If it is set, or any URL asks for TLS, a nats-server without TLS is refused.
	TLS            func() (*tls.Config, error)
	HandshakeFirst bool          // TLS before nats-server has said a word
	ConnectTimeout time.Duration // of one attempt
	ReconnectWait  time.Duration // between attempts; a little jitter is added
	Log            *slog.Logger
}

const (
	// pingEvery and pingsOut find a dead connection within half a minute; a cut cable sends no reset.
	pingEvery = 10 * time.Second
	pingsOut  = 2
	// writeWithin bounds a write to a nats-server that has stopped reading.
	writeWithin = 2 * time.Second
)

// Run dials until ctx ends and calls use with each connection. The context that use gets ends with the
// connection or with ctx; Run closes the connection when use returns.
func Run(ctx context.Context, o Options, use func(context.Context, *nats.Conn)) {
	l := link{Options: o, used: &tls.Config{}}
	for ctx.Err() == nil {
		began := time.Now()
		wait := o.ReconnectWait
		if l.session(ctx, use) {
			wait -= time.Since(began) // it was up for a while: dial again at once
		}
		pause(ctx, wait+jitter(o.ReconnectWait))
	}
}

// jitter keeps servers that lost the same nats-server from coming back in step.
func jitter(wait time.Duration) time.Duration {
	return rand.N(wait/10 + time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

type link struct {
	Options
	again  bool        // there was a session before
	others []address   // servers of the cluster that the last session told us of
	hinted string      // the refusal whose likely cause was logged last
	used   *tls.Config // of the last attempt
}

// session makes one attempt and, if it connects, lives through the session. It says whether there was one.
func (l *link) session(ctx context.Context, use func(context.Context, *nats.Conn)) bool {
	l.Log.Info("connecting to NATS for notifications")
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := l.dialAny(ctx, l.configured())
	if err != nil && len(l.others) > 0 && ctx.Err() == nil {
		if other, otherErr := l.dialAny(ctx, l.others); otherErr == nil {
			s, err = other, nil
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			l.failed(err)
		}
		return false
	}
	if l.again {
		l.Log.Warn("nats reconnected")
	}
	l.again, l.hinted = true, ""
	l.Log.Info("connected to NATS for account and activation notifications")
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-live.Done():
		}
	}()
	use(live, s.nc)
	l.others = s.at.relatives(s.nc.DiscoveredServers())
	s.nc.Close()
	<-s.ended
	if ctx.Err() != nil {
		l.Log.Info("disconnected from NATS")
	} else {
		l.Log.Warn("nats disconnected")
	}
	return true
}

// connection is one that has been made.
type connection struct {
	nc    *nats.Conn
	at    address
	ended chan struct{} // closed when the connection is, whoever closes it
}

// dialAny connects to the first server that lets us in. One that turned us away tells more than one that is not
// there, so its error is the one that counts.
func (l *link) dialAny(ctx context.Context, servers []address) (c connection, err error) {
	err = nats.ErrNoServers
	for _, i := range rand.Perm(len(servers)) {
		c, failed := l.dial(ctx, servers[i])
		if failed == nil {
			return c, nil
		}
		if !errors.Is(failed, nats.ErrNoServers) {
			err = failed
		}
	}
	return c, err
}

func (l *link) dial(ctx context.Context, at address) (connection, error) {
	c := connection{at: at, ended: make(chan struct{})}
	secure, err := l.secure(at)
	if err != nil {
		return c, err
	}
	d := &dialer{ctx: ctx, timeout: l.ConnectTimeout}
	defer d.release()
	options := []nats.Option{
		nats.Name("nats-account-server"),
		nats.NoEcho(),
		nats.NoReconnect(),
		nats.Timeout(l.ConnectTimeout),
		nats.SkipHostLookup(), // the dialer looks up, and can be called off
		nats.FlusherTimeout(writeWithin),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsOut),
		nats.SetCustomDialer(d),
		nats.ErrorHandler(l.complaints()),
		nats.ClosedHandler(func(*nats.Conn) { close(c.ended) }),
		secure,
	}
	if l.Credentials != "" {
		options = append(options, nats.UserCredentials(l.Credentials))
	}
	c.nc, err = nats.Connect(at.url, options...)
	return c, err
}

// dialer lets go of an attempt as soon as its context ends, also in the middle of a handshake.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
	stops   []func() bool
}

// Dial implements nats.CustomDialer. nats.go dials one server after the other.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout}
	c, err := nd.DialContext(d.ctx, network, address)
	if err == nil {
		d.stops = append(d.stops, context.AfterFunc(d.ctx, func() { _ = c.Close() }))
	}
	return c, err
}

// release ends the watch: from now on the connection is closed in order.
func (d *dialer) release() {
	for _, stop := range d.stops {
		stop()
	}
}

// failed logs a failed attempt as the original does, and once what is probably behind it.
func (l *link) failed(err error) {
	l.Log.Error(fmt.Sprintf("failed to connect to NATS [%s]: %s", shown(l.Servers), err))
	if hint := l.likely(err); hint != "" && hint != l.hinted {
		l.hinted = hint
		l.Log.Warn(hint)
	}
	l.Log.Error(fmt.Sprintf("will try to connect again in %d milliseconds", l.ReconnectWait.Milliseconds()))
}

// complaints logs what nats-server says while the session is up. A permission it denies is named once, not once
// per subject.
func (l *link) complaints() nats.ErrHandler {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		cause, hint := err.Error(), ""
		if errors.Is(err, nats.ErrPermissionViolation) || strings.Contains(strings.ToLower(cause), "permissions violation") {
			hint = ": account updates can't be announced unless the user may publish to $SYS.> and subscribe to $SYS.> and _INBOX.>"
			cause, _, _ = strings.Cut(cause, `"`)
		}
		mu.Lock()
		defer mu.Unlock()
		if told[cause] {
			return
		}
		told[cause] = true
		l.Log.Warn(fmt.Sprintf("nats error %s%s", err, hint))
	}
}
