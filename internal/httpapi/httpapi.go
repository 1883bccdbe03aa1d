// Package httpapi answers HTTP: it parses a request, calls the registry, and renders what that
// returned.
//
//	request ──> CORS ──> router ──> Authorizer ──> handler ──> accounts.Registry
//	                       │          └─ error ──> answer     errors.go: the one table of status
//	                       └─ no route ──> redirect, or 404 with a hint
//
// It has no rule of its own about JWTs. A path segment that is not a public account key is never
// looked up, and is repeated neither in the log nor in an answer.
//
// # Files
//
// To be read in this order: httpapi.go has the API and its routes, router.go finds the route of a
// path, and errors.go the answer to an error. authorize.go, known.go and accept.go read headers.
// account.go is GET and post.go POST of an account. dryrun.go, impact.go, delivery.go, history.go,
// pack.go and activation.go are a route or a parameter each. monitor.go, pages.go and manual.go
// have the routes of packages monitor, pages and manual. send.go and render.go write answers, and
// log.go lines of the log. help.md and openapi.json describe the API: tests compare them with it.
package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/pages"
	"nats-account-server/internal/trust"
)

// Options is what an API needs.
type Options struct {
	// Accounts and Activations answer what the requests ask for.
	Accounts    *accounts.Registry
	Activations *activations.Registry
	// Authorizer decides who may do what. nil means that every client may read and write.
	Authorizer Authorizer

	// Operator is the JWT at /jwt/v1/operator, byte for byte. nil means that the route is a 404.
	Operator []byte
	// Secret means that the operator's JWT needs credentials. Without an Authorizer it is a 403.
	Secret bool

	// ReadOnly means that there is no POST.
	ReadOnly bool
	// Primary is the URL of the server that this one follows, "" if there is none.
	Primary string
	// Incomplete reports whether this server has no account, and does not know yet which there are.
	// nil means that it always knows.
	Incomplete func() bool
	// Revisions returns what the bucket keeps of an account, oldest first. nil means that there is
	// none.
	Revisions func(ctx context.Context, key string) ([]accounts.Revision, error)
	// CommitTime is how long the store may take for a push; 0: less than the time for an answer.
	CommitTime time.Duration
	// MaxPack is the most accounts that a pack has. Below 0 there is no limit.
	MaxPack int

	// Monitor says how the server is doing. nil means that there are no routes for that.
	Monitor *monitor.Monitor
	// Foreteller says what a push would do to those who are connected. nil: a dry run does not say
	// it.
	Foreteller *effect.Foreteller
	// Metrics count the requests. nil means that they are not counted.
	Metrics *monitor.Metrics
	// Pages are the pages for people. nil means that there are none.
	Pages *pages.Site
	// Only says which routes there are.
	Only Routes

	Log *slog.Logger     // nil: discard
	Now func() time.Time // nil: time.Now
}

// API is the handler of every HTTP request. Between requests it keeps nothing but what limits them.
// It may be called from any goroutine. A reload makes another one.
type API struct {
	Options
	router router
	// browserRoutes are the routes that a browser has: those of its own, and all others. It is as
	// long as router if there are no pages.
	browserRoutes router
	other         *route // stands for the paths that no route has
	pages         *pageHandler
	log           *requestLog
	// packing has the addresses that a pack is being sent to, packs one token for each.
	packing   sync.Map
	packs     chan struct{}
	verifying *rate.Limiter // limits the requests that make every nats-server answer
}

// New returns the handler. It starts nothing, so it need not be closed.
//
// The routes depend on the options alone, so they are made once.
func New(o Options) *API {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Incomplete == nil {
		o.Incomplete = func() bool { return false }
	}
	if o.Metrics == nil {
		o.Metrics = monitor.NewMetrics("", "")
	}
	// A reload makes another API, so its limits begin anew then.
	a := &API{
		Options: o,
		log: &requestLog{
			Logger:   o.Log,
			failures: logging.Limited(o.Log, maxFailureLines, time.Minute),
			now:      o.Now,
			since:    o.Now(),
		},
		verifying: rate.NewLimiter(maxVerifying, 1),
		packs:     make(chan struct{}, maxPacks),
	}
	a.pages = &pageHandler{o.Pages, o.Only == PublicRoutes}
	// A browser has the pages' routes first: of two that match, the first counts.
	a.router, a.other = append(a.routes(), a.pages.parts()...), &route{label: monitor.RouteOther}
	a.browserRoutes = slices.Concat(a.pages.routes(), a.router)
	for _, rt := range append(slices.Clip(a.browserRoutes), a.other) {
		rt.prepare(o.Metrics)
	}
	return a
}

// routes returns every route that the options offer. The one that is asked for most comes first.
//
// A row gives a path, who may read, and the handlers. Roles of POST are not in it: each POST needs
// a writer. No two rows match the same path, so the order means speed only.
func (a *API) routes() router {
	// A handler that is nil makes the method a 405, with the header Allow that fits.
	dryRuns := &dryRunner{a.Accounts, a.Monitor, a.Foreteller, a.Metrics,
		rate.NewLimiter(triesPerSecond, maxTries)}
	post, try, postToken := a.postAccount, dryRuns.post, a.postActivation
	if a.ReadOnly {
		// The routes stay, so that a push to a read-only server is a 405 and no 404.
		post, try, postToken = nil, nil, nil
	}
	impact := a.getImpact
	if a.Monitor == nil {
		impact = nil
	}
	// Reading is for every client, or for those that the Authorizer lets read.
	const every = auth.Anonymous
	const token, page = monitor.RouteActivation, monitor.RoutePage
	// It needs no credentials, because a load balancer asks for it as a rule.
	health := router{{path: pathHealth, read: auth.Unauthenticated, get: getHealth, label: page}}
	health = append(health, (&monitorHandler{a.Monitor, a.Only}).routes()...)
	// A monitor on an address of its own serves no JWT.
	if a.Only == MonitorRoutes {
		return health
	}
	t := router{
		{path: pathAccount, isKey: trust.IsAccountKey, read: every, get: a.getAccount, post: post},
		{path: pathAccount, isKey: trust.IsAccountKey, suffix: suffixDryRun, post: try,
			label: monitor.RouteOther},
		{path: pathAccount, isKey: trust.IsAccountKey, suffix: suffixImpact, read: every,
			get: impact, label: monitor.RouteOther},
		// Without a key it is about no account.
		{path: pathAccount, read: every, get: a.getProbe, label: monitor.RouteAccounts},
		{path: pathAccounts, read: every, get: a.getProbe, label: monitor.RouteAccounts},
		{path: pathActivation, isKey: trust.IsActivationHash, read: every, get: a.getActivation,
			label: token},
		{path: pathActivations, post: postToken, label: token},
		{path: pathPack, read: every, get: a.getPack, label: monitor.RoutePack},
		{path: pathHelp, read: every, get: getHelp, label: page},
		{path: pathOpenAPI, read: every, get: getOpenAPI, label: page},
	}
	t = append(t, health...)
	if a.Operator != nil {
		// The original has no such route without an operator either.
		operator := &route{path: pathOperator, read: every, get: a.getOperator,
			label: monitor.RouteOperator}
		if a.Secret {
			operator.read = auth.Reader
		}
		t = append(t, operator)
	}
	return t
}

// routesFor returns the routes that a client has. Browsers are those that name text/html in Accept.
func (a *API) routesFor(r *http.Request) router {
	if len(a.browserRoutes) > 0 && isBrowser(r) {
		return a.browserRoutes
	}
	return a.router
}

// prepare completes a route. It is called before the first request, since all requests share the
// route.
func (rt *route) prepare(m *monitor.Metrics) {
	rt.allow = rt.methods()
	rt.durations = [2]prometheus.Observer{m.Requests(rt.label, false), m.Requests(rt.label, true)}
}

// ServeHTTP implements http.Handler.
//
// The order: rescue first, since anything later may panic. Then what needs no route, then the
// route, and the credentials only when the route and its method are known. So a client without
// credentials learns which routes there are, and nothing that is behind them.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// net/http would close the connection instead of answering.
	defer a.rescue(w)
	if r.TransferEncoding != nil {
		// net/http ignores a Content-Length beside it. A proxy before this server may have gone by
		// that, and may take the rest for another request. So no request may follow on this
		// connection.
		w.Header().Set("Connection", "close")
	}
	// A preflight is answered before routes and credentials are looked at: browsers send none.
	if isPreflight(r) {
		answerPreflight(w, r)
		return
	}
	shareWithOrigin(w.Header(), r)
	// The path is decoded: an escaped character is the same as the character.
	routes := a.routesFor(r)
	rt, key := routes.match(r.URL.Path)
	defer cmp.Or(rt, a.other).observe(r, time.Now())
	mayBePage := a.pages.mayBePage(r.URL.Path, rt)
	if mayBePage {
		w.Header()["Vary"] = varyPage
	}
	if a.log.tracing(r) {
		a.log.trace(r, r.RemoteAddr+": "+requestLine(r, rt, key), "")
	}
	var err error
	if rt == nil {
		err = routes.elsewhere(w, r)
	} else {
		err = a.serve(w, r, rt, key)
	}
	if err != nil {
		a.fail(w, key, err, mayBePage && isBrowser(r))
	}
}

// rescue turns a panic into a 500 and an ERR line with its stack. Handlers write last, so nothing
// was sent yet. It must be called by defer.
func (a *API) rescue(w http.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	// net/http closes the connection without a line in the log.
	if p == http.ErrAbortHandler {
		panic(p)
	}
	a.log.Error("panic: " + logging.Quote(fmt.Sprintf("%v - %s", p, debug.Stack()), maxStackBytes))
	sendPage(w, http.StatusInternalServerError, textInternal)
}

// serve calls the handler of the request's method. key is the part of the path behind the route's,
// "" if the route has none or it is not valid. An error means that nothing was sent. ServeHTTP
// answers it then.
func (a *API) serve(w http.ResponseWriter, r *http.Request, rt *route, key string) error {
	// A method that the route does not have is a 405 for every client, with credentials or not.
	handle := rt.method(r.Method)
	if handle == nil {
		return a.refuseMethod(w, r, rt)
	}
	r, err := a.authorize(r, rt)
	if err != nil {
		return err
	}
	// A replica names itself there. Two servers that follow each other must not ask in a circle.
	if via := r.Header["Via"]; via != nil {
		r = r.WithContext(accounts.WithVia(r.Context(), strings.Join(via, ", ")))
	}
	if hasAny(r) && r.Method != http.MethodPost {
		w = &withoutContent{ResponseWriter: w}
	}
	return handle(w, r, key)
}

// refuseMethod answers a method that the route does not have. OPTIONS is one: it needs no handler.
func (a *API) refuseMethod(w http.ResponseWriter, r *http.Request, rt *route) error {
	// RFC 9110 wants the header with every 405.
	w.Header()["Allow"] = rt.allow
	switch {
	case r.Method == http.MethodOptions:
		sendEmpty(w, http.StatusOK)
		return nil
	case r.Method == http.MethodPost && a.Primary != "":
		return fmt.Errorf("%w\nthis server follows %s: push there", errFollows, a.Primary)
	}
	return errMethod
}
