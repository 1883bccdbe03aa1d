package claimdiff

import (
	"fmt"
	"math"

	"github.com/nats-io/jwt/v2"
)

// limit is a number in claims that bounds something: which one, how to say it, and what nats-server
// takes 0, -1 and less for. An absent field is 0.
//
//	field                          0            -1           below -1
//	conn, leaf, subs               none         unlimited    none
//	payload                        only empty   unlimited    none, also no empty ones
//	imports, exports               none         unlimited    refused with any JWT
//	data                           not enforced, whatever it is
//	disk_storage, mem_storage      none         unlimited    unlimited
//	both of them                   JetStream is off
//	streams, consumer              unlimited    unlimited    unlimited
//	max_ack_pending                unlimited    unlimited    unlimited
//	disk_ and mem_max_stream_bytes unlimited    unlimited    unlimited
//
// A test tries each of these on a real nats-server. The functions are pure, and the tables are not
// changed. clause and zero are for Diff, label for Describe.
type limit struct {
	name   string // its last part in the path of the JSON: "conn"
	of     func(*jwt.OperatorLimits) int64
	label  string             // in a table: "Connections"
	clause string             // has a place for the number: "may open %s connection{s}"
	zero   string             // what 0 is called in the clause. If it is empty, 0 is unlimited
	below  int64              // what a number below -1 is taken as: unlimited, or 0 or less
	format func(int64) string // a number above 0 in words
}

// unlimited is what meaning returns for a limit that bounds nothing. Every number is below it, so
// that a limit which is raised is one whose meaning has grown. math.MaxInt64 is no limit in claims,
// since nats-server can't count so far.
const unlimited = math.MaxInt64

// accountLimits has a row for each limit of an account but those of JetStream. The order is that of
// the words in Diff and of the rows of a page. To add a limit, add a row here, a row in effects.go
// and one in meaning_test.go.
var accountLimits = []limit{
	{name: "conn", of: func(l *jwt.OperatorLimits) int64 { return l.Conn },
		label: "Connections", clause: "may open %s connection{s}", zero: "no", format: number},
	{name: "leaf", of: func(l *jwt.OperatorLimits) int64 { return l.LeafNodeConn },
		label: "Leaf nodes", clause: "may connect %s leaf node{s}", zero: "no", format: number},
	{name: "subs", of: func(l *jwt.OperatorLimits) int64 { return l.Subs },
		label:  "Subscriptions per connection",
		clause: "may have %s subscription{s} per connection", zero: "no", format: number},
	{name: "payload", of: func(l *jwt.OperatorLimits) int64 { return l.Payload },
		label: "Message size", clause: "message size %s", zero: "0 (only empty messages)",
		below: -1, format: Size},
	{name: "data", of: func(l *jwt.OperatorLimits) int64 { return l.Data },
		label: "Data (not enforced)", clause: "data limit %s (nats-server does not enforce it)",
		zero: "0", below: unlimited, format: Size},
	{name: "exports", of: func(l *jwt.OperatorLimits) int64 { return l.Exports },
		label: "Exports", clause: "may have %s export{s}", zero: "no", format: number},
	{name: "imports", of: func(l *jwt.OperatorLimits) int64 { return l.Imports },
		label: "Imports", clause: "may have %s import{s}", zero: "no", format: number},
}

// jetStreamLimits has a row for each limit of JetStream. The limits of a tier are read with the
// same rows, see ofTier.
var jetStreamLimits = []limit{
	{name: "disk_storage", of: func(l *jwt.OperatorLimits) int64 { return l.DiskStorage },
		label: "Disk for streams", clause: "disk for streams %s", zero: "0", below: unlimited,
		format: Size},
	{name: "mem_storage", of: func(l *jwt.OperatorLimits) int64 { return l.MemoryStorage },
		label: "Memory for streams", clause: "memory for streams %s", zero: "0", below: unlimited,
		format: Size},
	{name: "streams", of: func(l *jwt.OperatorLimits) int64 { return l.Streams },
		label: "Streams", clause: "may have %s stream{s}", format: number},
	{name: "consumer", of: func(l *jwt.OperatorLimits) int64 { return l.Consumer },
		label: "Consumers", clause: "may have %s consumer{s}", format: number},
	{name: "max_ack_pending", of: func(l *jwt.OperatorLimits) int64 { return l.MaxAckPending },
		label:  "Unacknowledged messages per consumer",
		clause: "unacknowledged messages per consumer %s", format: number},
	{name: "disk_max_stream_bytes",
		of:    func(l *jwt.OperatorLimits) int64 { return l.DiskMaxStreamBytes },
		label: "Disk per stream", clause: "disk per stream %s", format: Size},
	{name: "mem_max_stream_bytes",
		of:    func(l *jwt.OperatorLimits) int64 { return l.MemoryMaxStreamBytes },
		label: "Memory per stream", clause: "memory per stream %s", format: Size},
}

// templateLimits has a row for each limit that the template of a signing key gives its users. Its
// clauses follow words for the users, so that they differ from those of an account.
var templateLimits = []limit{
	{name: "subs", of: func(l *jwt.OperatorLimits) int64 { return l.Subs },
		clause: "may have %s subscription{s}", zero: "no", format: number},
	{name: "payload", of: func(l *jwt.OperatorLimits) int64 { return l.Payload },
		clause: "may send messages of %s", zero: "0 bytes", below: -1, format: Size},
	{name: "data", of: func(l *jwt.OperatorLimits) int64 { return l.Data },
		clause: "have a data limit of %s (nats-server does not enforce it)", zero: "0",
		below: unlimited, format: Size},
}

// ofTier returns the limits of a tier as those of an account, for the rows of jetStreamLimits. The
// other limits are zero and are not looked at.
func ofTier(l jwt.JetStreamLimits) *jwt.OperatorLimits {
	return &jwt.OperatorLimits{JetStreamLimits: l}
}

// ofTemplate returns the limits of a template as those of an account, for the rows of
// templateLimits.
func ofTemplate(l jwt.NatsLimits) *jwt.OperatorLimits { return &jwt.OperatorLimits{NatsLimits: l} }

// number is Count for a limit.
func number(n int64) string { return Count(n) }

// meaning returns the number that nats-server goes by: two numbers with the same meaning are no
// change. The result is below 0 only if not even 0 is allowed. Examples: 0 streams and -1 streams
// are the same, and so are 0 connections and -2.
func (l limit) meaning(n int64) int64 {
	switch {
	case n == jwt.NoLimit, n <= 0 && l.zero == "":
		return unlimited
	case n < 0:
		return l.below
	}
	return n
}

// value returns a number in words, as a table shows it. Example: "unlimited", "none" or "1 GiB".
func (l limit) value(n int64) string {
	switch n = l.meaning(n); {
	case n == unlimited:
		return "unlimited"
	case n < 0:
		return "none"
	case n == 0:
		return "0"
	}
	return l.format(n)
}

// words returns the clause for a number. Example: "may open 60 connections". {s} in a clause is the
// plural, which 1 does not have.
func (l limit) words(n int64) string {
	value := l.value(n)
	if l.meaning(n) == 0 {
		value = l.zero
	}
	return fmt.Sprintf(plural(l.clause, n), value)
}

// diffNumbers compares the limits of some rows. A limit that is raised has
// no effect. Two numbers with the same meaning add nothing, such as 0 and -1 where both are
// unlimited.
func diffNumbers(d differ, rows []limit, stored, pushed *jwt.OperatorLimits) {
	for _, l := range rows {
		before, now := l.of(stored), l.of(pushed)
		if l.meaning(before) == l.meaning(now) {
			continue
		}
		c := Change{Field: l.name, Words: l.words(now) + d.was(l.value(before))}
		if l.meaning(now) > l.meaning(before) {
			c.Effect = d.allowsMore()
		}
		d.add(c)
	}
}

// diffLimits compares all limits. JetStream as a whole comes before its limits, because it says
// more than they do.
func diffLimits(d differ, stored, pushed *jwt.OperatorLimits) {
	d = d.inside("nats.limits.", "", "").as("limit_changed")
	diffNumbers(d, accountLimits, stored, pushed)
	d.flag("wildcards", stored.WildcardExports, pushed.WildcardExports,
		"may export subjects with wildcards", "may not export subjects with wildcards", true)
	d.flag("disallow_bearer", stored.DisallowBearer, pushed.DisallowBearer,
		"bearer tokens are refused", "bearer tokens are allowed", false)
	if stored.IsJSEnabled() != pushed.IsJSEnabled() {
		diffJetStream(d, pushed.IsJSEnabled())
	}
	diffJetStreamLimits(d, stored, pushed)
	for _, tier := range keysOf(stored.JetStreamTieredLimits, pushed.JetStreamTieredLimits) {
		diffTier(d, tier, stored.JetStreamTieredLimits, pushed.JetStreamTieredLimits)
	}
}

// diffJetStream says that JetStream is turned on or off. Claims have no field for that: it is off
// if disk and memory are 0 and there are no tiers.
func diffJetStream(d differ, isOn bool) {
	c := Change{Field: "disk_storage", Code: "jetstream_off",
		Words: "JetStream is off, streams are away until it is on again"}
	if isOn {
		c.Code, c.Effect, c.Words = "jetstream_on", None, "JetStream is on"
	}
	d.add(c)
}

// diffJetStreamLimits compares the limits of JetStream for the whole account. Claims have either
// those or limits for tiers. If they change from one to the other, it is said once, and not that
// each limit of before is 0 now.
func diffJetStreamLimits(d differ, stored, pushed *jwt.OperatorLimits) {
	wereTiers := len(stored.JetStreamTieredLimits) > 0
	areTiers := len(pushed.JetStreamTieredLimits) > 0
	c := Change{Field: "disk_storage", Code: "tiers_changed"}
	switch {
	case areTiers && !wereTiers && stored.IsJSEnabled():
		c.Words = "limits of JetStream are for tiers, were for the account"
		d.add(c)
		return
	case wereTiers && !areTiers && pushed.IsJSEnabled():
		c.Words = "limits of JetStream are for the account, were for tiers"
		d.add(c)
		d.isNew = true
	}
	diffStorage(d, stored, pushed)
}

// diffStorage compares the limits of JetStream for the account or a tier.
func diffStorage(d differ, stored, pushed *jwt.OperatorLimits) {
	diffNumbers(d, jetStreamLimits, stored, pushed)
	d.flag("max_bytes_required",
		stored.JetStreamLimits.MaxBytesRequired, pushed.JetStreamLimits.MaxBytesRequired,
		"streams must have max_bytes", "streams need no max_bytes", false)
}

// diffTier compares the limits of one tier. A tier is a number of replicas, such as "R3": its
// limits are for streams with as many, and a tier without limits allows no stream. An absent tier
// is one without limits. A tier that is gone adds one change, and not one for each of its limits.
func diffTier(d differ, name string, stored, pushed map[string]jwt.JetStreamLimits) {
	before, was := stored[name]
	now, is := pushed[name]
	tier := "tier " + Plain(name)
	d = d.inside("nats.limits.tiered_limits{}.", name, "")
	switch {
	case !is:
		d.add(Change{Field: "disk_storage", Code: "tier_removed", Sign: removed,
			Words: tier + " is removed"})
		return
	case !was:
		d.add(Change{Field: "disk_storage", Code: "tier_added", Sign: added, Effect: None,
			Words: tier + " is added"})
		d.isNew = true
	}
	d.prefix = tier + ": "
	diffStorage(d, ofTier(before), ofTier(now))
}
