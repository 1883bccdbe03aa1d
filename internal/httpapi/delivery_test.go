package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

func TestDeliveryShowsWhichServersHaveAcknowledgedAndWhichHaveNot(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	token := env.put(t, a)
	older := jwttest.Sign(t, env.op.Key, a, env.now.Add(-time.Hour))
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 3600))
	env.announcer.report = accounts.Report{
		Delivery: accounts.Delivery{State: accounts.Sent, Servers: 5, Acked: 1, NotInUse: 1,
			Refused: []accounts.Refusal{{Server: "n5", Reason: "no"}}},
		Servers: []accounts.ServerReport{
			{Name: "n1", ID: "NA", Version: "2.15.2", Here: true, Seen: at, Acked: true,
				State: accounts.ServerAcknowledged,
				Runs:  &accounts.Running{State: accounts.Loaded, JWT: token}},
			{Name: "n2", ID: "NB", Here: true, Seen: at, Since: at, Reason: "it does not answer",
				State: accounts.ServerUnanswered,
				Runs:  &accounts.Running{State: accounts.Loaded, JWT: older}},
			{Name: "n3", Seen: at, Since: at, State: accounts.ServerAway,
				Runs: &accounts.Running{State: accounts.NotLoaded}},
			{Name: "n4", Seen: at, Acked: true, Runs: &accounts.Running{}},
			{Name: "n5", Seen: at, Since: at, State: accounts.ServerRefused, Reason: "no"},
			{Name: "n6", Seen: at, Since: at, State: accounts.ServerNotInUse},
			{Name: "n7", Seen: at, Acked: true, State: accounts.ServerNotInUse},
			{Name: "n8", Seen: at, Since: at, State: accounts.ServerNeverAnswered},
		}}
	body := get(env, "/jwt/v1/accounts/"+a.ID+"?delivery=true&verify=true", http.StatusOK, t)
	for _, want := range []string{
		fmt.Sprintf(`"account": %q,`, a.ID),
		fmt.Sprintf(`"hash": %q,`, sha(token)),
		`"nats": "connected",`,
		`"server": "n1",`,
		`"seen": "2026-11-23T11:00:00Z"`,
		`"since": "2026-11-23T11:00:00Z"`,
		`"reason": "it does not answer"`,
		`"state": "current",`,
		`"state": "another",`,
		fmt.Sprintf(`"iat": %d,`, env.now.Add(-time.Hour).Unix()),
		fmt.Sprintf(`"hash": %q`, sha(older)),
		`"state": "not loaded"`,
		`"state": "no answer"`,
		`"summary": "1 of 5 acknowledged so far, not in use on 1; refused by n5: no",`,
		`"state": "acknowledged",`,
		`"state": "nothing pending",`,
		`"state": "not in use"`,
		`"state": "refused",`,
		`"state": "never answers updates",`,
		`"state": "away",`,
		`"reason": "no"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %s:\n%s", want, body)
		}
	}
	rest, owed, _ := strings.Cut(body, `"owed": [`)
	acknowledged, notInUse, _ := strings.Cut(rest, `"not_in_use": [`)
	if strings.Count(acknowledged, `"server"`) != 2 || strings.Count(notInUse, `"server"`) != 2 ||
		strings.Count(owed, `"server"`) != 4 {
		t.Error(body)
	}
	const path, lists = "?delivery=TRUE", `,
  "acknowledged": [],
  "not_in_use": [],
  "owed": []
}
`
	env.announcer.report = accounts.Report{}
	body = get(env, "/jwt/v1/accounts/"+a.ID+path, http.StatusOK, t)
	if !strings.HasSuffix(body, `"nats": "not configured",
  "summary": "NATS is not configured"`+lists) {
		t.Error(body)
	}
	env.announcer.report.Delivery = accounts.Delivery{State: accounts.WrongAccount,
		User: "AU", System: "AS"}
	body = get(env, "/jwt/v1/accounts/"+a.ID+path, http.StatusOK, t)
	if !strings.HasSuffix(body, `"nats": "connected, but not to the system account",
  "user_account": "AU",
  "system_account": "AS",
  "summary": "`+env.announcer.report.Delivery.String()+`"`+lists) {
		t.Error(body)
	}
	get(env, "/jwt/v1/accounts/"+jwttest.NewAccount(t).ID+"?delivery=true", http.StatusNotFound, t)
}

func get(env *environment, path string, status int, t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	env.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != status {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func sha(token []byte) string {
	sum := sha256.Sum256(token)
	return hex.EncodeToString(sum[:])
}

func TestVerifyAsksTheNatsServersTenTimesASecondHoweverManyRequestsThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := newEnvironment(t)
		a := jwttest.NewAccount(t)
		env.put(t, a)
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := map[int]int{}
		for range 50 {
			all.Go(func() {
				w := httptest.NewRecorder()
				path := "/jwt/v1/accounts/" + a.ID + "?delivery=true&verify=true"
				env.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				mu.Lock()
				defer mu.Unlock()
				answers[w.Code]++
			})
		}
		all.Wait()
		if n := answers[http.StatusOK]; n < 10 || n > 11 ||
			n+answers[http.StatusServiceUnavailable] != 50 {
			t.Errorf("answers: %v", answers)
		}
	})
}

// TestDeliveryListsManyServersInParts, each of a bounded size.
func TestDeliveryListsManyServersInParts(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	env.put(t, a)
	for i := range 1201 {
		s := accounts.ServerReport{Name: fmt.Sprintf("n/%04d&", i), Acked: i%3 == 0}
		env.announcer.report.Servers = append(env.announcer.report.Servers, s)
	}
	seen, after := map[string]int{}, ""
	for _, left := range []int{701, 201, 0} {
		path := "/jwt/v1/accounts/" + a.ID + "?delivery=true&after=" + url.QueryEscape(after)
		body := get(env, path, http.StatusOK, t)
		var answer struct {
			Acknowledged, Owed []struct{ Server string }
			LeftOut            int `json:"left_out"`
			Last               string
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		for _, s := range append(answer.Acknowledged, answer.Owed...) {
			seen[s.Server]++
		}
		if answer.LeftOut != left || len(body) > 200_000 {
			t.Errorf("%d are left out, the body has %d bytes", answer.LeftOut, len(body))
		}
		after = answer.Last
	}
	if len(seen) != 1201 || after != "" {
		t.Errorf("%d are listed, then comes %q", len(seen), after)
	}
}
