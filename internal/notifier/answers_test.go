package notifier

import (
	"reflect"
	"strings"
	"testing"

	"nats-account-server/internal/accounts"
)

// TestWhatAnswersMean has the texts of nats-servers from 2.1 to 2.15, by the kind of their
// resolver.
func TestWhatAnswersMean(t *testing.T) {
	const server = `"server":{"name":"n","id":"N","ver":"2.10.1"}`
	refusal := func(reason string) answer {
		running := accounts.Running{State: accounts.NoAnswer, Reason: reason}
		return answer{result: refused, reason: reason, running: running}
	}
	notLoaded := accounts.Running{State: accounts.NotLoaded}
	for _, c := range []struct {
		name, text string
		want       answer
	}{
		{
			"URL or memory, with the account loaded; or a full resolver",
			`{` + server + `,"data":{"message":"jwt updated"}}`,
			answer{result: applied, running: notLoaded},
		},
		{
			"URL or memory, without the account",
			`{` + server + `,"data":{"message":"jwt update skipped"}}`,
			answer{result: skipped, resolver: fetching, running: notLoaded},
		},
		{
			"a cache that has the account",
			`{` + server + `,"data":{"message":"jwt updated cache"}}`,
			answer{result: applied, resolver: caching, running: notLoaded},
		},
		{
			"a cache without the account",
			`{` + server + `,"data":{"message":"jwt update cache skipped"}}`,
			answer{result: notCached, resolver: caching, running: notLoaded},
		},
		{
			"a refusal", `{` + server +
				`,"error":{"code":500,"description":"jwt update resulted in error"}}`,
			refusal("jwt update resulted in error"),
		},
		{
			"an error counts more than data",
			`{` + server + `,"data":{"message":"jwt updated"},"error":{"description":"no"}}`,
			refusal("no"),
		},
		{
			"neither data nor an error", `{` + server + `}`,
			answer{
				result: refused, reason: "it answers, but neither with data nor with an error",
				running: notLoaded,
			},
		},
		{
			"what is run for an account",
			`{` + server + `,"data":{"account_detail":{"jwt":"x.y.z"}}}`,
			answer{result: applied,
				running: accounts.Running{State: accounts.Loaded, JWT: []byte("x.y.z")}},
		},
		{
			"an account without a JWT", `{` + server + `,"data":{"account_detail":{}}}`,
			answer{result: applied, running: notLoaded},
		},
		{
			"an account that is not loaded",
			`{` + server + `,"error":{"description":"Account A does not exist"}}`,
			answer{result: refused, reason: "Account A does not exist", running: notLoaded},
		},
		{
			"a reason, which the log and JSON escape",
			`{` + server + `,"error":{"description":"a\n\u001b"}}`,
			refusal("a\n\x1b"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.serverID, c.want.version = serverID{"n", "N"}, "2.10.1"
			if got, ok := readAnswer([]byte(c.text)); !ok || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v %+v\nwant %+v", ok, got, c.want)
			}
		})
	}
}

// TestWhatAServerSaysOfItself in its answers to PING.
func TestWhatAServerSaysOfItself(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       answer
	}{
		{"IDZ", `{"name":"n","id":"N","host":"h"}`, answer{serverID: serverID{"n", "N"}}},
		{
			"PING",
			`{"server":{"name":"n","id":"N","ver":"2.9.1"},"statsz":{"active_servers":3}}`,
			answer{serverID: serverID{"n", "N"}, version: "2.9.1", activeServers: 3},
		},
		{
			"the accounts that it has loaded",
			`{"server":{"name":"n"},"data":{"accounts":["A","B"]}}`,
			answer{serverID: serverID{Name: "n"}, loaded: []string{"A", "B"}},
		},
		{
			"a name that is not fit for a log", `{"server":{"name":"a\u001b[2J\nb"}}`,
			answer{serverID: serverID{Name: `a\x1b[2J\nb`}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := readAnswer([]byte(c.text))
			got.result, got.reason, got.running = 0, "", accounts.Running{}
			if !ok || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v %+v\nwant %+v", ok, got, c.want)
			}
		})
	}
}

func TestWhatNoNATSServerSays(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":                "jwt updated",
		"no name":                `{"server":{"id":"N"}}`,
		"another account server": `{"server":{"name":"nats-account-server","id":"N"}}`,
		"an id that is no token": `{"server":{"name":"n","id":"a.>"}}`,
		"an id that is too long": `{"server":{"name":"n","id":"` +
			strings.Repeat("N", maxName+1) + `"}}`,
	} {
		if a, ok := readAnswer([]byte(text)); ok {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
