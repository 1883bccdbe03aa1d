//go:build unix

package main_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// clusterHistory is what the clients of several account servers with one bucket saw, and what the
// bucket has at the end. Moments are on one clock, that of the machine.
type clusterHistory struct {
	versions []madeVersion // every JWT that was made; the others name one by its position
	pushes   []sentPush
	reads    []madeRead
	told     []toldVersion
	starts   []processStart
	stream   []revision // all of the bucket, in its order
}

// madeVersion is a JWT. iat is in seconds.
type madeVersion struct {
	account string
	iat     int64
}

// nothing is the version of a read that found none.
const nothing = -1

// pushEnd is what the answer to a push says about the bucket.
type pushEnd int

const (
	isUnknown pushEnd = iota // no answer, or one that says so: it may be stored, now or later
	isStored                 // 200
	isRefused                // 409: an older or a replaced one
	notStored                // 503 which says so, or another answer after which it must never appear
)

// sentPush is one attempt to push a version to one account server.
type sentPush struct {
	server, version int
	end             pushEnd
	begin, answered time.Time
}

// madeRead is one read. failed means neither 200 nor 404: then version is nothing.
type madeRead struct {
	server  int
	account string
	version int
	failed  bool
	begin   time.Time
	end     time.Time
}

// toldVersion is what an account server told NATS of itself: an announcement, a looked up JWT or a
// line of a pack.
type toldVersion struct {
	server, version int
	how             string
	at              time.Time
}

// processStart is when a process of an account server was started. What its predecessor had sent
// had arrived by then.
type processStart struct {
	server int
	at     time.Time
}

// revision is one message of the bucket. at is the leader's clock when it took the message.
type revision struct {
	number  uint64
	version int
	at      time.Time
}

// faults are the sentences about what must not be in a history. There are none if it is right:
//
//   - an acknowledged version is in the bucket, and was before the answer;
//   - a version that is not stored is not there, and one that was refused did not come later; no
//     version is there twice;
//   - an account's revisions have no older iat than those before;
//   - an account server that has acknowledged or served a revision serves no earlier one afterwards,
//     and not nothing; it never fails to serve what it has served;
//   - what a process tells NATS, and that it finds nothing, takes into account all that was
//     acknowledged before the process was started.
func (h *clusterHistory) faults() []string {
	c := historyCheck{clusterHistory: h, revisions: map[int]revision{},
		ofAccount: map[string][]revision{}}
	c.checkStream()
	c.checkPushes()
	c.checkReads()
	c.checkStarts()
	return c.found
}

// historyCheck is a history while it is looked through.
type historyCheck struct {
	*clusterHistory
	revisions map[int]revision // the first one of each version
	ofAccount map[string][]revision
	found     []string
}

func (c *historyCheck) fault(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *historyCheck) account(version int) string { return c.versions[version].account }

// name says which version it is.
func (c *historyCheck) name(version int) string {
	if version == nothing {
		return "nothing"
	}
	v := c.versions[version]
	return fmt.Sprintf("version %d of %s (iat %d, revision %d)", version, v.account, v.iat,
		c.revisions[version].number)
}

// checkStream looks at the order of the revisions, and that no version has two.
func (c *historyCheck) checkStream() {
	last := map[string]int{}
	for _, r := range c.stream {
		if had, isThere := c.revisions[r.version]; isThere {
			c.fault("%s is in the bucket again, as revision %d", c.name(r.version), r.number)
			r.number = had.number
			continue
		}
		c.revisions[r.version] = r
		key := c.account(r.version)
		c.ofAccount[key] = append(c.ofAccount[key], r)
		if before, isThere := last[key]; isThere &&
			c.versions[before].iat > c.versions[r.version].iat {
			c.fault("the bucket goes back from %s to %s", c.name(before), c.name(r.version))
		}
		last[key] = r.version
	}
}

// checkPushes compares the answers with the bucket.
func (c *historyCheck) checkPushes() {
	ofVersion := map[int][]sentPush{}
	for _, p := range c.pushes {
		r, isThere := c.revisions[p.version]
		ofVersion[p.version] = append(ofVersion[p.version], p)
		switch {
		case p.end == isStored && !isThere:
			c.fault("account server %d acknowledged %s, and the bucket has not got it",
				p.server, c.name(p.version))
		case p.end == isStored && r.at.After(p.answered):
			c.fault("account server %d acknowledged %s before the bucket had it",
				p.server, c.name(p.version))
		case p.end == isRefused && !c.hasReason(p):
			c.fault("account server %d refused %s as older, and nothing newer was ever stored",
				p.server, c.name(p.version))
		}
	}
	for _, r := range c.stream {
		if !slices.ContainsFunc(ofVersion[r.version], r.mayBeOf) {
			c.fault("%s is in the bucket since %s, and no push may have stored it: %s", c.name(r.version),
				r.at.Format(clockTime), describePushes(ofVersion[r.version]))
		}
	}
}

const clockTime = "15:04:05.000"

// mayBeOf reports whether a push may have made a revision. One that was refused may have made it, and
// was compared with a newer one after that.
func (r revision) mayBeOf(p sentPush) bool {
	return p.begin.Before(r.at) &&
		(p.end == isUnknown || p.end != notStored && p.answered.After(r.at))
}

func describePushes(pushes []sentPush) string {
	var texts []string
	for _, p := range pushes {
		texts = append(texts, fmt.Sprintf("%s to %s at account server %d: %s", p.begin.Format(clockTime),
			p.answered.Format(clockTime), p.server,
			[...]string{"unknown", "stored", "refused", "not stored"}[p.end]))
	}
	return strings.Join(texts, ", ")
}

// hasReason reports whether another version could have been in the way of a push that was refused.
func (c *historyCheck) hasReason(p sentPush) bool {
	mine := c.versions[p.version]
	return slices.ContainsFunc(c.ofAccount[mine.account], func(r revision) bool {
		return r.version != p.version && c.versions[r.version].iat >= mine.iat &&
			r.at.Before(p.answered)
	})
}

// observation is that an account server had a revision of an account, at some moment between two.
type observation struct {
	begin, end time.Time
	number     uint64 // 0: nothing
	version    int
	isRead     bool
	failed     bool
}

// checkReads looks at what each account server showed of each account.
func (c *historyCheck) checkReads() {
	type place struct {
		server  int
		account string
	}
	seen := map[place][]observation{}
	for _, p := range c.pushes {
		if p.end == isStored {
			at := place{p.server, c.account(p.version)}
			seen[at] = append(seen[at], observation{begin: p.begin, end: p.answered,
				version: p.version, number: c.revisions[p.version].number})
		}
	}
	for _, r := range c.reads {
		o := observation{begin: r.begin, end: r.end, version: r.version, isRead: true,
			failed: r.failed}
		if r.version != nothing {
			o.number = c.revisions[r.version].number
			if o.number == 0 {
				c.fault("account server %d served %s, which the bucket has not got", r.server,
					c.name(r.version))
			}
		}
		at := place{r.server, r.account}
		seen[at] = append(seen[at], o)
	}
	for at, all := range seen {
		c.checkForward(at.server, at.account, all)
	}
}

// checkForward finds reads that show less than what was shown before they began.
func (c *historyCheck) checkForward(server int, account string, all []observation) {
	byEnd := slices.Clone(all)
	slices.SortFunc(byEnd, func(a, b observation) int { return a.end.Compare(b.end) })
	slices.SortFunc(all, func(a, b observation) int { return a.begin.Compare(b.begin) })
	var most observation // of those that had ended
	for _, o := range all {
		for len(byEnd) > 0 && byEnd[0].end.Before(o.begin) {
			if byEnd[0].number > most.number {
				most = byEnd[0]
			}
			byEnd = byEnd[1:]
		}
		switch {
		case !o.isRead || o.number >= most.number:
		case o.failed:
			c.fault("account server %d failed to serve %s, of which it had %s", server, account,
				c.name(most.version))
		default:
			c.fault("account server %d served %s after %s", server, c.name(o.version),
				c.name(most.version))
		}
	}
}

// checkStarts compares what a process tells with what was acknowledged before its start.
func (c *historyCheck) checkStarts() {
	acked := slices.DeleteFunc(slices.Clone(c.pushes), func(p sentPush) bool {
		return p.end != isStored
	})
	slices.SortFunc(acked, func(a, b sentPush) int { return a.answered.Compare(b.answered) })
	slices.SortFunc(c.starts, func(a, b processStart) int { return a.at.Compare(b.at) })
	least := make([]map[string]int, len(c.starts)) // of each start: the versions of all accounts
	now := map[string]int{}
	for i, s := range c.starts {
		for len(acked) > 0 && acked[0].answered.Before(s.at) {
			key := c.account(acked[0].version)
			had, isThere := now[key]
			if !isThere || c.revisions[had].number < c.revisions[acked[0].version].number {
				now[key] = acked[0].version
			}
			acked = acked[1:]
		}
		least[i] = maps.Clone(now)
	}
	for _, told := range c.told {
		i := c.startBefore(told.server, told.at)
		floor, isThere := least[i][c.account(told.version)]
		if isThere && c.revisions[told.version].number < c.revisions[floor].number {
			c.fault("account server %d told NATS of %s (%s), but before it was started %s was stored",
				told.server, c.name(told.version), told.how, c.name(floor))
		}
	}
	for _, r := range c.reads {
		i := c.startBefore(r.server, r.begin)
		if floor, isThere := least[i][r.account]; isThere && r.version == nothing && !r.failed {
			c.fault("account server %d found nothing of %s, but before it was started %s was stored",
				r.server, r.account, c.name(floor))
		}
	}
}

// startBefore is the position of the last start of an account server before a moment.
func (c *historyCheck) startBefore(server int, at time.Time) int {
	for i, s := range slices.Backward(c.starts) {
		if s.server == server && s.at.Before(at) {
			return i
		}
	}
	panic(fmt.Sprintf("account server %d did something before it was started", server))
}
