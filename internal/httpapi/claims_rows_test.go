package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// claimsRows are the JWTs of TestThePushIsJudgedAsNatsServerJudgesIt.
func claimsRows(t *testing.T) []claimsRow {
	t.Helper()
	return slices.Concat(formRows(), timeRows(), limitRows(), exportRows(),
		importRows(t), signerRows(t),
		permissionRows(t), traceRows(), mappingRows(), mappingListRows(), functionRows())
}

// patched signs the claims of a JWT anew after a change of their JSON. Claims with a type at the
// top are of version 1.
func patched(t *testing.T, o *jwttest.Operator, token []byte, patch func(map[string]any)) []byte {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(string(token), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	claims["iat"] = time.Now().Unix() // no float64
	patch(claims)
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	if claims["type"] != nil {
		return jwttest.EncodeRaw(t, o.Signing, `{"typ":"jwt","alg":"ed25519"}`, payload, false)
	}
	return jwttest.EncodeRaw(t, o.Signing, `{"typ":"JWT","alg":"ed25519-nkey"}`, payload, true)
}

// inNATS is a patch of the claims of NATS.
func inNATS(patch func(nats map[string]any)) func(map[string]any) {
	return func(claims map[string]any) { patch(claims["nats"].(map[string]any)) }
}

// set is a patch that sets one member of the claims of NATS, which is JSON.
func set(name, value string) func(map[string]any) {
	return inNATS(func(nats map[string]any) { nats[name] = json.RawMessage(value) })
}

// version1 is a patch that makes claims of version 1, with one more member of those of NATS.
func version1(name, value string) func(map[string]any) {
	return func(claims map[string]any) {
		claims["type"] = "account"
		claims["nats"] = map[string]any{
			"limits": map[string]any{"subs": -1, "data": -1, "payload": -1,
				"imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1},
			name: json.RawMessage(value),
		}
	}
}

func formRows() []claimsRow {
	const twoExports = `[{"subject":"a.>","type":"stream"},{"subject":"a.b","type":"stream"}]`
	unknown := func(m map[string]any) { m["not_known_here"] = map[string]any{"weight": 300} }
	return []claimsRow{
		{name: "nothing in particular"},
		{name: "a field that is not known", patch: unknown},
		{name: "a field of NATS that is not known", patch: inNATS(unknown)},
		{name: "a limit that is not known",
			patch: inNATS(func(m map[string]any) { unknown(m["limits"].(map[string]any)) })},
		{name: "an export with a field that is not known",
			patch: set("exports", `[{"subject":"a","type":"stream","later":[1]}]`)},
		{name: "a mapping with a field that is not known",
			patch: set("mappings", `{"a":[{"subject":"b","later":true}]}`)},
		{name: "a version of the future", patch: set("version", "3"), reason: anyDecode},
		{name: "version 1", patch: version1("tags", "[]")},
		{name: "version 1 with exports in each other", patch: version1("exports", twoExports),
			reason: `stream export subject "a.>" already exports "a.b"`},
		{name: "version 1 with a mapping, which it does not have",
			patch: version1("mappings", `{"a.*":[{"subject":"b.$2"}]}`)},
		{name: "a name and tags of any kind", edit: func(c *jwt.AccountClaims) {
			c.Name = "a\x00b\u2028"
			c.Tags = jwt.TagList{"UPPER", "", "a b"}
		}},
		{name: "no name", edit: func(c *jwt.AccountClaims) { c.Name = "" }},
		{name: "a long description",
			edit: func(c *jwt.AccountClaims) {
				c.Description = strings.Repeat("x", jwt.MaxInfoLength)
			}},
		{name: "a description that is too long",
			edit: func(c *jwt.AccountClaims) {
				c.Description = strings.Repeat("x", jwt.MaxInfoLength+1)
			},
			reason: "Description is too long"},
		{name: "a URL", edit: func(c *jwt.AccountClaims) { c.InfoURL = "https://example.com/a b" }},
		{name: "a URL without a host", edit: func(c *jwt.AccountClaims) {
			c.InfoURL = "example.com"
		},
			reason: "error parsing info url: no hostname or scheme"},
		{name: "revocations of any kind", edit: func(c *jwt.AccountClaims) {
			c.Revocations = jwt.RevocationList{"*": 1, "": -1, "not a key": 1 << 60}
		}},
		{name: "a revocation that is no number",
			patch: set("revocations", `{"*":"now"}`), reason: anyDecode},
	}
}

func timeRows() []claimsRow {
	expires := func(after time.Duration) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(after).Unix() }
	}
	notBefore := func(after time.Duration) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.NotBefore = time.Now().Add(after).Unix() }
	}
	return []claimsRow{
		{name: "expires later", edit: expires(time.Hour)},
		// A full resolver stores it, and can't apply it.
		{name: "expired", edit: expires(-time.Hour), reason: "claim is expired", taker: "full"},
		{name: "expired long ago", edit: func(c *jwt.AccountClaims) { c.Expires = -1 }},
		{name: "valid since an hour", edit: notBefore(-time.Hour)},
		{name: "not yet valid", edit: notBefore(time.Hour),
			reason: "claim is not yet valid", taker: "full"},
	}
}

func limitRows() []claimsRow {
	export := func(n int) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			for i := range n {
				c.Exports.Add(&jwt.Export{Subject: jwt.Subject(fmt.Sprintf("a%d.*",
					i)), Type: jwt.Stream})
			}
		}
	}
	imports := func(limit int64) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Subject: "a", Account: c.Subject, Type: jwt.Stream})
			c.Limits.Imports = limit
		}
	}
	exports := func(n int, limit int64, wildcards bool) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			export(n)(c)
			c.Limits.Exports, c.Limits.WildcardExports = limit, wildcards
		}
	}
	jetStream := func(l jwt.JetStreamLimits, tiers ...string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Limits.JetStreamLimits = l
			for _, tier := range tiers {
				c.Limits.JetStreamTieredLimits[tier] = jwt.JetStreamLimits{DiskStorage: 1}
			}
		}
	}
	return []claimsRow{
		{name: "as many imports as allowed", edit: imports(1)},
		{name: "an import too many", edit: imports(0),
			reason: "the account contains more imports than allowed by the operator"},
		{name: "a limit of imports below -1", edit: imports(-2),
			reason: "the account contains more imports than allowed by the operator"},
		{name: "as many exports as allowed", edit: exports(2, 2, true)},
		{name: "an export too many", edit: exports(3, 2, true),
			reason: "the account contains more exports than allowed by the operator"},
		{name: "no wildcards allowed", edit: exports(1, 1, false),
			reason: "the account contains wildcard exports that are not allowed by the operator"},
		// Both take it: the library only looks where the exports are limited.
		{name: "no wildcards allowed, any number of exports", edit: exports(1, -1, false)},
		{name: "no limits at all", edit: func(c *jwt.AccountClaims) {
			c.Limits = jwt.OperatorLimits{}
		}},
		{name: "limits below -1", edit: func(c *jwt.AccountClaims) {
			c.Limits.Subs, c.Limits.Conn, c.Limits.Payload = -5, -5, -5
		}},
		{name: "limits above 32 bits", edit: func(c *jwt.AccountClaims) {
			c.Limits.Subs, c.Limits.Conn, c.Limits.Payload = 1<<40, 1<<40, 1<<40
		}},
		{name: "a limit with a fraction", patch: set("limits", `{"subs":1.5}`), reason: anyDecode},
		{name: "JetStream", edit: jetStream(jwt.JetStreamLimits{DiskStorage: -1,
			MemoryStorage: 1 << 40})},
		{name: "JetStream limits below -1",
			edit: jetStream(jwt.JetStreamLimits{DiskStorage: -9, Streams: -9})},
		{name: "JetStream tiers", edit: jetStream(jwt.JetStreamLimits{}, "R1", "R3")},
		{name: "JetStream tiers of any name", edit: jetStream(jwt.JetStreamLimits{}, "a b", "R0")},
		// The decoder drops the others.
		{name: "JetStream tiers and others",
			edit: jetStream(jwt.JetStreamLimits{DiskStorage: 1}, "R1")},
		{name: "a JetStream tier without a name", edit: jetStream(jwt.JetStreamLimits{}, ""),
			reason: `Tiered JetStream Limits can not contain a blank "" tier name`},
	}
}

func exportRows() []claimsRow {
	exports := func(all ...jwt.Export) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			for _, e := range all {
				c.Exports.Add(&e)
			}
		}
	}
	stream := func(s jwt.Subject) jwt.Export { return jwt.Export{Subject: s, Type: jwt.Stream} }
	service := func(s jwt.Subject) jwt.Export { return jwt.Export{Subject: s, Type: jwt.Service} }
	with := func(e jwt.Export, edit func(*jwt.Export)) func(*jwt.AccountClaims) {
		edit(&e)
		return exports(e)
	}
	latency := func(e jwt.Export, sampling jwt.SamplingRate,
		to jwt.Subject) func(*jwt.AccountClaims) {
		e.Latency = &jwt.ServiceLatency{Sampling: sampling, Results: to}
		return exports(e)
	}
	position := func(s jwt.Subject, n uint) func(*jwt.AccountClaims) {
		return with(service(s), func(e *jwt.Export) { e.AccountTokenPosition = n })
	}
	respond := func(e jwt.Export, kind jwt.ResponseType) func(*jwt.AccountClaims) {
		return with(e, func(e *jwt.Export) { e.ResponseType = kind })
	}
	threshold := func(e jwt.Export, after time.Duration) func(*jwt.AccountClaims) {
		return with(e, func(e *jwt.Export) { e.ResponseThreshold = after })
	}
	traced := func(e *jwt.Export) { e.AllowTrace = true }
	sampling := func(value string) func(map[string]any) {
		return set("exports",
			`[{"subject":"a","type":"service","service_latency":{"sampling":`+value+
				`,"results":"b"}}]`)
	}
	return []claimsRow{
		{name: "a stream and a service of one subject", edit: exports(stream("a"), service("a"))},
		{name: "the same stream twice", edit: exports(stream("a"), stream("a")),
			reason: `stream export subject "a" already exports "a"`},
		{name: "a service in another one", edit: exports(service("a.*"), service("a.b")),
			reason: `service export subject "a.*" already exports "a.b"`},
		{name: "services that only overlap", edit: exports(service("a.*"), service("*.b"))},
		{name: "an export without a subject", edit: exports(stream("")),
			reason: "subject cannot be empty"},
		{name: "an export with a space", edit: exports(stream("a b")),
			reason: "cannot have spaces"},
		{name: "an export with a tab", edit: exports(stream("a\tb"))},
		{name: "an export that ends with a dot", edit: exports(stream("a.")),
			reason: "cannot start or end with"},
		{name: "an export with an empty token", edit: exports(stream("a..b")),
			reason: "consecutive"},
		{name: "an export with > inside", edit: exports(stream("a.>.b"))},
		{name: "an export of another type",
			patch: set("exports", `[{"subject":"a","type":"other"}]`), reason: anyDecode},
		{name: "an export without a type", patch: set("exports", `[{"subject":"a"}]`),
			reason: "invalid export type"},
		{name: "an export that is null", patch: set("exports", `[null]`),
			reason: "null export is not allowed"},
		{name: "a stream of responses", edit: respond(service("a"), jwt.ResponseTypeStream)},
		{name: "another kind of response", edit: respond(service("a"), "stream"),
			reason: `invalid response type for service: "stream"`},
		{name: "a response to a stream", edit: respond(stream("a"), jwt.ResponseTypeSingleton),
			reason: "invalid response type for stream"},
		{name: "latency", edit: latency(service("a"), 100, "b")},
		{name: "latency by headers", patch: sampling(`"Headers"`)},
		{name: "latency of a hundred and one per cent", patch: sampling("101"),
			reason: "sampling percentage needs to be between 1-100"},
		{name: "latency of less than nothing", patch: sampling("-1"),
			reason: "sampling percentage needs to be between 1-100"},
		{name: "latency of another kind", patch: sampling(`"often"`), reason: anyDecode},
		{name: "latency of a stream", edit: latency(stream("a"), 1, "b"),
			reason: "latency tracking only permitted for services"},
		{name: "latency to a wildcard", edit: latency(service("a"), 1, "b.*"),
			reason: "results subject can not contain wildcards"},
		{name: "latency to nothing", edit: latency(service("a"), 1, ""),
			reason: "subject cannot be empty"},
		{name: "a response threshold", edit: threshold(service("a"), time.Second)},
		{name: "a negative response threshold", edit: threshold(service("a"), -1),
			reason: "negative response threshold is invalid"},
		{name: "a response threshold of a stream", edit: threshold(stream("a"), 1),
			reason: "response threshold only valid for services"},
		{name: "the account's key in a token", edit: position("a.*.>", 2)},
		{name: "the account's key in a literal token", edit: position("a.*", 1),
			reason: "must match a *"},
		{name: "the account's key after the subject", edit: position("a.*", 3),
			reason: "exceeds length"},
		{name: "the account's key in a literal subject", edit: position("a", 1),
			reason: "can only be used with wildcard subjects"},
		{name: "a service may be traced", edit: with(service("a"), traced)},
		{name: "a stream may be traced", edit: with(stream("a"), traced),
			reason: "AllowTrace only valid for service export"},
		{name: "revoked activations", edit: with(stream("a"), func(e *jwt.Export) {
			e.TokenReq, e.Revocations = true, jwt.RevocationList{"any": 1}
		})},
		{name: "a description of an export that is too long",
			edit: with(stream("a"), func(e *jwt.Export) {
				e.Description = strings.Repeat("x", jwt.MaxInfoLength+1)
			}), reason: "Description is too long"},
	}
}

func importRows(t *testing.T) []claimsRow {
	t.Helper()
	exporter, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	imports := func(all ...jwt.Import) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			for _, i := range all {
				c.Imports.Add(&i)
			}
		}
	}
	stream := func(s jwt.Subject) jwt.Import {
		return jwt.Import{Subject: s, Account: exporter.ID, Type: jwt.Stream}
	}
	service := func(s jwt.Subject) jwt.Import {
		return jwt.Import{Subject: s, Account: exporter.ID, Type: jwt.Service}
	}
	from := func(i jwt.Import, account string) jwt.Import {
		i.Account = account
		return i
	}
	local := func(s jwt.Subject, to jwt.RenamingSubject) func(*jwt.AccountClaims) {
		i := stream(s)
		i.LocalSubject = to
		return imports(i)
	}
	with := func(i jwt.Import, edit func(*jwt.Import)) func(*jwt.AccountClaims) {
		edit(&i)
		return imports(i)
	}
	// activated imports foo.a with a token for an importer; nil is the account itself.
	type edit = func(*jwt.ActivationClaims)
	activated := func(importer *jwttest.Account, edits ...edit) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			i := stream("foo.a")
			by := importer
			if by == nil {
				by = &jwttest.Account{ID: c.Subject}
			}
			token, _ := jwttest.Activation(t, exporter, by, time.Now(), edits...)
			i.Token = string(token)
			c.Imports.Add(&i)
		}
	}
	return []claimsRow{
		{name: "an import that is not exported", edit: imports(stream("a"), service("b"))},
		{name: "an import of itself", edit: func(c *jwt.AccountClaims) {
			imports(from(stream("a"), c.Subject))(c)
		}},
		{name: "an import from what is no key", edit: imports(from(stream("a"), "nobody"))},
		{name: "an import from nowhere", edit: imports(from(stream("a"), "")),
			reason: "account to import from is not specified"},
		{name: "an import without a subject", edit: imports(stream("")),
			reason: "subject cannot be empty"},
		{name: "an import without a type", patch: set("imports", `[{"subject":"a","account":"A"}]`),
			reason: "invalid import type"},
		{name: "an import that is null", patch: set("imports", `[null]`),
			reason: "null import is not allowed"},
		{name: "the same stream imported twice", edit: imports(stream("a"), stream("a"))},
		{name: "the same service imported twice", edit: imports(service("a"), service("a")),
			reason: "overlapping subject namespace"},
		{name: "services that contain each other", edit: imports(service("a.>"), service("a.b")),
			reason: "overlapping subject namespace"},
		{name: "the same service of two accounts",
			edit: imports(service("a"), from(service("a"), other.ID))},
		{name: "a local subject", edit: local("a.*.*", "b.$2.$1")},
		{name: "a local subject of a wildcard that does not exist", edit: local("a.*", "b.$2"),
			reason: "Reference $2 in"},
		{name: "a local subject without the wildcard", edit: local("a.*", "b"),
			reason: "subject does not contain enough * or reference wildcards"},
		{name: "a local subject with a function", edit: local("a.*", "b.{{wildcard(1)}}"),
			reason: "subject does not contain enough * or reference wildcards"},
		{name: "a local subject that ends otherwise", edit: local("a.>", "b"),
			reason: "need to end or not end in >"},
		{name: "a subject in the old way", edit: with(stream("a"), func(i *jwt.Import) {
			//lint:ignore SA1019 it is still taken
			i.To = "b"
		})},
		{name: "a local subject and the old one", edit: with(stream("a"), func(i *jwt.Import) {
			//lint:ignore SA1019 it is still taken
			i.To, i.LocalSubject = "b", "c"
		}), reason: "Local Subject replaces To"},
		{name: "a service that shares", edit: with(service("a"), func(i *jwt.Import) {
			i.Share = true
		})},
		{name: "a stream that shares", edit: with(stream("a"), func(i *jwt.Import) {
			i.Share = true
		}),
			reason: "is only valid for services"},
		{name: "an imported stream may be traced",
			edit: with(stream("a"), func(i *jwt.Import) { i.AllowTrace = true })},
		{name: "an imported service may be traced",
			edit:   with(service("a"), func(i *jwt.Import) { i.AllowTrace = true }),
			reason: "AllowTrace only valid for stream import"},
		{name: "an activation", edit: activated(nil)},
		{name: "an activation that has expired",
			edit: activated(nil, func(c *jwt.ActivationClaims) { c.Expires = 1 })},
		{name: "an activation of another importer", edit: activated(other),
			reason: "activation token doesn't match account it is being included in"},
		{name: "an activation for another subject",
			edit:   activated(nil, func(c *jwt.ActivationClaims) { c.ImportSubject = "bar.>" }),
			reason: "activation token import subject"},
		{name: "an activation for another type",
			edit:   activated(nil, func(c *jwt.ActivationClaims) { c.ImportType = jwt.Service }),
			reason: "mismatch between token import type"},
		{name: "an activation of another exporter", edit: func(c *jwt.AccountClaims) {
			activated(nil)(c)
			c.Imports[0].Account = other.ID
		}, reason: "activation token doesn't match account for import"},
		{name: "an activation that is none",
			edit:   with(stream("a"), func(i *jwt.Import) { i.Token = "a.b.c" }),
			reason: "contains an invalid activation token"},
	}
}

func signerRows(t *testing.T) []claimsRow {
	t.Helper()
	key := jwttest.AccountKey(t)
	signer := func(key string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.SigningKeys.Add(key) }
	}
	scoped := func(key string, edit func(*jwt.UserPermissionLimits)) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			s := jwt.NewUserScope()
			s.Key, s.Role = key, "role"
			edit(&s.Template)
			c.SigningKeys.AddScopedSigner(s)
		}
	}
	_, user := jwttest.NewUser(t)
	none := func(*jwt.UserPermissionLimits) {}
	template := func(l *jwt.UserPermissionLimits) {
		l.Pub.Allow.Add("a.{{name()}}", "{{tag(x)}}.b")
		l.Sub.Deny.Add("{{account-name()}}.>")
	}
	// nats-server looks at it when a user of this key connects.
	nonsense := func(l *jwt.UserPermissionLimits) {
		l.Pub.Allow.Add("a b c d", "..", "{{nothing()}}", "{{name(")
		l.Src.Add("no address")
		l.Times = []jwt.TimeRange{{Start: "never", End: "25:00:00"}}
		l.Locale, l.AllowedConnectionTypes = "Nowhere", jwt.StringList{"PIGEON"}
	}
	return []claimsRow{
		{name: "a signing key", edit: signer(key)},
		{name: "a signing key that is none", edit: signer("no key"),
			reason: "is not a valid account signing key"},
		{name: "a user's key for a signing key", edit: signer(user),
			reason: "is not a valid account signing key"},
		{name: "a scoped signing key", edit: scoped(key, none)},
		{name: "a scoped signing key that is none", edit: scoped("no key", none),
			reason: "no key is not an account public key"},
		{name: "a template", edit: scoped(key, template)},
		{name: "a template that makes no sense", edit: scoped(key, nonsense)},
		{name: "another kind of scope",
			patch: set("signing_keys", `[{"kind":"other","key":"`+key+`"}]`), reason: anyDecode},
		{name: "a scope with a field that is not known",
			patch: set("signing_keys", `[{"kind":"user_scope","key":"`+key+`","later":1}]`)},
	}
}

func permissionRows(t *testing.T) []claimsRow {
	t.Helper()
	_, user := jwttest.NewUser(t)
	account := jwttest.AccountKey(t)
	pub := func(all ...string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.DefaultPermissions.Pub.Allow = all }
	}
	sub := func(all ...string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.DefaultPermissions.Sub.Deny = all }
	}
	callout := func(xkey string, users []string, accounts ...string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Authorization = jwt.ExternalAuthorization{
				AuthUsers: users, AllowedAccounts: accounts, XKey: xkey,
			}
		}
	}
	return []claimsRow{
		{name: "default permissions", edit: pub("a.*", ">")},
		{name: "a template in default permissions", edit: pub("{{name()}}")},
		{name: "an empty subject in default permissions", edit: pub(""),
			reason: "subject cannot be empty"},
		{name: "a queue to publish to", edit: pub("a q"),
			reason: "is not allowed to contain queue"},
		{name: "a queue to subscribe to", edit: sub("a q.*")},
		{name: "two queues to subscribe to", edit: sub("a q q"),
			reason: "contains too many spaces"},
		{name: "default responses", edit: func(c *jwt.AccountClaims) {
			c.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: -7, Expires: -7}
		}},
		{name: "external authorization", edit: callout("", []string{user}, account)},
		{name: "external authorization for all", edit: callout("", []string{user}, "*")},
		{name: "external authorization for all and one",
			edit:   callout("", []string{user}, "*", account),
			reason: `AllowedAccounts can only be a list of accounts or "*"`},
		{name: "external authorization without users", edit: callout("", nil, account),
			reason: "External authorization cannot have accounts without users specified"},
		{name: "external authorization by an account", edit: callout("", []string{account}),
			reason: "is not a valid user public key"},
		{name: "external authorization for a user", edit: callout("", []string{user}, user),
			reason: "is not a valid account public key"},
		{name: "external authorization with a bad xkey", edit: callout(user, []string{user}),
			reason: "is not a valid public xkey"},
	}
}

func traceRows() []claimsRow {
	trace := func(to jwt.Subject, sampling int) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) {
			c.Trace = &jwt.MsgTrace{Destination: to, Sampling: sampling}
		}
	}
	traffic := func(kind jwt.ClusterTraffic) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.ClusterTraffic = kind }
	}
	const sampling = "should be in the range [1..100]"
	return []claimsRow{
		{name: "traces", edit: trace("a.b", 100)},
		{name: "traces without a number", edit: trace("a.b", 0)},
		{name: "traces of a hundred and one per cent", edit: trace("a.b", 101), reason: sampling},
		{name: "traces of less than nothing", edit: trace("a.b", -1), reason: sampling},
		{name: "traces to nothing", edit: trace("", 1),
			reason: "the account Trace.Destination subject cannot be empty"},
		{name: "traces to a wildcard", edit: trace("a.*", 1),
			reason: "is not a valid publish subject"},
		// It is left out.
		{name: "traces to a subject with a tab", edit: trace("a\tb", 1)},
		{name: "cluster traffic of the system", edit: traffic("system")},
		{name: "cluster traffic of the owner", edit: traffic("owner")},
		{name: "other cluster traffic", edit: traffic("other"),
			reason: `unknown cluster traffic option: "other"`},
	}
}

// mapped makes claims with one mapping.
func mapped(from jwt.Subject, to ...jwt.WeightedMapping) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) { c.Mappings[from] = to }
}

// notMapped is a row with a mapping that only a nats-server with a URL resolver takes, which leaves
// it out.
func notMapped(name string, from, to jwt.Subject, reason string) claimsRow {
	return claimsRow{name: name,
		edit: mapped(from, jwt.WeightedMapping{Subject: to}), reason: reason, taker: "URL"}
}

// isMapped is a row with a mapping that all take.
func isMapped(name string, from, to jwt.Subject) claimsRow {
	return claimsRow{name: name, edit: mapped(from, jwt.WeightedMapping{Subject: to})}
}

func mappingRows() []claimsRow {
	const outOfRange = "invalid mapping destination: wildcard index out of range in "
	return []claimsRow{
		isMapped("a mapping", "a", "b"),
		isMapped("a mapping of wildcards", "a.*.*", "b.$2.$1"),
		isMapped("a mapping that drops a wildcard", "a.*.*", "b.$1"),
		isMapped("a mapping that drops all wildcards", "a.*", "b"),
		notMapped("a wildcard that does not exist", "a.*", "b.$2", outOfRange+"$2: [2]"),
		notMapped("a wildcard of a literal subject", "a", "b.$1", outOfRange+"$1"),
		notMapped("a wildcard of >", "a.>", "b.$1.>", outOfRange+"$1: [1]"),
		isMapped("wildcard number 0", "a.*", "b.$0"),
		isMapped("a wildcard of less than nothing", "a.*", "b.$-1"),
		notMapped("wildcard number 0 of a literal subject", "a", "b.$0", outOfRange+"$0"),
		isMapped("a token that begins like a wildcard", "a", "$JS.$1x"),
		isMapped("the rest of a subject", "a.>", "b.>"),
		notMapped("the rest of a subject is lost", "a.>", "b", "invalid subject"),
		notMapped("the rest of a subject that has none", "a", "b.>", "invalid subject"),
		notMapped("> inside", "a.>", "b.>.>",
			"invalid mapping destination: invalid transform in >"),
		notMapped("> inside, and another token", "a.>", "b.>.c",
			"invalid mapping destination: invalid transform in c"),
		notMapped("* in the destination", "a.*", "b.*", "invalid subject"),
		notMapped("a tab in the destination", "a", "b\tc",
			"invalid mapping destination: invalid transform"),
		isMapped("a star in a token", "a*", "b*"),
		notMapped("> inside of the source", "a.>.b", "c", `mapping "a.>.b": invalid subject`),
		notMapped("a tab in the source", "a\tb", "c", `mapping "a\tb": invalid subject`),
		{name: "a source with no destination", edit: mapped("a")},
		{name: "a bad source with no destination", edit: mapped("a.>.b"), taker: "URL",
			reason: `mapping "a.>.b": invalid subject`},
		{name: "an empty destination", edit: mapped("a", jwt.WeightedMapping{}),
			reason: "subject cannot be empty"},
		{name: "an empty source", edit: mapped("", jwt.WeightedMapping{Subject: "a"}),
			reason: "subject cannot be empty"},
		{name: "a space in the destination",
			edit:   mapped("a", jwt.WeightedMapping{Subject: "{{ random(1) }}"}),
			reason: "cannot have spaces"},
		{name: "one bad mapping of three", taker: "URL", reason: `mapping "b.*" -> "c.$2"`,
			edit: func(c *jwt.AccountClaims) {
				mapped("a.*", jwt.WeightedMapping{Subject: "c.$1"})(c)
				mapped("b.*", jwt.WeightedMapping{Subject: "c.$2"})(c)
				mapped("c.*", jwt.WeightedMapping{Subject: "a.$1"})(c)
			}},
		{name: "a bad mapping in claims that are bad otherwise", reason: "is too long",
			edit: func(c *jwt.AccountClaims) {
				mapped("a.*", jwt.WeightedMapping{Subject: "c.$2"})(c)
				c.Description = strings.Repeat("x", jwt.MaxInfoLength+1)
			}},
	}
}

// mappingListRows are mappings to several destinations.
func mappingListRows() []claimsRow {
	to := func(subject jwt.Subject, weight uint8, cluster string) jwt.WeightedMapping {
		return jwt.WeightedMapping{Subject: subject, Weight: weight, Cluster: cluster}
	}
	return []claimsRow{
		{name: "weights of a hundred", edit: mapped("a", to("b", 60, ""), to("c", 40, ""))},
		{name: "weights of less", edit: mapped("a", to("b", 1, ""), to("c", 1, ""))},
		{name: "weights of more", edit: mapped("a", to("b", 60, ""), to("c", 41, "")),
			reason: `Mapping "a" exceeds 100%`},
		{name: "no weight is a hundred", edit: mapped("a", to("b", 0, ""), to("c", 1, "")),
			reason: `Mapping "a" exceeds 100%`},
		{name: "a weight of more", edit: mapped("a", to("b", 101, "")),
			reason: "has a weight 101 that exceeds 100"},
		{name: "a weight of less than nothing",
			patch: set("mappings", `{"a":[{"subject":"b","weight":-1}]}`), reason: anyDecode},
		{name: "a weight of more than a byte",
			patch: set("mappings", `{"a":[{"subject":"b","weight":256}]}`), reason: anyDecode},
		{name: "weights per cluster",
			edit: mapped("a", to("b", 100, "c1"), to("c", 100, "c2"), to("d", 100, ""))},
		{name: "weights of more in a cluster",
			edit:   mapped("a", to("b", 51, "c1"), to("c", 50, "c1")),
			reason: `Mapping "a" in cluster "c1" exceeds 100%`},
		{name: "a cluster of any name", edit: mapped("a", to("b", 1, "a b.*"))},
		{name: "a destination twice",
			edit: mapped("a", to("b", 1, ""), to("b", 2, "")), taker: "URL",
			reason: `mapping "a": duplicate entry for "b"`},
		{name: "a destination in two clusters",
			edit:  mapped("a", to("b", 1, "c1"), to("b", 1, "c2")),
			taker: "URL", reason: `mapping "a": duplicate entry for "b"`},
		{name: "the source itself", edit: mapped("a", to("a", 50, ""))},
		{name: "the second destination is bad",
			edit:   mapped("a.*", to("b", 1, ""), to("b.$3", 1, "")),
			taker:  "URL",
			reason: `mapping "a.*" -> "b.$3": invalid mapping destination: wildcard index`},
	}
}

// functionRows are mappings that call functions.
func functionRows() []claimsRow {
	const (
		invalid    = "invalid mapping destination: "
		outOfRange = invalid + "wildcard index out of range in "
		unknown    = invalid + "unknown function in "
		tooFew     = invalid + "not enough arguments passed to the function in "
		tooMany    = invalid + "too many arguments passed to the function in "
		argument   = invalid + "function argument is invalid or in the wrong format in "
	)
	rows := []claimsRow{
		isMapped("a token that only begins like a call", "a", "{{wildcard(1)"),
		isMapped("braces with nothing in them", "a", "{{}}"),
	}
	// The source is a.*.*.
	for call, reason := range map[string]string{
		"{{wildcard(2)}}": "", "{{Wildcard(1)}}": "", "{{wildcard(0)}}": "",
		"{{wildcard(3)}}": outOfRange + "{{wildcard(3)}}: [3]", "{{wildcard()}}": tooFew,
		"{{wildcard(1,2)}}": tooMany, "{{wildcard(x)}}": argument, "{{WILDCARD(1)}}": unknown,
		"{{wildcard}}": unknown, "{{x}}": unknown, "{{wildcard(1)}}{{wildcard(2)}}": argument,
		"{{partition(5)}}": "", "{{partition(5,1,2)}}": "", "{{partition(5,1,3)}}": outOfRange,
		"{{partition(2147483647)}}": "", "{{partition(2147483648)}}": argument,
		"{{partition(-1)}}": "",
		"{{partition()}}":   argument, "{{partition(5,)}}": argument,
		"{{split(1,-)}}": "", "{{split(3,-)}}": outOfRange, "{{split(1)}}": tooFew,
		"{{split(1,-,-)}}": tooMany, "{{split(x,-)}}": argument, "{{split(1,)}}": "",
		"{{splitFromLeft(1,2)}}": "", "{{SplitFromLeft(1,x)}}": argument,
		"{{splitFromRight(2,2147483647)}}": "", "{{splitFromRight(2,2147483648)}}": argument,
		"{{sliceFromLeft(1)}}": tooFew, "{{sliceFromRight(1,2,3)}}": tooMany,
		"{{left(1,2)}}": "", "{{left(3,2)}}": outOfRange, "{{right(1,2)}}": "",
		"{{right(a,2)}}": argument,
		"{{random(5)}}":  "", "{{random(x)}}": argument, "{{random(1,2)}}": tooFew,
	} {
		row := isMapped("call "+call, "a.*.*", jwt.Subject("b."+call))
		if reason != "" {
			row.reason, row.taker = reason, "URL"
		}
		rows = append(rows, row)
	}
	return append(rows,
		isMapped("a partition of a literal subject", "a", "b.{{partition(3)}}"),
		isMapped("a partition by wildcards of a literal subject", "a", "b.{{partition(3,9)}}"),
		isMapped("a random number for a literal subject", "a", "b.{{random(3)}}"),
		notMapped("a call that needs a wildcard", "a", "b.{{left(1,1)}}",
			outOfRange+"{{left(1,1)}}"),
		// It is two tokens, and neither is a call.
		isMapped("a dot in a call", "a.*", "b.{{split(3,.)}}"),
	)
}
