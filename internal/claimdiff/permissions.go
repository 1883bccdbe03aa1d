package claimdiff

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
)

// permissions compares what users may publish, subscribe to and reply: the default permissions of
// an account, or those in the template of a signing key.
func (d differ) permissions(stored, pushed jwt.Permissions) {
	d.permission("pub", "publish to", stored.Pub, pushed.Pub)
	d.permission("sub", "subscribe to", stored.Sub, pushed.Sub)
	d.replies(stored, pushed)
}

// permission compares the lists of one direction. An empty allow list allows everything, and the
// deny list counts before it. So the first element of an allow list takes away all but itself, and
// a change from or to an empty list is said besides its elements. name is "pub" or "sub", and verb
// "publish to" or "subscribe to". A subject that is added to an allow list, or taken from a deny
// list, only allows more.
func (d differ) permission(name, verb string, stored, pushed jwt.Permission) {
	const code = "permission_changed"
	allow := name + ".allow[]"
	switch {
	case len(stored.Allow) == 0 && len(pushed.Allow) > 0 && !d.isNew:
		d.add(Change{Field: allow, Code: code, Words: fmt.Sprintf(
			"may %s only what is allowed", verb) + d.was("anything")})
	case len(stored.Allow) > 0 && len(pushed.Allow) == 0:
		d.add(Change{Field: allow, Code: code, Effect: d.allowsMore(), Words: fmt.Sprintf(
			"may %s anything, was only what is allowed", verb)})
	}
	d.list(elements{field: allow, code: code, more: added, words: Plain,
		came: "may " + verb + " %s", gone: "are no longer allowed to " + verb + " %s"},
		stored.Allow, pushed.Allow)
	d.list(elements{field: name + ".deny[]", code: code, more: removed, words: Plain,
		came: "may not " + verb + " %s", gone: "are no longer denied to " + verb + " %s"},
		stored.Deny, pushed.Deny)
}

// defaultReplies and defaultReplyTime are what nats-server takes 0 for in the permission to reply:
// its DEFAULT_ALLOW_RESPONSE_MAX_MSGS and DEFAULT_ALLOW_RESPONSE_EXPIRATION.
const (
	defaultReplies   = 1
	defaultReplyTime = 2 * time.Minute
)

// replies compares how users may reply to messages that they get, whatever the lists say. If there
// is no list of what they may publish, nats-server lets them publish nothing but replies. nil is no
// such permission.
func (d differ) replies(stored, pushed jwt.Permissions) {
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
		clause := "may reply %s within %s"
		if len(pushed.Pub.Allow) == 0 {
			clause = "may publish only replies: %s within %s"
		}
		d.add(Change{Field: "resp.max", Code: code, Sign: added,
			Words: fmt.Sprintf(clause, replyCount(now), replyTime(now))})
		return
	}
	d.value("resp.max", code, "may reply %s", replyCount(before), replyCount(now))
	d.value("resp.ttl", code, "may reply within %s", replyTime(before), replyTime(now))
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
