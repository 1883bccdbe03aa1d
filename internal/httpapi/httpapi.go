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
// path, and errors.go the answer to an error. authorize.go, known.go and accept.go read headers, and
// flags.go parameters. account.go is GET and post.go POST of an account. dryrun.go, impact.go,
// delivery.go, history.go, pack.go and activation.go are a route or a parameter each, and fixed.go
// has the answers that never change. monitor.go, pages.go and manual.go have the routes of packages
// monitor, pages and manual. cors.go is for scripts of other origins. send.go and render.go write
// answers, and log.go lines of the log. help.md and openapi.json describe the API: tests compare
// them with it.
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

	"golang.org/x/sync/semaphore"
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
	// browserRoutes are the routes that a browser has: those of its own, and then all of router.
	browserRoutes router
	pages         *pageHandler
	log           *requestLog
	// packing has the addresses that a pack is being sent to. packs bounds the packs of all.
	packing   sync.Map
	packs     *semaphore.Weighted
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
		packs:     semaphore.NewWeighted(maxPacks),
	}
	a.pages = &pageHandler{o.Pages, o.Only == PublicRoutes}
	a.router = append(a.routes(), a.pages.parts()...)
	// Of two routes that match, the first counts.
	a.browserRoutes = slices.Concat(a.pages.routes(), a.router)
	return a
}

// routes returns every route that the options offer, for programs.
//
// A row gives a path, who may read, and the handlers. Roles of POST are not in it: each POST needs
// a writer. No two rows match the same path, so the order means speed only: the account, which is
// asked for most, comes first.
func (a *API) routes() router {
	// It needs no credentials, because a load balancer asks for it as a rule.
	health := router{{path: pathHealth, read: auth.Unauthenticated, get: getHealth,
		label: monitor.RoutePage}}
	health = append(health, (&monitorHandler{a.Monitor, a.Only}).routes()...)
	// A monitor on an address of its own serves no JWT.
	if a.Only == MonitorRoutes {
		return health
	}
	t := slices.Concat(a.accountRoutes(), a.otherRoutes(), health)
	if a.Operator != nil {
		// The original has no such route without an operator either.
		operator := &route{path: pathOperator, read: everyClient, get: a.getOperator,
			label: monitor.RouteOperator}
		if a.Secret {
			operator.read = auth.Reader
		}
		t = append(t, operator)
	}
	return t
}

// accountRoutes returns the routes of accounts. On a read-only server the handlers of POST are nil:
// a push is a 405 there, with the header Allow that fits, and no 404.
func (a *API) accountRoutes() router {
	dryRuns := &dryRunner{a.Accounts, a.Monitor, a.Foreteller, a.Metrics,
		rate.NewLimiter(triesPerSecond, maxTries)}
	post, try, impact := a.postAccount, dryRuns.post, a.getImpact
	if a.ReadOnly {
		post, try = nil, nil
	}
	if a.Monitor == nil {
		impact = nil
	}
	return router{
		{path: pathAccount, isKey: trust.IsAccountKey, read: everyClient, get: a.getAccount,
			post: post},
		{path: pathAccount, isKey: trust.IsAccountKey, suffix: suffixDryRun, post: try,
			label: monitor.RouteOther},
		{path: pathAccount, isKey: trust.IsAccountKey, suffix: suffixImpact, read: everyClient,
			get: impact, label: monitor.RouteOther},
		// Without a key it is about no account.
		{path: pathAccount, read: everyClient, get: a.getProbe, label: monitor.RouteAccounts},
		{path: pathAccounts, read: everyClient, get: a.getProbe, label: monitor.RouteAccounts},
	}
}

// otherRoutes returns the routes of activation tokens, the pack and the description of the API.
func (a *API) otherRoutes() router {
	post := a.postActivation
	if a.ReadOnly {
		post = nil
	}
	return router{
		{path: pathActivation, isKey: trust.IsActivationHash, read: everyClient,
			get: a.getActivation, label: monitor.RouteActivation},
		{path: pathActivations, post: post, label: monitor.RouteActivation},
		{path: pathPack, read: everyClient, get: a.getPack, label: monitor.RoutePack},
		{path: pathHelp, read: everyClient, get: getHelp, label: monitor.RoutePage},
		{path: pathOpenAPI, read: everyClient, get: getOpenAPI, label: monitor.RoutePage},
	}
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
	routes := a.router
	if isBrowser(r) {
		routes = a.browserRoutes
	}
	rt, key := routes.match(r.URL.Path)
	defer a.observe(r, rt, time.Now())
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
	w.Header()["Allow"] = []string{rt.methods()}
	switch {
	case r.Method == http.MethodOptions:
		sendEmpty(w, http.StatusOK)
		return nil
	case r.Method == http.MethodPost && a.Primary != "":
		return fmt.Errorf("%w\nthis server follows %s: push there", errFollows, a.Primary)
	}
	return errMethod
}
