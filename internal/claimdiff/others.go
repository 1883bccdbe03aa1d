package claimdiff

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/nats-io/jwt/v2"
)

// diffIdentity compares what says whose claims these are and how long they are valid. The issue
// time and the ID differ whenever claims are issued anew, so they are left out. The subject differs
// only if claims of two accounts are compared, as the command diff may be asked to. An issuer that
// differs is another signing key of the operator, or another operator.
func diffIdentity(d differ, stored, pushed *jwt.AccountClaims) {
	d.as("account_changed").raw("sub", "account %s", stored.Subject, pushed.Subject, Key)
	d.as("name_changed").text("name", "name", stored.Name, pushed.Name)
	d.as("issuer_changed").raw("iss", "signed by %s", stored.Issuer, pushed.Issuer, Key)
	d.as("audience_changed").text("aud", "audience", stored.Audience, pushed.Audience)
	diffExpiry(d, stored.Expires, pushed.Expires)
	d.as("not_before_changed").value("nbf", "valid %s", notBefore(stored), notBefore(pushed))
	d.as("type_changed").raw("nats.type", "type %s", claimType(stored), claimType(pushed), Plain)
	d.as("version_changed").value("nats.version", "version %s of the claims",
		strconv.Itoa(stored.Version), strconv.Itoa(pushed.Version))
}

// diffExpiry compares when the account expires, in Unix seconds. 0 is never. Later has no effect.
// An expiry that is in the past is a change like any other: this package has no clock.
func diffExpiry(d differ, stored, pushed int64) {
	if stored == pushed {
		return
	}
	c := Change{Field: "exp", Code: "expiry_changed", Words: expires(pushed)}
	if stored == 0 {
		c.Words += d.was("never")
	} else {
		c.Words += d.was(Time(stored))
	}
	if pushed == 0 || stored != 0 && pushed > stored {
		c.Effect = None
	}
	d.add(c)
}

// expires returns the words for when an account expires. Example: "expires Mon 30 Nov 2026, 09:00
// UTC".
func expires(seconds int64) string {
	if seconds == 0 {
		return "never expires"
	}
	return "expires " + Time(seconds)
}

// notBefore returns the words for when claims begin to be valid.
func notBefore(c *jwt.AccountClaims) string {
	if c.NotBefore == 0 {
		return "at once"
	}
	return "from " + Time(c.NotBefore)
}

// claimType returns the words for the type of claims. Without one they are account claims too.
func claimType(c *jwt.AccountClaims) string {
	if c.Type == "" {
		return string(jwt.AccountClaim)
	}
	return string(c.Type)
}

// mapped is a destination of a mapping: a subject, with the share of the messages that go to it.
type mapped = jwt.WeightedMapping

// diffMappings compares where published messages go instead. A mapping has a source and several
// destinations, each of which is compared by itself. A source that is gone is one change for each
// of its destinations.
func diffMappings(d differ, stored, pushed jwt.Mapping) {
	for _, source := range keysOf(stored, pushed) {
		before, now := stored[source], pushed[source]
		for _, p := range match(pointers(before), pointers(now), mappedID) {
			diffMapping(d, string(source), p.stored, p.pushed)
		}
	}
}

// mappedID is what a destination is matched by. A destination that has another cluster is the same
// one.
func mappedID(m *mapped) string { return string(m.Subject) }

// pointers returns pointers to copies of the elements of a list. match takes pointers, as exports
// and imports have them.
func pointers(list []mapped) (all []*mapped) {
	for _, m := range list {
		all = append(all, &m)
	}
	return all
}

// diffMapping compares one destination of a mapping.
func diffMapping(d differ, source string, stored, pushed *mapped) {
	m := cmp.Or(pushed, stored)
	d = d.inside("nats.mappings{}[].", source,
		fmt.Sprintf("mapping of %s to %s", Plain(source), Plain(string(m.Subject)))).
		as("mapping_changed")
	switch {
	case pushed == nil:
		d.add(Change{Field: "subject", Code: "mapping_removed", Sign: removed,
			Words: " is removed"})
	case stored == nil:
		d.add(Change{Field: "subject", Code: "mapping_added", Sign: added,
			Words: fmt.Sprintf(" is added: %s, %s", weight(m), inCluster(m.Cluster))})
	default:
		d.prefix += ": "
		d.value("weight", "%s", weight(stored), weight(pushed))
		d.raw("cluster", "%s", stored.Cluster, pushed.Cluster, inCluster)
	}
}

// weight returns the words for the weight of a destination. A weight of 0 is 100 %, as GetWeight
// says.
func weight(m *mapped) string { return fmt.Sprintf("%d %% of the messages", m.GetWeight()) }

// inCluster returns the words for where a destination counts. "" is every cluster. Example: "only
// in cluster east".
func inCluster(cluster string) string {
	if cluster == "" {
		return "in every cluster"
	}
	return "only in cluster " + Plain(cluster)
}

// diffAuthorization compares whether and how a service decides who may connect (auth callout). It
// is on if there are users that connect without it: those of the service itself. On and off is one
// change. The users and accounts of the lists follow as changes of their own.
func diffAuthorization(d differ, stored, pushed *jwt.ExternalAuthorization) {
	d = d.inside("nats.authorization.", "", "").as("authorization_changed")
	if stored.IsEnabled() != pushed.IsEnabled() {
		words := "external authorization is off, users connect with JWTs of their own"
		if pushed.IsEnabled() {
			words = "external authorization is on, every new connection waits for the " +
				"service's answer"
		}
		d.add(Change{Field: "auth_users[]", Words: words})
	}
	d.list(elements{field: "auth_users[]", words: Key,
		came: "user %s connects without external authorization",
		gone: "user %s no longer connects without external authorization"},
		stored.AuthUsers, pushed.AuthUsers)
	d.list(elements{field: "allowed_accounts[]", words: allowed, more: added,
		came: "external authorization may put users into %s",
		gone: "external authorization may no longer put users into %s"},
		stored.AllowedAccounts, pushed.AllowedAccounts)
	d.raw("xkey", "requests for authorization are %s", stored.XKey, pushed.XKey, encrypted)
}

// allowed returns the words for an account that a service may put users into. "*" is any account.
func allowed(key string) string {
	if key == jwt.AnyAccount {
		return "any account"
	}
	return "account " + Key(key)
}

// encrypted returns the words for how requests for authorization are sent. key is a public curve
// key, "X…"; "" is no encryption.
func encrypted(key string) string {
	if key == "" {
		return "not encrypted"
	}
	return "encrypted to " + Key(key)
}

// diffOthers compares what no client loses anything by. They are tags, description, info URL,
// traces and cluster traffic.
func diffOthers(d differ, stored, pushed *jwt.AccountClaims) {
	d = d.inside("nats.", "", "")
	d.as("tag_changed").list(elements{field: "tags[]", words: Plain, came: "tag %s is added",
		gone: "tag %s is removed"}, stored.Tags, pushed.Tags)
	d.as("description_changed").text("description", "description", stored.Description,
		pushed.Description)
	d.as("info_url_changed").text("info_url", "info URL", stored.InfoURL, pushed.InfoURL)
	diffTrace(d, stored.Trace, pushed.Trace)
	d.as("cluster_traffic_changed").raw("cluster_traffic", "replicas of its streams talk in %s",
		clusterTraffic(stored), clusterTraffic(pushed), traffic)
}

// clusterTraffic returns in which account the replicas of streams talk. That is the system account
// if the claims do not say it, as nats-server takes it.
func clusterTraffic(c *jwt.AccountClaims) string {
	return string(cmp.Or(c.ClusterTraffic, jwt.ClusterTrafficSystem))
}

// traffic returns the words for the account in which the replicas of streams talk. The values are
// "system" and "owner".
func traffic(t string) string {
	switch t {
	case jwt.ClusterTrafficSystem:
		return "the system account"
	case jwt.ClusterTrafficOwner:
		return "this account"
	}
	return Plain(t)
}

// diffTrace compares where traces of messages go.
func diffTrace(d differ, stored, pushed *jwt.MsgTrace) {
	d = d.as("trace_changed")
	switch {
	case stored == nil && pushed == nil:
	case pushed == nil:
		d.add(Change{Field: "trace.dest", Sign: removed,
			Words: "messages are not traced any more"})
	case stored == nil:
		d.add(Change{Field: "trace.dest", Sign: added, Words: fmt.Sprintf(
			"%s are traced to %s", traced(pushed), Plain(string(pushed.Destination)))})
	default:
		d.raw("trace.dest", "traces go to %s", string(stored.Destination),
			string(pushed.Destination), Plain)
		d.value("trace.sampling", "%s are traced", traced(stored), traced(pushed))
	}
}

// traced returns the words for how many messages are traced. 0, and what is out of range, is all.
func traced(t *jwt.MsgTrace) string {
	if t.Sampling <= 0 || t.Sampling > 100 {
		return "100 % of the messages"
	}
	return fmt.Sprintf("%d %% of the messages", t.Sampling)
}
