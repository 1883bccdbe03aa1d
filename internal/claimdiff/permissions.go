package claimdiff

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
)

// permissions compares what users may publish, subscribe to and reply.
func (d differ) permissions(stored, pushed jwt.Permissions) {
	d.permission("pub", "publish to", stored.Pub, pushed.Pub)
	d.permission("sub", "subscribe to", stored.Sub, pushed.Sub)
	d.responses(stored, pushed)
}

// permission compares the lists of one direction. An empty allow list allows everything.
func (d differ) permission(name, verb string, stored, pushed jwt.Permission) {
	const code = "permission_changed"
	allow := name + ".allow[]"
	switch {
	case len(stored.Allow) == 0 && len(pushed.Allow) > 0 && !d.isNew:
		d.add(Change{Field: allow, Code: code, Words: fmt.Sprintf(
			"may %s only what is allowed", verb) + d.was("anything")})
	case len(stored.Allow) > 0 && len(pushed.Allow) == 0:
		d.add(Change{Field: allow, Code: code, Effect: d.granted(allow), Words: fmt.Sprintf(
			"may %s anything, was only what is allowed", verb)})
	}
	d.list(allow, code, stored.Allow, pushed.Allow, d.harm(allow, false),
		func(item string, isAdded bool) string {
			if isAdded {
				return fmt.Sprintf("may %s %s", verb, Plain(item))
			}
			return fmt.Sprintf("are no longer allowed to %s %s", verb, Plain(item))
		})
	deny := name + ".deny[]"
	d.list(deny, code, stored.Deny, pushed.Deny, d.harm(deny, true),
		func(item string, isAdded bool) string {
			if isAdded {
				return fmt.Sprintf("may not %s %s", verb, Plain(item))
			}
			return fmt.Sprintf("are no longer denied to %s %s", verb, Plain(item))
		})
}

// granted returns the effect of what allows more: none, except that a change of a scope reconnects.
func (d differ) granted(field string) Effect {
	if Effects[d.path+field] == Cut {
		return Cut
	}
	return None
}

// harm returns the effect of a list of permissions, whose elements harm when they come or when they
// go.
func (d differ) harm(field string, whenAdded bool) func(bool) Effect {
	if Effects[d.path+field] == Cut {
		return always(Cut)
	}
	return onlyIn(Effects[d.path+field], whenAdded)
}

// What nats-server takes for 0, see its defaults.
const (
	defaultReplies   = 1
	defaultReplyTime = 2 * time.Minute
)

// responses compares how users may reply to what they get. With it they may publish nothing else,
// unless a list allows it.
func (d differ) responses(stored, pushed jwt.Permissions) {
	const code = "permission_changed"
	before, now := stored.Resp, pushed.Resp
	switch {
	case before == nil && now == nil:
		return
	case now == nil:
		d.add(Change{Field: "resp.max", Code: code, Sign: removed,
			Words: "have no permission of their own for replies any more"})
		return
	case before == nil:
		words := fmt.Sprintf("may reply %s within %s", replies(now), replyTime(now))
		if len(pushed.Pub.Allow) == 0 {
			words = "may publish only replies: " + words[len("may reply "):]
		}
		d.add(Change{Field: "resp.max", Code: code, Sign: added, Words: words})
		return
	}
	d.value("resp.max", code, "may reply %s", replies(before), replies(now))
	d.value("resp.ttl", code, "may reply within %s", replyTime(before), replyTime(now))
}

// replies returns the words for how many replies are allowed.
func replies(p *jwt.ResponsePermission) string {
	switch n := p.MaxMsgs; {
	case n < 0:
		return "any number of times"
	case n == 0 || n == defaultReplies:
		return "once"
	default:
		return Count(int64(n)) + " times"
	}
}

// replyTime returns the words for how long replies are allowed.
func replyTime(p *jwt.ResponsePermission) string {
	switch t := p.Expires; {
	case t < 0:
		return "any time"
	case t == 0:
		return Duration(defaultReplyTime)
	default:
		return Duration(t)
	}
}
