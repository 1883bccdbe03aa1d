package claimdiff

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// signingKeys compares the keys that may sign users and activation tokens.
func (d differ) signingKeys(stored, pushed jwt.SigningKeys) {
	for _, key := range keysOf(stored, pushed) {
		before, was := stored[key]
		now, is := pushed[key]
		e := d.inside("nats.signing_keys{}", key, signingKey(key, now))
		switch {
		case !is:
			e.prefix = signingKey(key, before)
			e.add(Change{Code: "signing_key_removed", Sign: removed, Words: " is removed"})
		case !was:
			e.add(Change{Code: "signing_key_added", Sign: added, Effect: None, Words: " is added"})
		default:
			e.scope(userScope(before), userScope(now))
		}
	}
}

// signingKey returns the words for a signing key.
func signingKey(key string, s jwt.Scope) string {
	words := "signing key " + Key(key)
	if scope := userScope(s); scope != nil {
		words += fmt.Sprintf(", role %s,", Quote(scope.Role))
	}
	return words
}

// userScope returns the scope of a signing key, nil if it has none.
func userScope(s jwt.Scope) *jwt.UserScope {
	switch scope := s.(type) {
	case *jwt.UserScope:
		return scope
	case jwt.UserScope:
		return &scope
	}
	return nil
}

// scope compares what the users of a signing key may do.
func (d differ) scope(stored, pushed *jwt.UserScope) {
	key := "signing key " + Key(d.of)
	kind := d.inside(d.path+".kind", d.of, key)
	switch {
	case stored == nil && pushed == nil:
		return
	case stored == nil:
		kind.add(Change{Code: "signing_key_scope_changed", Words: fmt.Sprintf(
			" has role %s now, which its users were not issued for", Quote(pushed.Role))})
		return
	case pushed == nil:
		kind.add(Change{Code: "signing_key_scope_changed", Words: fmt.Sprintf(
			" has no role any more, was %s", Quote(stored.Role))})
		return
	}
	e := d.inside(d.path+".", d.of, key+": ")
	e.value("kind", "signing_key_scope_changed", "kind of scope %s", stored.Kind.String(),
		pushed.Kind.String())
	e.raw("key", "signing_key_scope_changed", "key of the scope %s", stored.Key, pushed.Key, Key)
	e.text("role", "signing_key_scope_changed", "role", stored.Role, pushed.Role)
	e.text("description", "signing_key_scope_changed", "description", stored.Description,
		pushed.Description)
	e = e.inside(e.path+"template.", d.of, "users of "+signingKey(d.of, pushed)+" ")
	e.template(&stored.Template, &pushed.Template)
}

// templateLimits has a row for each number of a template.
var templateLimits = []limit{
	{name: "subs", clause: "may have %s subscription{s}", zero: "no", format: Count},
	{name: "payload", clause: "may send messages of %s", zero: "0 bytes", below: -1,
		format: Size},
	{name: "data", clause: "have a data limit of %s (nats-server does not enforce it)",
		zero: "0", below: unlimited, format: Size},
}

// templateLimit returns the number of a row of templateLimits.
func templateLimit(l *jwt.NatsLimits, name string) int64 {
	return map[string]int64{"subs": l.Subs, "payload": l.Payload, "data": l.Data}[name]
}

// template compares what a signing key's users may do. Any change of it reconnects them.
func (d differ) template(stored, pushed *jwt.UserPermissionLimits) {
	const code = "signing_key_scope_changed"
	for _, l := range templateLimits {
		before := templateLimit(&stored.NatsLimits, l.name)
		now := templateLimit(&pushed.NatsLimits, l.name)
		if l.meaning(before) != l.meaning(now) {
			d.add(Change{Field: l.name, Code: code, Words: l.words(now) + d.was(l.value(before))})
		}
	}
	d.flag("bearer_token", code, stored.BearerToken, pushed.BearerToken,
		"may connect with bearer tokens", "may not connect with bearer tokens")
	d.flag("proxy_required", code, stored.ProxyRequired, pushed.ProxyRequired,
		"must connect through a proxy", "need not connect through a proxy")
	d.only("allowed_connection_types[]", code, "connect", "with", stored.AllowedConnectionTypes,
		pushed.AllowedConnectionTypes)
	d.only("src[]", code, "connect", "from", stored.Src, pushed.Src)
	d.times(stored.Times, pushed.Times)
	d.raw("times_location", code, "have times of day in %s", stored.Locale, pushed.Locale, location)
	d.permissions(stored.Permissions, pushed.Permissions)
}

// location returns the words for a time zone.
func location(name string) string {
	if name == "" {
		return "the server's time zone"
	}
	return "time zone " + Plain(name)
}

// only compares a list that says what is allowed, where an empty one allows everything.
func (d differ) only(field, code, verb, preposition string, stored, pushed []string) {
	if (len(stored) == 0) != (len(pushed) == 0) {
		if len(pushed) == 0 {
			d.add(Change{Field: field, Code: code,
				Words: fmt.Sprintf("may %s %s anything", verb, preposition)})
		} else if !d.isNew {
			words := fmt.Sprintf("may %s only %s what is listed", verb, preposition)
			d.add(Change{Field: field, Code: code, Words: words + d.was(preposition+" anything")})
		}
	}
	d.list(field, code, stored, pushed, always(""), func(item string, isAdded bool) string {
		if isAdded {
			return fmt.Sprintf("may %s %s %s", verb, preposition, Plain(item))
		}
		return fmt.Sprintf("are no longer listed to %s %s %s", verb, preposition, Plain(item))
	})
}

// times compares the times of day at which users may be connected. They are in order of the list,
// and a start belongs to its end.
func (d differ) times(stored, pushed []jwt.TimeRange) {
	const code = "signing_key_scope_changed"
	before, now := ranges(stored), ranges(pushed)
	if len(pushed) == 0 && len(stored) > 0 {
		d.add(Change{Field: "times[].start", Code: code, Words: "may be connected at any time"})
	}
	d.list("times[].start", code, before, now, always(""), func(item string, isAdded bool) string {
		if isAdded {
			return "may be connected " + item
		}
		return "may no longer be connected " + item
	})
}

// ranges returns the words for times of day.
func ranges(times []jwt.TimeRange) (words []string) {
	for _, t := range times {
		words = append(words, "from "+Plain(t.Start)+" to "+Plain(t.End))
	}
	return words
}

// revocations compares the users that are revoked, or the accounts whose activation tokens are.
func (d differ) revocations(path string, stored, pushed jwt.RevocationList) {
	all := pushed[jwt.All]
	for _, key := range keysOf(stored, pushed) {
		before, was := stored[key]
		now, is := pushed[key]
		e := d.inside(path+"revocations{}", key, revoked(key))
		switch {
		case !was:
			e.add(Change{Code: "user_revoked", Sign: added, Words: ", issued before " + Time(now)})
		case !is && key != jwt.All && all >= before:
			e.add(Change{Code: "user_unrevoked", Sign: removed, Effect: None, Words: fmt.Sprintf(
				" no longer alone, all users issued before %s are", Time(all))})
		case !is:
			e.prefix = user(key)
			e.add(Change{Code: "user_unrevoked", Sign: removed, Effect: None,
				Words: " not revoked any more"})
		case before < now:
			e.add(Change{Code: "user_revoked",
				Words: ", issued before " + Time(now) + d.was(Time(before))})
		case before > now:
			e.add(Change{Code: "user_revoked", Effect: None,
				Words: ", issued before " + Time(now) + d.was(Time(before))})
		}
	}
}

// user returns the words for a user of a revocation.
func user(key string) string {
	if key == jwt.All {
		return "all users"
	}
	return "user " + Key(key)
}

// revoked returns the words for a user that is revoked.
func revoked(key string) string { return user(key) + " revoked" }
