package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/monitor"
)

// Routes says which routes an API has.
type Routes int

// The value of an API that is the only one is AllRoutes.
const (
	AllRoutes    Routes = iota
	PublicRoutes        // all but those that only say how the server is doing: another API has them
	WatchRoutes         // those that say how the server is doing
)

// watchRoutes returns the routes that say how the server is doing. Load balancers have no credentials, so
// /readyz needs none.
func (a *API) watchRoutes() router {
	if a.Monitor == nil {
		return nil
	}
	page := monitor.RoutePage
	t := router{{path: pathReady, read: auth.Unauthenticated, get: a.getReady, label: page}}
	if a.Only == PublicRoutes {
		return t
	}
	const every = auth.Anonymous
	return append(t, router{
		{path: pathMetrics, read: every, get: a.getMetrics, label: page},
	}...)
}

// getReady says whether the server is ready, and why it is not.
func (a *API) getReady(w http.ResponseWriter, _ *http.Request, _ string) error {
	ready, status := a.Monitor.Ready(), http.StatusOK
	if !ready.Ready() {
		status = http.StatusServiceUnavailable
	}
	return sendJSON(w, status, ready)
}

// getMetrics serves the metrics.
func (a *API) getMetrics(w http.ResponseWriter, r *http.Request, _ string) error {
	a.Monitor.ServeMetrics(w, r)
	return nil
}

// sendJSON sends what changes from moment to moment, as nats-server does.
func sendJSON(w http.ResponseWriter, status int, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	forbidCaching(w.Header())
	send(w, status, typeJSON, string(text)+"\n")
	return nil
}

// observe records how long a request took.
func (rt *route) observe(r *http.Request, began time.Time) {
	of := 0
	if r.Method == http.MethodPost {
		of = 1
	}
	rt.durations[of].Observe(time.Since(began).Seconds())
}

// countRead counts a request for an account.
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
