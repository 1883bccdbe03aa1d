package effect

import (
	"strconv"
	"strings"
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// findStorage finds what the limits of JetStream do. What is stored is asked only if one is lowered.
func (p *push) findStorage() {
	if p.Facts == nil || !p.has("nats.limits.disk_storage", "nats.limits.mem_storage",
		"nats.limits.tiered_limits{}.disk_storage", "nats.limits.tiered_limits{}.mem_storage") {
		return
	}
	began := time.Now()
	all := p.Facts.JetStream(p.asking, p.key)
	p.spend(began)
	used := facts.JetStream{}
	replicas := make(map[string]int) // by stream
	for _, j := range all {
		if j.Reason != "" {
			p.unknown(j.Server, "what it stores is not known: "+j.Reason)
		}
		used.Memory, used.Disk = used.Memory+j.Memory, used.Disk+j.Disk
		for _, s := range j.Streams {
			replicas[s.Name] = s.Replicas
		}
	}
	for _, c := range p.changes {
		if c.Effect == claimdiff.Stop {
			p.storageLine(c, used, replicas)
		}
	}
}

// storageLine adds what one change of a limit does.
func (p *push) storageLine(c claimdiff.Change, used facts.JetStream, replicas map[string]int) {
	limits := p.pushed.Limits.JetStreamLimits
	switch {
	case c.Code == "jetstream_off" && len(replicas) > 0:
		p.add(Stop, c.Code, 0, "%s; %s now", c.Words, isOrAre(len(replicas)))
	case c.Code == "jetstream_off":
		p.add(Later, c.Code, 0, "%s; %s now", c.Words, isOrAre(0))
	case !p.pushed.Limits.IsJSEnabled():
		// All limits are 0 then, which says no more.
	case c.Code == "tier_removed":
		p.tierLine(c, replicas)
	case c.Field == "nats.limits.disk_storage" && c.Code == "limit_changed":
		p.usageLine(c, "disk", limits.DiskStorage, used.Disk)
	case c.Field == "nats.limits.mem_storage" && c.Code == "limit_changed":
		p.usageLine(c, "memory", limits.MemoryStorage, used.Memory)
	case strings.HasPrefix(c.Field, "nats.limits.tiered_limits{}") || c.Code == "tiers_changed":
		p.add(Unknown, c.Code, 0, "%s: how much a tier uses is not asked", c.Words)
	}
}

// usageLine compares a limit of storage with what is used.
func (p *push) usageLine(c claimdiff.Change, what string, limit int64, used uint64) {
	words := claimdiff.Size(int64(used)) + " of " + what + " is used"
	if limit >= 0 && used > uint64(limit) {
		p.add(Stop, "storage_exceeded", 0, "%s, above the limit of %s: publishes to its streams fail, "+
			"streams stay", words, claimdiff.Size(limit))
		return
	}
	p.add(Later, c.Code, 0, "%s; %s", c.Words, words)
}

// tierLine says which streams have no limits any more.
func (p *push) tierLine(c claimdiff.Change, replicas map[string]int) {
	streams := 0
	for _, n := range replicas {
		if "R"+strconv.Itoa(max(1, n)) == c.Of {
			streams++
		}
	}
	if streams > 0 {
		p.add(Stop, c.Code, 0, "%s of tier %s: they stay, publishes to them and updates of them fail",
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
