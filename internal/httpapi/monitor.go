package httpapi

import (
	"errors"
	"math"
	"net/http"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/trust"
)

// Routes says which routes an API has.
type Routes int

// The value of an API that is the only one is AllRoutes.
const (
	AllRoutes     Routes = iota
	PublicRoutes         // the others: a second API has those of MonitorRoutes
	MonitorRoutes        // those that say how the server is doing
)

// monitorHandler answers how the server is doing. Which of its routes there are depends on only.
type monitorHandler struct {
	monitor *monitor.Monitor // nil: it answers nothing
	only    Routes
}

// routes returns the routes that say how the server is doing. Load balancers have no credentials,
// so /readyz needs none.
func (h *monitorHandler) routes() router {
	if h.monitor == nil {
		return nil
	}
	page := monitor.RoutePage
	t := router{{path: pathReady, read: auth.Unauthenticated, get: h.getReady, label: page}}
	if h.only == PublicRoutes {
		return t
	}
	return append(t, router{
		{path: pathMetrics, read: everyClient, get: h.getMetrics, label: page},
		{path: pathVarz, read: everyClient, get: h.getVarz, label: page},
		{path: pathAccountz, read: everyClient, get: h.getAccountz, label: page},
		{path: pathServerz, read: everyClient, get: h.getServerz, label: page},
	}...)
}

// getReady says whether the server is ready, and why it is not. The answer is 200 or 503, and has
// the same JSON in both cases.
func (h *monitorHandler) getReady(w http.ResponseWriter, _ *http.Request, _ string) error {
	ready, status := h.monitor.Ready(), http.StatusOK
	if !ready.Ready() {
		status = http.StatusServiceUnavailable
	}
	return sendJSON(w, status, ready)
}

// getMetrics serves the metrics, in the form that the client wants.
func (h *monitorHandler) getMetrics(w http.ResponseWriter, r *http.Request, _ string) error {
	w.Header().Set("Vary", "Origin, Accept, Accept-Encoding")
	h.monitor.ServeMetrics(w, r)
	return nil
}

// getVarz says how the server is doing.
func (h *monitorHandler) getVarz(w http.ResponseWriter, _ *http.Request, _ string) error {
	return sendJSON(w, http.StatusOK, h.monitor.Varz())
}

// What an answer of /accountz or /serverz has at most, and if the request does not say.
const (
	maxLimit   = 1024
	usualLimit = 256
)

// getServerz describes the nats-servers.
func (h *monitorHandler) getServerz(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	limit, err := f.number("limit", usualLimit, maxLimit)
	if err != nil {
		return err
	}
	offset, err := f.number("offset", 0, math.MaxInt32)
	if err != nil {
		return err
	}
	return sendJSON(w, http.StatusOK, h.monitor.Serverz(offset, max(limit, 1)))
}

// getAccountz describes stored accounts. A text that is no key of an account is not looked up. A
// limit of 0 counts as 1, so that an answer always gets further than after. An account that is
// asked for and not stored is a 404, and a prefix without accounts is an empty list.
func (h *monitorHandler) getAccountz(w http.ResponseWriter, r *http.Request, _ string) error {
	f := flagsOf(r)
	limit, err := f.number("limit", usualLimit, maxLimit)
	if err != nil {
		return err
	}
	q := monitor.AccountQuery{Account: f.value("acc"), Prefix: f.value("prefix"),
		Pending: f.set("pending"), Incomplete: f.set("incomplete"), After: f.value("after"),
		Limit: max(limit, 1)}
	if q.Account != "" && !trust.IsAccountKey(q.Account) {
		return accounts.ErrNotFound
	}
	z := h.monitor.Accountz(q)
	if q.Account != "" && len(z.Accounts) == 0 {
		return accounts.ErrNotFound
	}
	return sendJSON(w, http.StatusOK, z)
}

// observe records how long a request took, from when its route was found until its answer was
// written. rt is nil for a path that no route has.
func (a *API) observe(r *http.Request, rt *route, began time.Time) {
	label := monitor.RouteOther
	if rt != nil {
		label = rt.label
	}
	a.Metrics.Requested(label, r.Method == http.MethodPost, time.Since(began))
}

// countRead counts a request for an account. nil is a JWT that was sent.
func (a *API) countRead(err error) {
	result := monitor.ReadFailed
	switch {
	case err == nil:
		result = monitor.Found
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, errExpired):
		result = monitor.NotFound
	case errors.Is(err, accounts.ErrPeers), errors.Is(err, accounts.ErrPrimary):
		result = monitor.Unavailable
	}
	a.Metrics.Read(monitor.HTTP, result)
}
