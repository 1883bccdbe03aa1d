package effect

import (
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// storageFinder finds what lower limits of JetStream do.
type storageFinder struct{ *push }

// find finds what the limits of JetStream do. What is stored is asked only if one is lowered.
func (f *storageFinder) find() {
	if f.facts == nil || !f.has("nats.limits.disk_storage", "nats.limits.mem_storage",
		"nats.limits.tiered_limits{}.disk_storage", "nats.limits.tiered_limits{}.mem_storage") {
		return
	}
	began := time.Now()
	all := f.facts.JetStream(f.asking, f.key)
	f.spend(began)
	used := facts.JetStream{}
	replicas := make(map[string]int) // by stream
	for _, j := range all {
		if j.Reason != "" {
			f.unknown(j.Server, "what it stores is not known: "+j.Reason)
		}
		used.Memory, used.Disk = used.Memory+j.Memory, used.Disk+j.Disk
		for _, s := range j.Streams {
			replicas[s.Name] = s.Replicas
		}
	}
	for _, c := range f.changes {
		if c.Effect == claimdiff.Stop {
			f.storageLine(c, used, replicas)
		}
	}
}

// storageLine adds what one change of a limit does.
func (f *storageFinder) storageLine(c claimdiff.Change, used facts.JetStream, replicas map[string]int) {
	limits := f.pushed.Limits.JetStreamLimits
	switch {
	case c.Code == "jetstream_off" && len(replicas) > 0:
		f.add(Stop, c.Code, 0, "%s; %s now", c.Words, isOrAre(len(replicas)))
	case c.Code == "jetstream_off":
		f.add(Later, c.Code, 0, "%s; %s now", c.Words, isOrAre(0))
	case !f.pushed.Limits.IsJSEnabled():
		// All limits are 0 then, which says no more.
	case c.Code == "tier_removed":
		f.tierLine(c, replicas)
	case c.Field == "nats.limits.disk_storage" && c.Code == "limit_changed":
		f.usageLine(c, "disk", limits.DiskStorage, used.Disk)
	case c.Field == "nats.limits.mem_storage" && c.Code == "limit_changed":
		f.usageLine(c, "memory", limits.MemoryStorage, used.Memory)
	case strings.HasPrefix(c.Field, "nats.limits.tiered_limits{}") || c.Code == "tiers_changed":
		f.add(Unknown, c.Code, 0, "%s: how much a tier uses is not asked", c.Words)
	}
}

// usageLine compares a limit of storage with what is used.
func (f *storageFinder) usageLine(c claimdiff.Change, what string, limit int64, used uint64) {
	words := claimdiff.Size(int64(used)) + " of " + what + " is used"
	if limit >= 0 && used > uint64(limit) {
		f.add(Stop, "storage_exceeded", 0, "%s, above the limit of %s: publishes to its streams fail, "+
			"streams stay", words, claimdiff.Size(limit))
		return
	}
	f.add(Later, c.Code, 0, "%s; %s", c.Words, words)
}

// tierLine says which streams have no limits any more.
func (f *storageFinder) tierLine(c claimdiff.Change, replicas map[string]int) {
	streams := 0
	for _, n := range replicas {
		if "R"+strconv.Itoa(max(1, n)) == c.Of {
			streams++
		}
	}
	if streams > 0 {
		f.add(Stop, c.Code, 0, "%s of tier %s: they stay, publishes to them and updates of them fail",
			countStreams(streams), claimdiff.Plain(c.Of))
	}
}

// countStreams is "1 stream".
func countStreams(n int) string {
	if n == 1 {
		return "1 stream"
	}
	return claimdiff.Count(int64(n)) + " streams"
}
