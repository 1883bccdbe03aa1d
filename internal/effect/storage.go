package effect

import (
	"strconv"
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// storageFinder finds what lower limits of JetStream do. nats-server compares what an account
// stores with its limits at each publish: above them it refuses the message, and takes nothing
// away.
type storageFinder struct{ *push }

// find finds what the limits of JetStream do. What is stored is asked only if one is lowered.
func (f *storageFinder) find() {
	if !f.has("nats.limits.disk_storage", "nats.limits.mem_storage",
		"nats.limits.tiered_limits{}.disk_storage", "nats.limits.tiered_limits{}.mem_storage") {
		return
	}
	began := time.Now()
	all := f.facts.JetStream(f.asking, f.key)
	f.spend(began)
	used := usage{streams: make(map[string]facts.Stream)}
	for _, j := range all {
		if j.Reason != "" {
			used.isPartial = true
			f.unknown(j.Server, "what it stores is not known: "+j.Reason)
		}
		used.add(j)
	}
	for _, c := range f.changes {
		if c.Effect == claimdiff.Stop {
			f.storageLine(c, used)
		}
	}
}

// usage is what an account stores. Amounts are in bytes.
type usage struct {
	memory, disk uint64                  // all replicas together
	streams      map[string]facts.Stream // by name, with the bytes of one replica
	isPartial    bool                    // a nats-server has not answered
}

// add adds what one nats-server knows. Each knows what all store together, some later than others,
// so the greatest sum counts. Streams are listed by those that have a replica.
func (u *usage) add(j facts.JetStream) {
	u.memory, u.disk = max(u.memory, j.Memory), max(u.disk, j.Disk)
	for _, s := range j.Streams {
		s.Bytes = max(s.Bytes, u.streams[s.Name].Bytes)
		u.streams[s.Name] = s
	}
}

// ofTier returns how many streams count for a tier, and what they store. A tier is named R and the
// number of replicas. Its limits are for one replica, and those of an account for all of them. The
// bytes are those of one replica.
func (u *usage) ofTier(tier string) (streams int, memory, disk uint64) {
	for _, s := range u.streams {
		switch {
		case tier != "R"+strconv.Itoa(s.Replicas):
			continue
		case s.IsMemory:
			memory += s.Bytes
		default:
			disk += s.Bytes
		}
		streams++
	}
	return streams, memory, disk
}

// storageLine adds what one change of a limit does. JetStream that is off, a tier that is gone, and
// tiers instead of limits for the account have codes of their own, and stop all their streams.
//
// Only changes with the effect Stop come here. At most one line is added for each. The codes of
// JetStream that is off come first, because each limit is 0 then and would be a line of its own.
func (f *storageFinder) storageLine(c claimdiff.Change, used usage) {
	limits := f.pushed.Limits.JetStreamLimits
	tier := f.pushed.Limits.JetStreamTieredLimits[c.Of]
	streams, memory, disk := used.ofTier(c.Of)
	switch {
	case c.Code == "jetstream_off" && len(used.streams) > 0:
		f.add(Stop, c.Code, 0, "%s; %s now", c.Words, isOrAre(len(used.streams)))
	case c.Code == "jetstream_off" && used.isPartial:
		f.add(Later, c.Code, 0, "%s; it is not known how many there are now", c.Words)
	case c.Code == "jetstream_off":
		f.add(Later, c.Code, 0, "%s; %s now", c.Words, isOrAre(0))
	case !f.pushed.Limits.IsJSEnabled():
		// All limits are 0 then, which says no more.
	case c.Code == "tier_removed" && streams > 0:
		f.add(Stop, c.Code, 0,
			"%s of tier %s: they stay, publishes to them and updates of them fail",
			claimdiff.Counted(streams, "stream", "streams"), claimdiff.Plain(c.Of))
	case c.Code == "tiers_changed" && len(used.streams) > 0:
		// Also if there is a tier for them.
		f.add(Stop, c.Code, 0, "%s: publishes to %s fail, streams stay", c.Words,
			claimdiff.Counted(len(used.streams), "stream", "streams"))
	case c.Code == "tiers_changed":
		f.add(Later, c.Code, 0, "%s; publishes to streams that are there now fail", c.Words)
	case c.Code != "limit_changed":
	case c.Field == "nats.limits.disk_storage":
		f.usageLine(c, "disk", limits.DiskStorage, used.disk, used.isPartial)
	case c.Field == "nats.limits.mem_storage":
		f.usageLine(c, "memory", limits.MemoryStorage, used.memory, used.isPartial)
	case c.Field == "nats.limits.tiered_limits{}.disk_storage":
		f.usageLine(c, "disk", tier.DiskStorage, disk, used.isPartial)
	case c.Field == "nats.limits.tiered_limits{}.mem_storage":
		f.usageLine(c, "memory", tier.MemoryStorage, memory, used.isPartial)
	}
}

// usageLine adds a line for a limit of storage, which depends on how much is used. what is disk or
// memory. isPartial says that more may be used.
func (f *storageFinder) usageLine(
	c claimdiff.Change, what string, limit int64, used uint64, isPartial bool,
) {
	words := claimdiff.Size(int64(used)) + " of " + what + " is used"
	switch {
	case limit >= 0 && used > uint64(limit):
		if c.Of != "" {
			words = "tier " + claimdiff.Plain(c.Of) + ": " + words
		}
		f.add(Stop, "storage_exceeded", 0, "%s, above the limit of %s: publishes to its streams "+
			"fail, streams stay", words, claimdiff.Size(limit))
	case isPartial:
		f.add(Later, c.Code, 0, "%s; it is not known how much is used", c.Words)
	default:
		f.add(Later, c.Code, 0, "%s; %s", c.Words, words)
	}
}
