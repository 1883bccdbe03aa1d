package claimdiff

import (
	"fmt"
	"math"

	"github.com/nats-io/jwt/v2"
)

// limit says what the numbers of a field mean. An absent field is 0.
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
type limit struct {
	name   string
	label  string // in a table: "Connections"
	clause string // has a place for the number: "may open %s connection{s}"
	zero   string // what 0 is called in the clause. If it is empty, 0 is unlimited
	below  int64  // what a number below -1 is taken as: unlimited or 0 or less
	format func(int64) string
}

// unlimited is the number of a limit that there is not.
const unlimited = math.MaxInt64

// accountLimits and jetStreamLimits have a row for each number.
var (
	accountLimits = []limit{
		{name: "conn", label: "Connections", clause: "may open %s connection{s}", zero: "no",
			format: Count},
		{name: "leaf", label: "Leaf nodes", clause: "may connect %s leaf node{s}", zero: "no",
			format: Count},
		{name: "subs", label: "Subscriptions per connection",
			clause: "may have %s subscription{s} per connection", zero: "no", format: Count},
		{name: "payload", label: "Message size", clause: "message size %s",
			zero: "0 (only empty messages)", below: -1, format: Size},
		{name: "data", label: "Data (not enforced)",
			clause: "data limit %s (nats-server does not enforce it)", zero: "0",
			below: unlimited, format: Size},
		{name: "exports", label: "Exports", clause: "may have %s export{s}", zero: "no",
			format: Count},
		{name: "imports", label: "Imports", clause: "may have %s import{s}", zero: "no",
			format: Count},
	}
	jetStreamLimits = []limit{
		{name: "disk_storage", label: "Disk for streams", clause: "disk for streams %s", zero: "0",
			below: unlimited, format: Size},
		{name: "mem_storage", label: "Memory for streams", clause: "memory for streams %s",
			zero: "0", below: unlimited, format: Size},
		{name: "streams", label: "Streams", clause: "may have %s stream{s}", format: Count},
		{name: "consumer", label: "Consumers", clause: "may have %s consumer{s}", format: Count},
		{name: "max_ack_pending", label: "Unacknowledged messages per consumer",
			clause: "unacknowledged messages per consumer %s", format: Count},
		{name: "disk_max_stream_bytes", label: "Disk per stream", clause: "disk per stream %s",
			format: Size},
		{name: "mem_max_stream_bytes", label: "Memory per stream", clause: "memory per stream %s",
			format: Size},
	}
)

// meaning returns the number that nats-server goes by.
func (l limit) meaning(n int64) int64 {
	switch {
	case n == jwt.NoLimit, n == 0 && l.zero == "":
		return unlimited
	case n < 0 && l.zero == "":
		return unlimited
	case n < 0:
		return l.below
	}
	return n
}

// value returns a number in words, as a table shows it.
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

// words returns the clause for a number.
func (l limit) words(n int64) string {
	value := l.value(n)
	if l.meaning(n) == 0 {
		value = l.zero
	}
	return fmt.Sprintf(plural(l.clause, n), value)
}

// limitDiffer compares the limits of an account.
type limitDiffer struct{ differ }

// limit compares one limit. One that is raised does no harm.
func (d limitDiffer) limit(l limit, stored, pushed int64) {
	before, now := l.meaning(stored), l.meaning(pushed)
	if before == now {
		return
	}
	c := Change{Field: l.name, Code: "limit_changed",
		Words: l.words(pushed) + d.was(l.value(stored))}
	if now > before {
		c.Effect = None
	}
	d.add(c)
}

// limits compares all limits.
func (d limitDiffer) limits(stored, pushed *jwt.OperatorLimits) {
	d.differ = d.inside("nats.limits.", "", "")
	for _, l := range accountLimits {
		d.limit(l, accountLimit(stored, l.name), accountLimit(pushed, l.name))
	}
	d.flag("wildcards", "limit_changed", stored.WildcardExports, pushed.WildcardExports,
		"may export subjects with wildcards", "may not export subjects with wildcards", true)
	d.flag("disallow_bearer", "limit_changed", stored.DisallowBearer, pushed.DisallowBearer,
		"bearer tokens are refused", "bearer tokens are allowed", false)
	if stored.IsJSEnabled() != pushed.IsJSEnabled() {
		d.jetStream(pushed.IsJSEnabled())
	}
	d.jetStreamLimits(stored, pushed)
	for _, tier := range keysOf(stored.JetStreamTieredLimits, pushed.JetStreamTieredLimits) {
		d.tier(tier, stored.JetStreamTieredLimits, pushed.JetStreamTieredLimits)
	}
}

// jetStream says that JetStream is turned on or off.
func (d limitDiffer) jetStream(isOn bool) {
	if isOn {
		d.add(Change{Field: "disk_storage", Code: "jetstream_on", Effect: None,
			Words: "JetStream is on"})
		return
	}
	d.add(Change{Field: "disk_storage", Code: "jetstream_off",
		Words: "JetStream is off, streams are away until it is on again"})
}

// jetStreamLimits compares the limits of JetStream for the whole account. There are none if there
// are limits for tiers.
func (d limitDiffer) jetStreamLimits(stored, pushed *jwt.OperatorLimits) {
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
	d.storage(stored.JetStreamLimits, pushed.JetStreamLimits)
}

// storage compares the limits of JetStream for the account or a tier.
func (d limitDiffer) storage(stored, pushed jwt.JetStreamLimits) {
	for _, l := range jetStreamLimits {
		d.limit(l, jetStreamLimit(&stored, l.name), jetStreamLimit(&pushed, l.name))
	}
	d.flag("max_bytes_required", "limit_changed", stored.MaxBytesRequired, pushed.MaxBytesRequired,
		"streams must have max_bytes", "streams need no max_bytes", false)
}

// tier compares the limits of one tier.
func (d limitDiffer) tier(name string, stored, pushed map[string]jwt.JetStreamLimits) {
	before, was := stored[name]
	now, is := pushed[name]
	tier := "tier " + Plain(name)
	d.differ = d.inside("nats.limits.tiered_limits{}.", name, "")
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
	d.storage(before, now)
}

// accountLimit returns the number of a row of accountLimits.
func accountLimit(l *jwt.OperatorLimits, name string) int64 {
	return map[string]int64{
		"conn": l.Conn, "leaf": l.LeafNodeConn, "subs": l.Subs, "payload": l.Payload,
		"data": l.Data, "exports": l.Exports, "imports": l.Imports,
	}[name]
}

// jetStreamLimit returns the number of a row of jetStreamLimits.
func jetStreamLimit(l *jwt.JetStreamLimits, name string) int64 {
	return map[string]int64{
		"disk_storage": l.DiskStorage, "mem_storage": l.MemoryStorage, "streams": l.Streams,
		"consumer": l.Consumer, "max_ack_pending": l.MaxAckPending,
		"disk_max_stream_bytes": l.DiskMaxStreamBytes,
		"mem_max_stream_bytes":  l.MemoryMaxStreamBytes,
	}[name]
}
