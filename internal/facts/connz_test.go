package facts_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// ready returns an Asker that asks the nats-server n1 through a connection.
func ready(t *testing.T, conn facts.Conn) (*facts.Asker, []facts.Server) {
	t.Helper()
	n1 := facts.Server{Name: "n1", ID: "N1"}
	a := serve(t, conn, n1)
	natstest.Eventually(t, "the Asker has a connection", func() bool {
		return a.Info(deadline(t, time.Millisecond), "A")[0].Reason != "NATS is not connected"
	})
	return a, []facts.Server{n1}
}

// TestConnectionsArePaged, and the JWT of no user is kept.
func TestConnectionsArePaged(t *testing.T) {
	token, id := userToken(t, func(u *jwt.UserClaims) { u.Limits.Subs = 7; u.Pub.Allow.Add("x") })
	all := make([]string, 12_000)
	for n := range all {
		shown := ""
		if n%2 == 0 {
			shown = fmt.Sprintf(`,"jwt":%q`, token)
		}
		all[n] = fmt.Sprintf(`{"cid":%d,"kind":"Leafnode","start":"2026-11-14T08:00:00Z",`+
			`"authorized_user":%q,"issuer_key":"K","subscriptions":%d%s}`, n+1, id, n, shown)
	}
	requests := 0
	a, n1 := ready(t, &fakeConn{reply: func(subject string, data []byte) []string {
		if !strings.HasSuffix(subject, ".CONNZ") {
			return nil
		}
		requests++
		var q struct {
			Limit, Offset int
			Acc           string
			Auth          bool
		}
		if json.Unmarshal(data, &q) != nil || q.Limit == 0 || q.Acc != "A" || !q.Auth {
			t.Errorf("asked for %s", data)
		}
		page := all[q.Offset:min(len(all), q.Offset+q.Limit)]
		return []string{from("N1", fmt.Sprintf(`"data":{"total":%d,"connections":[%s]}`, len(all),
			strings.Join(page, ",")))}
	}})
	got := a.Connections(deadline(t, 20*time.Second), "A", n1)
	if len(got) != 1 || got[0].Reason != "" || len(got[0].All) != len(all) || requests != 3 {
		t.Fatalf("%d requests, %d connections, %s", requests, len(got[0].All), got[0].Reason)
	}
	c := got[0].All[4]
	if !c.IsLeaf || c.User != id || c.Issuer != "K" || c.Subscriptions != 4 || c.IsHidden || c.IsBearer() ||
		c.MaxSubscriptions != 7 || !c.HasPermissions || c.IssuedAt == 0 || c.Start.Year() != 2026 {
		t.Errorf("%+v", c)
	}
	if c := got[0].All[5]; !c.IsHidden || !c.IsBearer() {
		t.Errorf("%+v", c)
	}
	if kept := fmt.Sprintf("%+v", got); strings.Contains(kept, token[:20]) {
		t.Errorf("a JWT is kept: %.100s", kept)
	}
}

// nats-server lets a user in whose signature is spelled with other unused bits. That must not make it
// look like one whose JWT is hidden.
func TestAJWTInAnotherSpellingIsRead(t *testing.T) {
	token, id := userToken(t, func(u *jwt.UserClaims) { u.Limits.Subs = 7 })
	last := len(token) - 1
	respelled := token[:last] + string(token[last]+1)
	if _, err := jwt.DecodeUserClaims(respelled); err != nil {
		t.Fatal(err) // nats-server would refuse it
	}
	a, n1 := ready(t, &fakeConn{reply: func(string, []byte) []string {
		return []string{from("N1", fmt.Sprintf(
			`"data":{"total":1,"connections":[{"cid":1,"authorized_user":%q,"jwt":%q}]}`, id, respelled))}
	}})
	got := a.Connections(deadline(t, 20*time.Second), "A", n1)
	if len(got) != 1 || len(got[0].All) != 1 {
		t.Fatalf("%+v", got)
	}
	if c := got[0].All[0]; c.IsHidden || c.IsBearer() || c.MaxSubscriptions != 7 {
		t.Errorf("%+v", c)
	}
}

// userToken makes the JWT of a user.
func userToken(t *testing.T, edit func(*jwt.UserClaims)) (token, id string) {
	creds, id := jwttest.NewAccount(t).User(t, edit)
	token, err := jwt.ParseDecoratedJWT(creds)
	if err != nil {
		t.Fatal(err)
	}
	return token, id
}

// TestHostileConnectionsAreRefused, with the reason, and they end.
func TestHostileConnectionsAreRefused(t *testing.T) {
	page := func(from, n, total int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"cid":%d,"jwt":"a.b.c"}`, from+i)
		}
		return fmt.Sprintf(`"data":{"total":%d,"connections":[%s]}`, total, strings.Join(list, ","))
	}
	again := page(1, 5000, 1<<40)
	for _, row := range []struct {
		name   string
		data   func(offset int) string
		reason string
	}{
		{"no data", func(int) string { return `"x":1` }, "neither"},
		{"an error", func(int) string { return `"error":{"description":"no"}` }, "it says: no"},
		{"more than asked", func(int) string { return page(1, 5001, 5001) }, "than were asked"},
		{"a number for a text", func(int) string { return `"data":{"connections":[{"kind":5}]}` }, "type"},
		{"no end", func(offset int) string { return page(offset+1, 5000, 1<<40) }, "too many"},
		{"no end, the same again and again", func(int) string { return again }, "too many"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, n1 := ready(t, &fakeConn{reply: func(subject string, data []byte) []string {
				var q struct{ Offset int }
				_ = json.Unmarshal(data, &q)
				return []string{from("N1", row.data(q.Offset))}
			}})
			got := a.Connections(deadline(t, 20*time.Second), "A", n1)
			if !strings.Contains(got[0].Reason, row.reason) || len(got[0].All) > 0 {
				t.Errorf("%d connections, %q", len(got[0].All), got[0].Reason)
			}
		})
	}
}

// TestWhatIsStored adds up what a nats-server has, and takes those without JetStream for empty.
func TestWhatIsStored(t *testing.T) {
	for _, row := range [][2]string{
		{`"data":{"memory":5,"storage":7,"stream_detail":[{"name":"s","config":{"num_replicas":3,` +
			`"storage":"memory"},"state":{"bytes":9}},{}]}`, "5 7 [{s 3 9 true} { 1 0 false}]"},
		{`"error":{"description":"jetstream not enabled"}`, "0 0 []"},
		{`"error":{"description":"account \"A\" not jetstream enabled"}`, "0 0 []"},
		{`"error":{"description":"account \"A\" not found"}`, "0 0 []"},
		{`"error":{"description":"busy"}`, "it says: busy"},
		{`"data":{"memory":-5}`, "of another type"},
		{`"data":{"stream_detail":[` + strings.Repeat(`{},`, 20_000) + `{}]}`, "too many"},
	} {
		conn := &fakeConn{reply: func(string, []byte) []string { return []string{from("N1", row[0])} }}
		a, _ := ready(t, conn)
		j := a.JetStream(deadline(t, 20*time.Second), "A")[0]
		if got := fmt.Sprint(j.Memory, j.Disk, j.Streams, j.Reason); !strings.Contains(got, row[1]) {
			t.Errorf("%.100s is %s", row[0], got)
		}
	}
}

// TestWhatThereIsForJetStream is read with mistrust, and asked once for those who follow each other. Only a
// nats-server that compares is asked for accounts.
func TestWhatThereIsForJetStream(t *testing.T) {
	const config = `"config":{"max_memory":5,"max_storage":-7}`
	for _, row := range [][2]string{
		{`"data":{` + config + `,"reserved_storage":3,"total":9,"account_details":[{"id":"A",` +
			`"reserved_memory":18446744073709551615,"reserved_storage":9223372036854775807}]}`,
			"true {5 -1} {0 3} [{A {-1 1125899906842624}}] true"},
		{`"data":{` + config + `,"meta_cluster":{}}`, "false"},
		{`"data":{"disabled":true}`, "false"},
		{`"data":{"account_details":{}}`, "malformed"},
		{`"error":{"description":"busy"}`, "it says: busy"},
	} {
		asked := 0
		conn := &fakeConn{reply: func(string, []byte) []string {
			asked++
			return []string{from("N1", row[0])}
		}}
		a, _ := ready(t, conn)
		asked = 0
		for range 2 {
			c := a.Capacity(deadline(t, 20*time.Second), time.Hour)[0]
			got := fmt.Sprint(c.IsFixed, c.Has, c.Streams, c.Accounts, c.HasMore, c.Reason)
			if !strings.Contains(got, row[1]) {
				t.Errorf("%.100s is %s", row[0], got)
			}
		}
		if isFixed := strings.HasPrefix(row[1], "true"); isFixed && asked != 2 || !isFixed && asked != 1 {
			t.Errorf("it was asked %d times", asked)
		}
	}
}
