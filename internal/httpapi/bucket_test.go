package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwttest"
)

func TestTheHistoryOfAnAccountIsThatOfTheBucket(t *testing.T) {
	var kept []accounts.Revision
	var failure error
	env := newEnvironment(t, func(o *httpapi.Options) {
		o.Revisions = func(context.Context, string) ([]accounts.Revision, error) { return kept, failure }
	})
	a := jwttest.NewAccount(t)
	token := jwttest.Sign(t, env.op.Key, a, env.now)
	kept = []accounts.Revision{
		{Revision: 7, At: env.now, Kind: "http", User: "ci", Server: "m1", Override: true, JWT: token},
		{Revision: 9, At: env.now.Add(time.Second), Kind: "nats", Deleted: true},
	}
	path := "/jwt/v1/accounts/" + a.ID + "?history=true"
	body := get(env, path, http.StatusOK, t)
	for _, want := range []string{`"revision": 7,`, `"door": "http",`, `"user": "ci",`, `"server": "m1",`,
		`"override": true,`, `"deleted": true`, fmt.Sprintf(`"iat": %d,`, env.now.Unix()),
		fmt.Sprintf(`"hash": %q,`, sha(token)), fmt.Sprintf(`"jwt": %q`, token)} {
		if strings.Count(body, want) != 1 {
			t.Errorf("lacks %s, or has it twice:\n%s", want, body)
		}
	}
	failure = fmt.Errorf("%w: a secret cause", accounts.ErrBucket)
	if body := get(env, path, http.StatusServiceUnavailable, t); strings.Contains(body, "secret") {
		t.Errorf("the cause is shown: %s", body)
	}
	failure = nil
	w := httptest.NewRecorder()
	env.api.ServeHTTP(w, httptest.NewRequest(http.MethodHead, path, nil))
	if w.Code != http.StatusOK {
		t.Errorf("HEAD gives %d", w.Code)
	}
	get(newEnvironment(t), path, http.StatusNotFound, t)
}

// nats-server takes an answer to the probe for a working resolver, and starts without its accounts.
func TestTheProbeIsRefusedWhileNothingIsKnown(t *testing.T) {
	incomplete := true
	env := newEnvironment(t, func(o *httpapi.Options) { o.Incomplete = func() bool { return incomplete } })
	for _, path := range []string{"/jwt/v1/accounts/", "/jwt/v1/accounts"} {
		incomplete = true
		get(env, path, http.StatusServiceUnavailable, t)
		incomplete = false
		get(env, path, http.StatusOK, t)
	}
}

func TestEachOutcomeOfACommitHasItsAnswer(t *testing.T) {
	for _, c := range []struct {
		outcome accounts.Outcome
		status  int
		text    string
		retry   string
	}{
		{accounts.NotStored, http.StatusServiceUnavailable, "not stored: why\n", "1"},
		{accounts.Uncertain, http.StatusServiceUnavailable,
			"outcome unknown: push it again, that is safe: why\n", "1"},
		{accounts.Full, http.StatusInternalServerError, "bucket full: why\n", ""},
		{accounts.Elsewhere, http.StatusInternalServerError,
			"committed, but not on this server: why\n", ""},
	} {
		env := newEnvironment(t)
		env.store.saveErr = &accounts.CommitError{Outcome: c.outcome, Why: "why"}
		a := jwttest.NewAccount(t)
		answer := httptest.NewRecorder()
		env.api.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/jwt/v1/accounts/"+a.ID,
			bytes.NewReader(jwttest.Sign(t, env.op.Key, a, env.now))))
		if answer.Code != c.status || answer.Body.String() != c.text ||
			answer.Header().Get("Retry-After") != c.retry {
			t.Errorf("%v: %d %q, Retry-After %q", c.outcome, answer.Code, answer.Body,
				answer.Header().Get("Retry-After"))
		}
	}
}
