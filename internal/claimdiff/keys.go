package claimdiff

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// diffSigningKeys compares the keys that may sign users and activation tokens. A key has a scope or
// none: with one, all of its users may do the same, whatever their own JWTs say. Keys are sorted,
// and each is named by its ends: "AB3D…K2LM". A new key has no effect, because it has signed
// nothing that is in use.
func diffSigningKeys(d differ, stored, pushed jwt.SigningKeys) {
	for _, key := range keysOf(stored, pushed) {
		before, was := stored[key]
		now, is := pushed[key]
		e := d.inside("nats.signing_keys{}", key, signingKey(key, now)).
			as("signing_key_scope_changed")
		switch {
		case !is:
			e.prefix = signingKey(key, before)
			e.add(Change{Code: "signing_key_removed", Sign: removed, Words: " is removed"})
		case !was:
			e.add(Change{Code: "signing_key_added", Sign: added, Effect: None, Words: " is added"})
		default:
			diffScope(e, UserScope(before), UserScope(now))
		}
	}
}

// signingKey returns the words for a signing key. s is nil if it has no scope. Example: `signing
// key AB3D…K2LM, role "worker",`.
func signingKey(key string, s jwt.Scope) string {
	words := "signing key " + Key(key)
	if scope := UserScope(s); scope != nil {
		words += fmt.Sprintf(", role %s,", Quote(scope.Role))
	}
	return words
}

// UserScope returns the scope of a signing key, nil if it has none. jwt/v2 decodes a pointer, and
// its builders accept a value too.
func UserScope(s jwt.Scope) *jwt.UserScope {
	switch scope := s.(type) {
	case *jwt.UserScope:
		return scope
	case jwt.UserScope:
		return &scope
	}
	return nil
}

// diffScope compares the scope of a signing key, whose key is d.of. A user whose JWT was issued for
// a key without a scope is refused when the key has one, and the other way round.
//
// The four cases are none on both sides, a scope that came, one that went, and one that changed.
// Each change of a scope has the effect of its field, also one that only allows more.
func diffScope(d differ, stored, pushed *jwt.UserScope) {
	key := "signing key " + Key(d.of)
	kind := d.inside(d.path+".kind", d.of, key)
	switch {
	case stored == nil && pushed == nil:
		return
	case stored == nil:
		kind.add(Change{Words: fmt.Sprintf(
			" has role %s now, which its users were not issued for", Quote(pushed.Role))})
		return
	case pushed == nil:
		kind.add(Change{Words: fmt.Sprintf(
			" has no role any more, was %s", Quote(stored.Role))})
		return
	}
	e := d.inside(d.path+".", d.of, key+": ")
	e.isScope = true
	e.value("kind", "kind of scope %s", stored.Kind.String(), pushed.Kind.String())
	e.raw("key", "key of the scope %s", stored.Key, pushed.Key, Key)
	e.text("role", "role", stored.Role, pushed.Role)
	e.text("description", "description", stored.Description, pushed.Description)
	e = e.inside(e.path+"template.", d.of, "users of "+signingKey(d.of, pushed)+" ")
	diffTemplate(e, &stored.Template, &pushed.Template)
}

// diffTemplate compares what a signing key's users may do. Limits of a template bound each user,
// and are compared by the rows of templateLimits.
func diffTemplate(d differ, stored, pushed *jwt.UserPermissionLimits) {
	diffNumbers(d, templateLimits, ofTemplate(stored.NatsLimits), ofTemplate(pushed.NatsLimits))
	d.flag("bearer_token", stored.BearerToken, pushed.BearerToken,
		"may connect with bearer tokens", "may not connect with bearer tokens")
	d.flag("proxy_required", stored.ProxyRequired, pushed.ProxyRequired,
		"must connect through a proxy", "need not connect through a proxy")
	diffConnecting(d, "allowed_connection_types[]", "with", stored.AllowedConnectionTypes,
		pushed.AllowedConnectionTypes)
	diffConnecting(d, "src[]", "from", stored.Src, pushed.Src)
	diffTimes(d, stored.Times, pushed.Times)
	d.raw("times_location", "have times of day in %s", stored.Locale, pushed.Locale, location)
	diffPermissions(d, stored.Permissions, pushed.Permissions)
}

// location returns the words for a time zone. "" is the nats-server's own.
func location(name string) string {
	if name == "" {
		return "the server's time zone"
	}
	return "time zone " + Plain(name)
}

// diffConnecting compares a list of a template that says how or from where users may connect. An
// empty one allows everything, so that a change from or to it is said besides its elements.
// Example: preposition "from" and the element "10.0.0.0/8".
func diffConnecting(d differ, field, preposition string, stored, pushed []string) {
	switch {
	case len(stored) > 0 && len(pushed) == 0:
		d.add(Change{Field: field, Words: "may connect " + preposition + " anything"})
	case len(stored) == 0 && len(pushed) > 0 && !d.isNew:
		d.add(Change{Field: field, Words: "may connect only " + preposition +
			" what is listed" + d.was(preposition+" anything")})
	}
	d.list(elements{field: field, words: Plain,
		came: "may connect " + preposition + " %s",
		gone: "are no longer listed to connect " + preposition + " %s"}, stored, pushed)
}

// diffTimes compares the times of day at which users may be connected. A start and its end are one
// element, which is said as a change of the start.
func diffTimes(d differ, stored, pushed []jwt.TimeRange) {
	if len(pushed) == 0 && len(stored) > 0 {
		d.add(Change{Field: "times[].start", Words: "may be connected at any time"})
	}
	d.list(elements{field: "times[].start", words: asIs,
		came: "may be connected %s", gone: "may no longer be connected %s"},
		ranges(stored), ranges(pushed))
}

// ranges returns the words for times of day. Example: "from 09:00:00 to 17:00:00".
func ranges(times []jwt.TimeRange) (words []string) {
	for _, t := range times {
		words = append(words, "from "+Plain(t.Start)+" to "+Plain(t.End))
	}
	return words
}

// diffRevocations compares which users are revoked, and from which issue time on: a JWT of the user
// that was issued up to then counts no more.
func diffRevocations(d differ, stored, pushed jwt.RevocationList) {
	diffRevoked(d, revoked{field: "nats.revocations{}",
		came: "user_revoked", gone: "user_unrevoked",
		words: func(key string, before int64) string {
			return user(key) + " revoked, issued before " + Time(before)
		},
		lifted: func(key string, before int64) string {
			// MaybeCompact of jwt/v2 takes away what the revocation of all users covers.
			if all := pushed[jwt.All]; key != jwt.All && all >= before {
				return fmt.Sprintf("%s revoked no longer alone, all users issued before %s are",
					user(key), Time(all))
			}
			return user(key) + " not revoked any more"
		}}, stored, pushed)
}

// revoked says how revocations are compared. Their keys are those of users or accounts, and their
// times are in Unix seconds.
type revoked struct {
	field         string
	came, gone    string                                // codes
	words, lifted func(key string, before int64) string // for one that came, and one that is gone
}

// diffRevoked compares revocations. A later time revokes more, and an earlier one less.
func diffRevoked(d differ, of revoked, stored, pushed jwt.RevocationList) {
	for _, key := range keysOf(stored, pushed) {
		before, was := stored[key]
		now, is := pushed[key]
		c := Change{Field: of.field, Code: of.came, Of: key, Words: of.words(key, now)}
		switch {
		case was && is && before == now:
			continue
		case !is:
			c.Code, c.Sign, c.Effect, c.Words = of.gone, removed, None, of.lifted(key, before)
		case !was:
			c.Sign = added
		default:
			c.Words += d.was(Time(before))
			if now < before {
				c.Effect = None
			}
		}
		d.add(c)
	}
}

// user returns the words for the key of a revocation, which may stand for all users. The key "*"
// stands for all.
func user(key string) string {
	if key == jwt.All {
		return "all users"
	}
	return "user " + Key(key)
}
