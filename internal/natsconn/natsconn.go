// Package natsconn owns one NATS connection. It connects, passes the connection to the code that
// uses it, and connects again until its context ends.
//
// The reconnecting of nats.go is off. So a lost connection is noticed at once, and no message waits
// in a buffer of nats.go.
package natsconn

import (
	"cmp"
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

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// Options says where and how to connect. The times must be positive. Run does not change it. The
// times are those of the section nats, or fixed ones for the bucket.
type Options struct {
	Servers     []string // NATS URLs, at least one
	Credentials string   // path of a creds file; "" for none

	// TLS returns the configuration for the next connection. If it is not nil, or if a URL demands
	// TLS, a nats-server without TLS is refused. If it is nil, TLS is used if a URL or nats-server
	// demands it. On a websocket nats-server can't demand it: a ws:// URL is without TLS then.
	TLS func() (*tls.Config, error)

	// HandshakeFirst starts TLS before nats-server sends its INFO. It counts only where a
	// nats-server without TLS is refused.
	HandshakeFirst bool

	// ConnectTimeout bounds an attempt at one server, up to the end of the handshake.
	ConnectTimeout time.Duration

	// ReconnectWait is the time between the begin of a session, or the end of an attempt, and the
	// next attempt. Up to a tenth of it is added at random.
	ReconnectWait time.Duration

	Log *slog.Logger // gets the original's lines, and hints
	// Bucket is set for a connection to the nats-servers that keep the bucket. It has lines of its
	// own.
	Bucket bool
}

// lines are what is logged of connections. The first are the original's. A line that is "" is not
// written.
type lines struct{ connecting, connected, failed, lost, again, denied string }

var (
	announcementLines = lines{
		connecting: "connecting to NATS for notifications",
		connected:  "connected to NATS for account and activation notifications",
		failed:     "failed to connect to NATS",
		lost:       "nats disconnected",
		again:      "nats reconnected",
		denied: ": account updates can't be announced unless the user may publish to $SYS.> " +
			"and subscribe to $SYS.> and _INBOX.>",
	}
	bucketLines = lines{
		connecting: "connecting to the nats-servers of the bucket",
		connected:  "connected to the nats-servers of the bucket",
		failed:     "failed to connect to the nats-servers of the bucket",
		lost:       "disconnected from the nats-servers of the bucket",
		again:      "connected to the nats-servers of the bucket again",
	}
)

const (
	// Pings find a dead connection within half a minute. Without them, a broken cable is not
	// noticed.
	pingInterval = 10 * time.Second
	maxPings     = 2 // without a reply

	// writeTimeout bounds a write to a nats-server that has stopped reading. The connection ends
	// then.
	writeTimeout = 2 * time.Second

	// The first loggedAttempts without a connection have the original's lines. Those after them
	// have one line per repeatInterval.
	loggedAttempts = 5
	repeatInterval = time.Minute

	// maxSessionLines is how many lines about connections that begin and end are logged per minute.
	maxSessionLines = 60
)

// Run connects until ctx ends and calls use with each connection. The context of use ends with the
// connection or with ctx. Run closes the connection when use returns. It returns when ctx has ended
// and use has returned. Errors are only logged.
func Run(ctx context.Context, o Options, use func(context.Context, *nats.Conn)) {
	// used is never nil, also before the first attempt: a hint reads it.
	l := link{Options: o, used: &tls.Config{}, lines: announcementLines}
	if o.Bucket {
		l.lines = bucketLines
	}
	l.sessions = logging.Limited(o.Log, maxSessionLines, time.Minute)
	l.secure = o.TLS != nil || slices.ContainsFunc(o.Servers, demandsTLS)
	for ctx.Err() == nil {
		began, wait := time.Now(), o.ReconnectWait
		nc, err := l.connect(ctx)
		switch {
		case err == nil:
			l.session(ctx, nc, use)
			// After a long session the next attempt need not wait.
			wait -= time.Since(began)
		case ctx.Err() == nil:
			// An attempt that ctx has ended is no failure, so nothing is logged.
			l.failed(err)
		}
		// The random part keeps account servers that lost the same nats-server from reconnecting
		// all at once.
		pause.For(ctx, wait+rand.N(o.ReconnectWait/10+time.Millisecond))
	}
}

// AccountOf returns the public key of the account to which the user of a connection belongs, "" if
// the user has no JWT. It reads the creds file again.
func AccountOf(nc *nats.Conn) string {
	if nc.Opts.UserJWT == nil {
		return ""
	}
	token, err := nc.Opts.UserJWT()
	if err != nil {
		return ""
	}
	user, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return ""
	}
	return cmp.Or(user.IssuerAccount, user.Issuer)
}

// link is the state that Run keeps from one connection to the next. Only Run's goroutine uses it.
// There is one for each Run.
type link struct {
	Options
	lines lines
	// secure is set if a nats-server without TLS is refused. As in nats.go, one URL that demands
	// TLS demands it for all servers, so that no password goes over the wire by mistake.
	secure bool

	again  bool        // there was a connection before
	quiet  bool        // use has given up that one, to try another nats-server
	at     address     // of the last connection
	others []address   // servers of its cluster, as it announced them
	hinted string      // the hint that was logged last
	used   *tls.Config // of the last attempt

	attempts int       // since the last connection
	since    time.Time // when the first of them began
	logged   time.Time // when the last of them was logged

	sessions *slog.Logger // for lines about connections that begin and end
}

// connect makes one attempt: first at the configured servers, then at those of the cluster, each in
// random order. If none accepts, the error is that of a server that refused, because it says more
// than that of one which is not running. An attempt takes ConnectTimeout for each server at most.
func (l *link) connect(ctx context.Context) (*nats.Conn, error) {
	if l.attempts++; l.attempts == 1 {
		l.since = time.Now()
	}
	if l.attempts <= loggedAttempts && !l.quiet {
		l.sessions.Info(l.lines.connecting)
	}
	configured := make([]address, len(l.Servers))
	for i, s := range l.Servers {
		configured[i].url = s
	}
	err := nats.ErrNoServers
	// The servers of the cluster are tried only if no configured one accepts.
	for _, servers := range [][]address{configured, l.others} {
		// The order is random so that many account servers spread over the nats-servers.
		for _, i := range rand.Perm(len(servers)) {
			nc, failed := l.dial(ctx, servers[i])
			if failed == nil {
				l.at = servers[i]
				return nc, nil
			}
			if errors.Is(err, nats.ErrNoServers) { // none has refused so far
				err = failed
			}
		}
	}
	return nil, err
}

// session runs use with a connection, and returns when the connection is closed. It notes which
// other servers the cluster has: they are tried when the configured ones are gone. A use that
// returns early gives the connection up.
func (l *link) session(
	ctx context.Context, nc *nats.Conn, use func(context.Context, *nats.Conn),
) {
	if l.again && !l.quiet {
		l.sessions.Warn(l.lines.again)
	}
	// A later failure is a new one, and may be explained again.
	l.again, l.hinted, l.attempts = true, "", 0
	if !l.quiet {
		l.sessions.Info(l.lines.connected)
	}
	// live ends with the connection, so that use returns.
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	// nats.go calls this once, whichever side closes the connection.
	nc.SetClosedHandler(func(*nats.Conn) { cancel() })
	if nc.IsClosed() { // before it had the handler
		cancel()
	}
	use(live, nc)
	l.quiet = l.Bucket && live.Err() == nil // the bucket logs why
	l.others = l.at.discovered(nc.DiscoveredServers())
	nc.Close()
	switch {
	case ctx.Err() != nil && !l.Bucket:
		l.Log.Info("disconnected from NATS")
	case ctx.Err() == nil && !l.quiet:
		l.sessions.Warn(l.lines.lost)
	}
}

// dial connects to the server at an address. The error may be that of a file, before anything is
// dialed.
func (l *link) dial(ctx context.Context, at address) (*nats.Conn, error) {
	c, err := l.configureTLS(at)
	if err != nil {
		return nil, err
	}
	d := &dialer{ctx: ctx, timeout: l.ConnectTimeout}
	defer d.release()
	o := nats.GetDefaultOptions()
	o.Servers = []string{at.url}
	o.Name = "nats-account-server"
	o.NoEcho = true // what this server announces is no news to it
	// Run connects again itself.
	o.AllowReconnect = false
	o.Timeout = l.ConnectTimeout
	o.SkipHostLookup = true // the dialer does it, and stops when ctx ends
	o.CustomDialer = d
	o.FlusherTimeout = writeTimeout
	o.PingInterval = pingInterval
	o.MaxPingsOut = maxPings
	o.AsyncErrorCB = l.errorHandler()
	o.Secure = l.secure
	// nats.go uses TLS on every websocket for which it has a configuration.
	if l.secure || !isWebsocket(at.url) {
		o.TLSConfig = c
	}
	// TLS of a websocket always comes first. nats.go would begin it twice.
	o.TLSHandshakeFirst = l.HandshakeFirst && l.secure && !isWebsocket(at.url)
	// The file is read for each attempt, so a new one counts without a reload.
	if l.Credentials != "" {
		if err := nats.UserCredentials(l.Credentials)(&o); err != nil {
			return nil, err
		}
	}
	return o.Connect()
}

// configureTLS returns what the connection to an address uses if l.secure is set, or if nats-server
// requires TLS.
func (l *link) configureTLS(at address) (*tls.Config, error) {
	c := &tls.Config{}
	if l.TLS != nil {
		// The configuration is shared with later attempts, so a copy of it is changed.
		given, err := l.TLS()
		if err != nil {
			return nil, err
		}
		c = given.Clone()
	}
	c.ServerName = at.name // if it is empty, nats.go takes the host
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	l.used = c // a hint may need it
	return c, nil
}

// dialer ends an attempt to connect as soon as its context ends, even during a handshake. nats.go
// itself has no context for that. It is for one attempt.
type dialer struct {
	ctx     context.Context
	timeout time.Duration // of the TCP connection
	stop    func() bool   // ends the watch over ctx; nil before the connection is there
}

// Dial implements nats.CustomDialer. nats.go calls it once, since it knows one address.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout}
	c, err := nd.DialContext(d.ctx, network, address)
	if err == nil {
		// A closed connection ends the handshake that nats.go is in.
		d.stop = context.AfterFunc(d.ctx, func() { _ = c.Close() })
	}
	return c, err
}

// release ends the watch over ctx. From now on session closes the connection, after what was
// written last has been sent.
func (d *dialer) release() {
	if d.stop != nil {
		d.stop()
	}
}

// failed logs a failed attempt as the original does, but without passwords. After loggedAttempts,
// there is one line per repeatInterval, with a count. A hint is logged once, until it changes or
// there was a connection. The line has the URLs without users.
func (l *link) failed(err error) {
	l.quiet = false
	text := fmt.Sprintf("%s [%s]: %s", l.lines.failed, withoutUsers(l.Servers), err)
	hint := l.explain(err)
	isNew := hint != "" && hint != l.hinted
	switch {
	case l.attempts <= loggedAttempts:
	// A new hint says more than the count, so it comes at once.
	case isNew || time.Since(l.logged) >= repeatInterval:
		text += fmt.Sprintf(" (%d attempts since %s)", l.attempts,
			logging.Time(l.since))
	default:
		return
	}
	l.logged = time.Now()
	l.Log.Error(text)
	if isNew {
		l.hinted = hint
		l.Log.Warn(hint)
	}
	l.announceRetry()
}

// announceRetry logs when the next attempt follows, unless it is one of many.
func (l *link) announceRetry() {
	text := fmt.Sprintf("will try to connect again in %d milliseconds",
		l.ReconnectWait.Milliseconds())
	switch {
	case l.attempts < loggedAttempts:
		l.Log.Error(text)
	case l.attempts == loggedAttempts:
		l.Log.Error(text + ", and log it once a minute from now on")
	}
}

// errorHandler returns a handler that logs each error of a connection once. Permissions that are
// denied count as one error, whatever their subjects: each announcement can cause one. nats.go may
// call the handler from several goroutines.
func (l *link) errorHandler() nats.ErrHandler {
	var mu sync.Mutex
	logged := map[string]bool{} // guarded by mu
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		cause, hint := err.Error(), ""
		if errors.Is(err, nats.ErrPermissionViolation) { // of the bucket: package bucket says more
			hint = l.lines.denied
			cause, _, _ = strings.Cut(cause, `"`) // the subject follows
		}
		mu.Lock()
		defer mu.Unlock()
		// The map is small: nats-server knows few errors besides those of permissions.
		if !logged[cause] {
			logged[cause] = true
			l.Log.Warn(fmt.Sprintf("nats error %s%s", err, hint))
		}
	}
}
