package effect_test

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// permissionRows are the pushes that change what users may do, or who decides it.
var permissionRows = []row{
	{
		name: "users may publish less",
		clients: []client{{name: "a"},
			{name: "b", edits: func(u *jwt.UserClaims) { u.Pub.Allow.Add("x", "z") }},
			{name: "c", by: "k", edits: scoped}, {name: "d", by: "l", edits: scoped},
			{name: "e", edits: bearer}},
		stored: all(withScope("k", "role"), withScope("l", "role", allow("x", "z"))),
		pushed: all(withScope("k", "role"), withScope("l", "role", allow("x", "z")),
			func(_ *run, c *jwt.AccountClaims) { c.DefaultPermissions.Pub.Deny.Add("x") }),
		lines: []string{"stop permission_changed 2"},
		flows: []flow{{"a", "x", "a", "x", true, false}, {"a", "y", "a", "y", true, true},
			{"b", "x", "a", "x", true, true}, {"c", "x", "a", "x", true, false},
			{"d", "x", "a", "x", true, true}},
	},
	{
		name:    "users may subscribe to less",
		clients: []client{{name: "a"}, {name: "b", edits: func(u *jwt.UserClaims) { u.Sub.Allow.Add("x") }}},
		stored:  same,
		pushed:  func(_ *run, c *jwt.AccountClaims) { c.DefaultPermissions.Sub.Allow.Add("y") },
		lines:   []string{"stop permission_changed 1"},
		flows: []flow{{"a", "x", "a", "x", true, false}, {"a", "y", "a", "y", true, true},
			{"a", "x", "b", "x", true, true}},
	},
	{
		name: "users may publish only what is listed", clients: []client{{name: "a"}},
		stored: same,
		pushed: func(_ *run, c *jwt.AccountClaims) { c.DefaultPermissions.Pub.Allow.Add("y") },
		lines:  []string{"stop permission_changed 1"},
		flows:  []flow{{"a", "x", "a", "x", true, false}, {"a", "y", "a", "y", true, true}},
	},
	{
		name: "users may not subscribe to something", clients: []client{{name: "a"}},
		stored: same,
		pushed: func(_ *run, c *jwt.AccountClaims) { c.DefaultPermissions.Sub.Deny.Add("x") },
		lines:  []string{"stop permission_changed 1"},
		flows:  []flow{{"a", "x", "a", "x", true, false}, {"a", "y", "a", "y", true, true}},
	},
	{
		name: "users may subscribe to more", clients: []client{{name: "a"}},
		stored: func(_ *run, c *jwt.AccountClaims) { c.DefaultPermissions.Sub.Deny.Add("x") }, pushed: same,
	},
	{
		name: "users may reply fewer times", clients: []client{{name: "a"}},
		stored: replies(5, time.Minute), pushed: replies(1, time.Second),
		lines: []string{"stop permission_changed 1", "stop permission_changed 1"},
	},
	{
		name: "a service puts its users into fewer accounts",
		stored: func(_ *run, c *jwt.AccountClaims) {
			c.Authorization.AuthUsers.Add(user)
			c.Authorization.AllowedAccounts.Add(jwt.AnyAccount)
		},
		pushed: func(_ *run, c *jwt.AccountClaims) {
			c.Authorization.AuthUsers.Add(user)
			c.Authorization.XKey = xkey
		},
		lines: []string{"later authorization_changed", "later authorization_changed"},
	},
}

// user and xkey are public keys of a user, and for requests of authorization.
const (
	user = "UCF7OLJQKWIN6X2XVBNV2U7FE6P3GKKCMS63SWHPJWORCPQS4PDKSSOE"
	xkey = "XAPRVXTHI52GZ3325DQZV6FIRFGKYN6PALOXSNS4T7JACJMC3K2XOE57"
)

// replies is an edit of how users may reply.
func replies(most int, within time.Duration) edit {
	return func(_ *run, c *jwt.AccountClaims) {
		c.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: most, Expires: within}
	}
}
