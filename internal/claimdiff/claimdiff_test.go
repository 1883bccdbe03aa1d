package claimdiff_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// Keys as they look. No test signs with them.
const (
	accountKey  = "ACNW4GQZ6T5YH2JXK3LMRBVD7PSFE2OWU4QZ6T5YH2JXK3LMRBVDV2JU"
	exporterKey = "AAPL4GQZ6T5YH2JXK3LMRBVD7PSFE2OWU4QZ6T5YH2JXK3LMRBVDPLAT"
	scopedKey   = "AB3D4GQZ6T5YH2JXK3LMRBVD7PSFE2OWU4QZ6T5YH2JXK3LMRBVDK2LM"
	userKey     = "UC4K4GQZ6T5YH2JXK3LMRBVD7PSFE2OWU4QZ6T5YH2JXK3LMRBVD7QZA"
)

type edit func(*jwt.AccountClaims)

// orders returns the claims of an account that has something of most.
func orders(edits ...edit) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(accountKey)
	c.Name, c.IssuedAt, c.ID = "orders", 1_700_000_000, "first"
	c.Limits.DiskStorage, c.Limits.Streams = 2<<30, -1
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = scopedKey, "worker"
	scope.Template.Pub.Allow.Add("orders.>")
	c.SigningKeys.AddScopedSigner(scope)
	c.Exports.Add(
		&jwt.Export{Type: jwt.Service, Subject: "orders.place"},
		&jwt.Export{Type: jwt.Stream, Subject: "orders.status.*", AccountTokenPosition: 3})
	c.Imports.Add(
		&jwt.Import{Type: jwt.Service, Subject: "auth.check", Account: exporterKey},
		&jwt.Import{Type: jwt.Stream, Subject: "invoices.*", Account: exporterKey, LocalSubject: "in.$1"})
	c.Mappings = jwt.Mapping{"a": {{Subject: "b", Weight: 80}, {Subject: "c", Weight: 20}}}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func limits(change func(*jwt.OperatorLimits)) edit {
	return func(c *jwt.AccountClaims) { change(&c.Limits) }
}

// Each row changes something, and has the lines with sign and effect that tell it.
var rows = []struct {
	name           string
	stored, pushed edit
	want           string
}{
	{name: "issued anew", pushed: func(c *jwt.AccountClaims) { c.IssuedAt, c.ID = 1_800_000_000, "second" }},
	{name: "lists in another order", pushed: func(c *jwt.AccountClaims) {
		slices.Reverse(c.Exports)
		slices.Reverse(c.Imports)
		slices.Reverse(c.Mappings["a"])
	}},
	{name: "connections", pushed: limits(func(l *jwt.OperatorLimits) { l.Conn = 60 }),
		want: "~ cut may open 60 connections, was unlimited"},
	{name: "one connection", pushed: limits(func(l *jwt.OperatorLimits) { l.Conn = 1 }),
		want: "~ cut may open 1 connection, was unlimited"},
	{name: "no connection", pushed: limits(func(l *jwt.OperatorLimits) { l.Conn = 0 }),
		want: "~ cut may open no connections, was unlimited"},
	{name: "no messages", stored: limits(func(l *jwt.OperatorLimits) { l.Payload = 1 << 20 }),
		pushed: limits(func(l *jwt.OperatorLimits) { l.Payload = 0 }),
		want:   "~ cut message size 0 (only empty messages), was 1 MiB"},
	{name: "more connections", stored: limits(func(l *jwt.OperatorLimits) { l.Conn = 1500 }),
		pushed: limits(func(l *jwt.OperatorLimits) { l.Conn = -1 }),
		want:   "~ none may open unlimited connections, was 1,500"},
	{name: "two ways to say that streams are unlimited",
		pushed: limits(func(l *jwt.OperatorLimits) { l.Streams = 0 })},
	{name: "disk", pushed: limits(func(l *jwt.OperatorLimits) { l.DiskStorage = 10 << 30 }),
		want: "~ none disk for streams 10 GiB, was 2 GiB"},
	{name: "JetStream off", pushed: limits(func(l *jwt.OperatorLimits) { l.DiskStorage = 0 }),
		want: "~ stop JetStream is off, streams are away until it is on again\n" +
			"~ stop disk for streams 0, was 2 GiB"},
	{name: "tiers", pushed: limits(func(l *jwt.OperatorLimits) {
		l.JetStreamLimits = jwt.JetStreamLimits{}
		l.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R1": {DiskStorage: 1e9}}
	}), want: "~ stop limits of JetStream are for tiers, were for the account\n" +
		"+ none tier R1 is added\n~ none tier R1: disk for streams 1 GB"},
	{name: "signing key removed", pushed: func(c *jwt.AccountClaims) { c.SigningKeys.Remove(scopedKey) },
		want: `- cut signing key AB3D…K2LM, role "worker", is removed`},
	{name: "scope changed", pushed: func(c *jwt.AccountClaims) {
		scope, _ := c.SigningKeys.GetScope(scopedKey)
		scope.(*jwt.UserScope).Template.Pub.Allow = nil
	}, want: "~ cut users of signing key AB3D…K2LM, role \"worker\", may publish to anything, " +
		"was only what is allowed\n" +
		"- cut users of signing key AB3D…K2LM, role \"worker\", " +
		"are no longer allowed to publish to orders.>"},
	{name: "scope taken away", pushed: func(c *jwt.AccountClaims) { c.SigningKeys[scopedKey] = nil },
		want: `~ cut signing key AB3D…K2LM has no role any more, was "worker"`},
	{name: "user revoked", pushed: func(c *jwt.AccountClaims) {
		c.RevokeAt(userKey, time.Date(2026, 11, 24, 19, 2, 0, 0, time.UTC))
	}, want: "+ cut user UC4K…7QZA revoked, issued before Tue 24 Nov 2026, 19:02 UTC"},
	{name: "all users revoked",
		stored: func(c *jwt.AccountClaims) { c.RevokeAt(userKey, time.Unix(60, 0)) },
		pushed: func(c *jwt.AccountClaims) { c.RevokeAt(jwt.All, time.Unix(61, 0)) },
		want: "+ cut all users revoked, issued before Thu 1 Jan 1970, 00:01:01 UTC\n" +
			"- none user UC4K…7QZA revoked no longer alone, all users issued before " +
			"Thu 1 Jan 1970, 00:01:01 UTC are"},
	{name: "user no longer revoked",
		stored: func(c *jwt.AccountClaims) { c.RevokeAt(userKey, time.Unix(60, 0)) },
		want:   "- none user UC4K…7QZA not revoked any more"},
	{name: "exports", pushed: func(c *jwt.AccountClaims) {
		c.Exports = jwt.Exports{c.Exports[1], {Type: jwt.Stream, Subject: "orders.>", TokenReq: true}}
	}, want: "- stop service orders.place is no longer exported\n" +
		"+ none stream orders.> is exported, with a token"},
	{name: "export private", pushed: func(c *jwt.AccountClaims) { c.Exports[0].TokenReq = true },
		want: "~ stop service orders.place: imports need a token"},
	{name: "import renamed", pushed: func(c *jwt.AccountClaims) { c.Imports[1].LocalSubject = "bills.$1" },
		want: "~ stop stream invoices.* from AAPL…PLAT: is here as bills.$1, was in.$1"},
	{name: "imports", pushed: func(c *jwt.AccountClaims) { c.Imports = c.Imports[:1] },
		want: "- stop stream invoices.* from AAPL…PLAT is no longer imported"},
	{name: "one subject imported twice", stored: func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Type: jwt.Stream, Subject: "invoices.*", Account: exporterKey})
	}, want: "- stop stream invoices.* from AAPL…PLAT is no longer imported"},
	{name: "weights", pushed: func(c *jwt.AccountClaims) { c.Mappings["a"][0].Weight = 0 },
		want: "~ stop mapping of a to b: 100 % of the messages, was 80 % of the messages"},
	{name: "expiry", pushed: func(c *jwt.AccountClaims) { c.Expires = 1_795_942_800 },
		want: "~ cut expires Sun 29 Nov 2026, 09:00 UTC, was never"},
	{name: "default permissions", pushed: func(c *jwt.AccountClaims) {
		c.DefaultPermissions.Sub.Allow.Add("a.>")
		c.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: -1, Expires: 90 * time.Second}
	}, want: "~ stop by default users may subscribe to only what is allowed, was anything\n" +
		"+ none by default users may subscribe to a.>\n" +
		"+ stop by default users may publish only replies: any number of times within 1 min 30 s"},
	{name: "external authorization", pushed: func(c *jwt.AccountClaims) {
		c.Authorization.AuthUsers.Add(userKey)
	}, want: "~ later external authorization is on, every new connection waits for the service's answer\n" +
		"+ later user UC4K…7QZA connects without external authorization"},
	{name: "hostile texts", pushed: func(c *jwt.AccountClaims) {
		c.Name = "a\nb\x1b[31m\u202e"
		c.Exports.Add(&jwt.Export{Type: jwt.Service, Subject: "x y\r\n- stop"})
	}, want: `~ none name "a\nb\x1b[31m\u202e", was "orders"` + "\n" +
		`+ none service "x y\r\n- stop" is exported`},
}

func TestDiff(t *testing.T) {
	t.Parallel()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			stored, pushed := orders(), orders()
			if row.stored != nil {
				row.stored(stored)
			}
			if row.pushed != nil {
				row.pushed(pushed)
			}
			if got := text(t, claimdiff.Diff(stored, pushed)); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// text returns a line for each change.
func text(t *testing.T, found []claimdiff.Change) string {
	t.Helper()
	var lines []string
	for _, c := range found {
		checkChange(t, c)
		lines = append(lines, c.Sign+" "+string(c.Effect)+" "+c.Words)
	}
	return strings.Join(lines, "\n")
}

func TestANewAccountIsToldWithoutWhatWasThere(t *testing.T) {
	t.Parallel()
	pushed := orders(limits(func(l *jwt.OperatorLimits) { l.Conn = 5 }))
	got := text(t, claimdiff.Diff(nil, pushed))
	for _, want := range []string{
		`+ none account "orders" ACNW…V2JU is new`, "~ none may open 5 connections\n",
		"disk for streams 2 GiB\n", "+ none service orders.place is exported",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, ", was") {
		t.Errorf("something was there:\n%s", got)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		claimdiff.Size(1 << 20): "1 MiB", claimdiff.Size(1536 << 20): "1.5 GiB",
		claimdiff.Size(64000): "64 KB", claimdiff.Size(512000): "500 KiB", claimdiff.Size(1): "1 byte",
		claimdiff.Size(1<<20 + 1):                "1,048,577 bytes",
		claimdiff.Size(1<<63 - 1):                "9,223,372,036,854,775,807 bytes",
		claimdiff.Count(-1234567):                "-1,234,567",
		claimdiff.Count(123):                     "123",
		claimdiff.Duration(90 * time.Minute):     "1 h 30 min",
		claimdiff.Duration(49*time.Hour + 1):     "2 d 1 h 1 ns",
		claimdiff.Time(1_795_942_805):            "Sun 29 Nov 2026, 09:00:05 UTC",
		claimdiff.Time(-1 << 63):                 "second -9223372036854775808",
		claimdiff.Key(userKey):                   "UC4K…7QZA",
		claimdiff.Key("U\n" + userKey[2:]):       `"U\n` + userKey[2:] + `"`,
		claimdiff.Plain("orders.*.>"):            "orders.*.>",
		claimdiff.Plain(""):                      `""`,
		claimdiff.Quote(strings.Repeat("ü", 60)): `"` + strings.Repeat("ü", 50) + `"…`,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
