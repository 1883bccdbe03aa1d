package claimdiff

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
)

// diffPermissions compares what users may publish, subscribe to and reply: the default permissions
// of an account, or those in the template of a signing key.
func diffPermissions(d differ, stored, pushed jwt.Permissions) {
	d = d.as("permission_changed")
	diffPermission(d, "pub", "publish to", stored.Pub, pushed.Pub)
	diffPermission(d, "sub", "subscribe to", stored.Sub, pushed.Sub)
	diffReplies(d, stored, pushed)
}

// diffPermission compares the lists of one direction. An empty allow list allows everything, and
// the deny list counts before it. So the first element of an allow list takes away all but itself,
// and a change from or to an empty list is said besides its elements. name is "pub" or "sub", and
// verb "publish to" or "subscribe to". A subject that is added to an allow list, or taken from a
// deny list, only allows more.
func diffPermission(d differ, name, verb string, stored, pushed jwt.Permission) {
	allow := name + ".allow[]"
	switch {
	case len(stored.Allow) == 0 && len(pushed.Allow) > 0 && !d.isNew:
		d.add(Change{Field: allow, Words: fmt.Sprintf(
			"may %s only what is allowed", verb) + d.was("anything")})
	case len(stored.Allow) > 0 && len(pushed.Allow) == 0:
		d.add(Change{Field: allow, Effect: d.allowsMore(), Words: fmt.Sprintf(
			"may %s anything, was only what is allowed", verb)})
	}
	d.list(elements{field: allow, more: added, words: Plain,
		came: "may " + verb + " %s", gone: "are no longer allowed to " + verb + " %s"},
		stored.Allow, pushed.Allow)
	d.list(elements{field: name + ".deny[]", more: removed, words: Plain,
		came: "may not " + verb + " %s", gone: "are no longer denied to " + verb + " %s"},
		stored.Deny, pushed.Deny)
}

// defaultReplies and defaultReplyTime are what nats-server takes 0 for in the permission to reply:
// its DEFAULT_ALLOW_RESPONSE_MAX_MSGS and DEFAULT_ALLOW_RESPONSE_EXPIRATION.
const (
	defaultReplies   = 1
	defaultReplyTime = 2 * time.Minute
)

// diffReplies compares how users may reply to messages that they get, whatever the lists say. If
// there is no list of what they may publish, nats-server lets them publish nothing but replies. nil
// is no such permission.
func diffReplies(d differ, stored, pushed jwt.Permissions) {
	before, now := stored.Resp, pushed.Resp
	switch {
	case before == nil && now == nil:
		return
	case now == nil:
		d.add(Change{Field: "resp.max", Sign: removed,
			Words: "have no permission of their own for replies any more"})
		return
	case before == nil:
		clause := "may reply %s within %s"
		if len(pushed.Pub.Allow) == 0 {
			clause = "may publish only replies: %s within %s"
		}
		d.add(Change{Field: "resp.max", Sign: added,
			Words: fmt.Sprintf(clause, replyCount(now), replyTime(now))})
		return
	}
	d.value("resp.max", "may reply %s", replyCount(before), replyCount(now))
	d.value("resp.ttl", "may reply within %s", replyTime(before), replyTime(now))
}

// replyCount returns the words for how many replies to one message are allowed. Below 0 is any
// number.
func replyCount(p *jwt.ResponsePermission) string {
	switch n := p.MaxMsgs; {
	case n < 0:
		return "any number of times"
	case n == 0 || n == defaultReplies:
		return "once"
	default:
		return Count(int64(n)) + " times"
	}
}

// replyTime returns the words for how long after a message replies to it are allowed. Below 0 is
// for ever.
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
