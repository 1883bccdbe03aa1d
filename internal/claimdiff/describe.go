package claimdiff

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"
)

// Group is a part of what claims say, in the order in which a page shows it. Title is one of the
// titles below, or "Tier" and the name of the tier. A group has at least one item.
type Group struct {
	Title string
	Items []Item
}

// The titles of the groups, in their order.
const (
	Validity    = "Validity"
	Limits      = "Limits"
	JetStream   = "JetStream"
	SigningKeys = "Signing keys"
	Revocations = "Revocations"
	Exports     = "Exports"
	Imports     = "Imports"
	Permissions = "Default permissions"
	Mappings    = "Mappings"
	Callout     = "External authorization"
	Other       = "Other"
)

// Item is one thing that claims say. All its texts but Of are single lines that can be printed.
type Item struct {
	Field   string   // as in Change: with it, what is in use can be shown beside a limit
	Of      string   // the whole key, subject or tier, as in Change; any text of a tenant
	Label   string   // "Connections", "service orders.place", "AB3D…K2LM"
	Value   string   // "unlimited", "with a token", `role "worker"`; it may be empty
	Details []string // clauses: "may publish to orders.>"
}

// Describe returns what claims say, for people: unlimited and not -1, sizes with units, times in
// UTC. Limits and JetStream are always there. Another group is left out if it has no items.
//
// Lists are whole, however long: the caller has to bound what it shows. The key, the name and the
// ID are in no group.
//
// c must not be nil, and is not changed. The order of a group's items is that of the table, or of
// the sorted keys, so that the same claims always give the same groups.
func Describe(c *jwt.AccountClaims) []Group {
	groups := []Group{
		{Validity, describeValidity(c)},
		{Limits, describeLimits(&c.Limits)},
		{JetStream, describeJetStream(&c.Limits)},
	}
	for _, tier := range keysOf(c.Limits.JetStreamTieredLimits, nil) {
		l := c.Limits.JetStreamTieredLimits[tier]
		groups = append(groups, Group{"Tier " + Plain(tier),
			describeStorage("nats.limits.tiered_limits{}.", tier, ofTier(l))})
	}
	e := empty(c)
	groups = append(groups,
		Group{SigningKeys, describeSigningKeys(c.SigningKeys)},
		Group{Revocations, describeRevocations(c.Revocations)},
		Group{Exports, describeExports(c.Exports)},
		Group{Imports, describeImports(c.Imports)},
		Group{Permissions, details("Users without permissions of their own", func(d differ) {
			diffPermissions(d.inside("nats.default_permissions.", "", ""), jwt.Permissions{},
				c.DefaultPermissions)
		})},
		Group{Mappings, describeMappings(c.Mappings)},
		Group{Callout, details("New connections", func(d differ) {
			diffAuthorization(d, &e.Authorization, &c.Authorization)
		})},
		Group{Other, describeOther(c)})
	return slices.DeleteFunc(groups, func(g Group) bool { return len(g.Items) == 0 })
}

// clauses returns the words of the changes that compare finds. It compares something with nothing,
// so that these words say what there is. Signs and effects are thrown away.
func clauses(compare func(differ)) (words []string) {
	var found []Change
	compare(differ{found: &found, isNew: true})
	for _, c := range found {
		words = append(words, c.Words)
	}
	return words
}

// details returns one item with what compare finds as its details, none if that is nothing. The
// item has a label only.
func details(label string, compare func(differ)) []Item {
	words := clauses(compare)
	if len(words) == 0 {
		return nil
	}
	return []Item{{Label: label, Details: words}}
}

// describeValidity returns when the claims were issued, by which key, and how long they are valid.
// Issuer and end are always there, and the beginning only if the claims have one.
func describeValidity(c *jwt.AccountClaims) []Item {
	items := []Item{
		{Field: "iat", Label: "Issued", Value: Time(c.IssuedAt)},
		{Field: "iss", Of: c.Issuer, Label: "Signed by", Value: Key(c.Issuer)},
		{Field: "exp", Label: "Expires", Value: "never"},
	}
	if c.Expires != 0 {
		items[2].Value = Time(c.Expires)
	}
	if c.NotBefore != 0 {
		items = append(items, Item{Field: "nbf", Label: "Valid from", Value: Time(c.NotBefore)})
	}
	return items
}

// describeLimits returns the limits of an account but those of JetStream, in the order of their
// table. Each is there, also one that is unlimited.
func describeLimits(l *jwt.OperatorLimits) (items []Item) {
	for _, row := range accountLimits {
		items = append(items, Item{Field: "nats.limits." + row.name, Label: row.label,
			Value: row.value(row.of(l))})
	}
	return append(items,
		Item{Field: "nats.limits.wildcards", Label: "Exports with wildcards",
			Value: choose(l.WildcardExports, "allowed", "not allowed")},
		Item{Field: "nats.limits.disallow_bearer", Label: "Bearer tokens",
			Value: choose(l.DisallowBearer, "refused", "allowed")})
}

// describeJetStream returns the limits of JetStream for the account. If there are tiers, each of
// them is a group of its own. Without JetStream there is one item that says so.
func describeJetStream(l *jwt.OperatorLimits) []Item {
	const path = "nats.limits."
	switch {
	case !l.IsJSEnabled():
		return []Item{{Field: path + "disk_storage", Label: "JetStream", Value: "off"}}
	case len(l.JetStreamTieredLimits) > 0:
		return []Item{{Field: path + "disk_storage", Label: "JetStream", Value: "limited by tier"}}
	}
	return describeStorage(path, "", l)
}

// describeStorage returns the limits of JetStream, for the account or a tier. of is the tier.
func describeStorage(path, of string, l *jwt.OperatorLimits) (items []Item) {
	for _, row := range jetStreamLimits {
		items = append(items, Item{Field: path + row.name, Of: of, Label: row.label,
			Value: row.value(row.of(l))})
	}
	return append(items, Item{Field: path + "max_bytes_required", Of: of,
		Label: "Streams need max_bytes",
		Value: choose(l.JetStreamLimits.MaxBytesRequired, "yes", "no")})
}

// choose returns one of two words.
func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// describeSigningKeys returns an item for each signing key. Its details are what the template of
// its scope allows, as changes from an empty template. A key without a scope has no details, and
// its users have what their own JWTs say.
func describeSigningKeys(keys jwt.SigningKeys) (items []Item) {
	for _, key := range keysOf(keys, nil) {
		i := Item{Field: "nats.signing_keys{}", Of: key, Label: Key(key),
			Value: "no role: what each user's JWT says"}
		if s := UserScope(keys[key]); s != nil {
			i.Value = "role " + Quote(s.Role)
			i.Details = clauses(func(d differ) {
				d.text("description", "description", "", s.Description)
				diffTemplate(d, &jwt.NewUserScope().Template, &s.Template)
			})
		}
		items = append(items, i)
	}
	return items
}

// describeRevocations returns an item for each revoked user, in order of the keys. All users, which
// are "*", come first.
func describeRevocations(list jwt.RevocationList) (items []Item) {
	for _, key := range keysOf(list, nil) {
		items = append(items, Item{Field: "nats.revocations{}", Of: key, Label: user(key),
			Value: "issued before " + Time(list[key])})
	}
	return items
}

// describeExports returns an item for each export, in order of their subjects. Its value says who
// may import it. Its details are changes from an export that says only that. plain has what the
// value says already, so that no detail repeats it.
func describeExports(list jwt.Exports) (items []Item) {
	for _, p := range match(nil, list, exportID) {
		e := p.pushed
		plain := &jwt.Export{TokenReq: e.TokenReq, AccountTokenPosition: e.AccountTokenPosition}
		items = append(items, Item{Field: "nats.exports[].subject", Of: string(e.Subject),
			Label:   e.Type.String() + " " + Plain(string(e.Subject)),
			Value:   cmp.Or(grantee(e), "to every account"),
			Details: clauses(func(d differ) { diffExport(d, plain, e) })})
	}
	return items
}

// describeImports returns an item for each import. Its value has its subject here, and its token.
// Its details are changes from an import without a name and flags. A null in the list is left out
// by match.
func describeImports(list jwt.Imports) (items []Item) {
	for _, p := range match(nil, list, importID) {
		i, plain := p.pushed, *p.pushed
		plain.Name, plain.Share, plain.AllowTrace = "", false, false
		item := Item{Field: "nats.imports[].subject", Of: string(i.Subject),
			Label:   fmt.Sprintf("%s %s from %s", i.Type, Plain(Remote(i)), Key(i.Account)),
			Value:   "as " + Plain(Local(i)),
			Details: clauses(func(d differ) { diffImport(d, &plain, i) })}
		if i.Token != "" {
			item.Value += ", " + tokenWords(i.Token)
		}
		items = append(items, item)
	}
	return items
}

// describeMappings returns an item for each source of mappings, with its destinations. Items are in
// the order of the sources, and details in that of the destinations.
func describeMappings(all jwt.Mapping) (items []Item) {
	for _, source := range keysOf(all, nil) {
		i := Item{Field: "nats.mappings{}[].subject", Of: string(source),
			Label: Plain(string(source))}
		for _, m := range all[source] {
			i.Details = append(i.Details, fmt.Sprintf("%s go to %s, %s", weight(&m),
				Plain(string(m.Subject)), inCluster(m.Cluster)))
		}
		items = append(items, i)
	}
	return items
}

// describeOther returns what else claims say. The system account, which replicas of streams talk in
// if nothing is said, is not said.
func describeOther(c *jwt.AccountClaims) (items []Item) {
	for _, text := range []struct{ field, label, value string }{
		{"nats.description", "Description", c.Description},
		{"nats.info_url", "Info URL", c.InfoURL},
		{"aud", "Audience", c.Audience},
	} {
		if text.value != "" {
			items = append(items, Item{Field: text.field, Label: text.label,
				Value: Quote(text.value)})
		}
	}
	for _, tag := range c.Tags {
		items = append(items, Item{Field: "nats.tags[]", Of: tag, Label: "Tag", Value: Plain(tag)})
	}
	if c.Trace != nil {
		items = append(items, Item{Field: "nats.trace.dest", Label: "Traces",
			Value: fmt.Sprintf("%s, to %s", traced(c.Trace), Plain(string(c.Trace.Destination)))})
	}
	if where := clusterTraffic(c); where != jwt.ClusterTrafficSystem {
		items = append(items, Item{Field: "nats.cluster_traffic",
			Label: "Replicas of streams talk in", Value: traffic(where)})
	}
	return items
}
