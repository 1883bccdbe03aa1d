package effect

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/facts"
)

// capacityFinder finds the nats-servers that leave out the limits of JetStream. A nats-server that
// is not in a cluster compares the limits of all accounts that it has loaded with what it has. If
// they are too much, it acknowledges the JWT all the same. nats-server reserves what limits say
// when it loads an account, and streams reserve their max_bytes.
type capacityFinder struct {
	*push
	accounts *claimReader
	maxAge   time.Duration // of what nats-servers have said
}

// maxLimit is the greatest limit that is reckoned with, in bytes, so that sums do not overflow. It
// is an exbibyte.
const maxLimit = 1 << 60

// roomUnknown begins the reason of a nats-server of which it is not known whether it has room.
const roomUnknown = "whether it has room for the JetStream limits is not known: "

// find asks nats-servers what they have, if the limits of the account may be left out.
func (f *capacityFinder) find() {
	if granted(f.pushed) == (facts.Storage{}) || !f.mayBeLeftOut() {
		return
	}
	began := time.Now()
	all := f.facts.Capacity(f.asking, f.maxAge)
	f.spend(began)
	for _, c := range all {
		switch {
		case c.Reason != "":
			f.unknown(c.Server, roomUnknown+c.Reason)
		case c.IsFixed:
			f.compare(c)
		}
	}
}

// mayBeLeftOut reports whether a nats-server may look at the limits: they change, or it loads the
// account later, or has left them out before.
func (f *capacityFinder) mayBeLeftOut() bool {
	return len(f.infos) == 0 || slices.ContainsFunc(f.changes, func(c claimdiff.Change) bool {
		return strings.HasSuffix(c.Field, "disk_storage") ||
			strings.HasSuffix(c.Field, "mem_storage")
	}) || slices.ContainsFunc(f.infos, func(i facts.Info) bool {
		return i.State != facts.Loaded || !i.Complete
	})
}

// granted returns what the limits of claims let an account use, as nats-server adds them up: those
// of the account and of its tiers. Unlimited counts for nothing, since nats-server compares only
// what is reserved.
func granted(c *jwt.AccountClaims) (s facts.Storage) {
	all := slices.Collect(maps.Values(c.Limits.JetStreamTieredLimits))
	for _, l := range append(all, c.Limits.JetStreamLimits) {
		s.Memory = min(maxLimit, s.Memory+max(0, min(maxLimit, l.MemoryStorage)))
		s.Disk = min(maxLimit, s.Disk+max(0, min(maxLimit, l.DiskStorage)))
	}
	return s
}

// taken is what accounts at one nats-server have of what it has. Amounts are in bytes.
type taken struct {
	own, others facts.Storage
	// tiers is what others may have besides, according to their stored JWTs. The nats-server does
	// not show the limits of tiers, and may have left them out.
	tiers facts.Storage
	isOn  bool // JetStream, for the account itself
}

// takenOf adds up what accounts have. nats-server does not count one that has expired.
func (f *capacityFinder) takenOf(c facts.Capacity) (t taken) {
	for _, r := range c.Accounts {
		if r.Key == f.key {
			t.isOn, t.own = true, r.Storage
			if r.Storage == (facts.Storage{}) {
				t.own = granted(f.stored)
			}
			continue
		}
		claims := f.accounts.claimsOf(r.Key)
		switch {
		case claims != nil && claims.Expires != 0 && claims.Expires <= f.now.Unix():
		case claims != nil && r.Storage == (facts.Storage{}):
			// What is above what there is has been left out.
			if more := granted(claims); more.Memory <= c.Has.Memory && more.Disk <= c.Has.Disk {
				t.tiers.Memory, t.tiers.Disk = t.tiers.Memory+more.Memory, t.tiers.Disk+more.Disk
			}
		default:
			t.others.Memory += max(0, r.Memory)
			t.others.Disk += max(0, r.Disk)
		}
	}
	return t
}

// compare adds a line if a nats-server has no room for the limits. If what it has is enough only
// without the tiers of others, or if it did not list all others, it is not known. The three cases
// are: it is known that there is no room, it is not known, and there is room. The last adds no
// line.
func (f *capacityFinder) compare(c facts.Capacity) {
	want, t := granted(f.pushed), f.takenOf(c)
	state := "JetStream is off"
	if t.isOn {
		state = "the old ones stay"
	}
	why := cmp.Or(
		shortage("memory", want.Memory, t.own.Memory, t.others.Memory, c.Streams.Memory,
			c.Has.Memory),
		shortage("disk", want.Disk, t.own.Disk, t.others.Disk, c.Streams.Disk, c.Has.Disk))
	switch {
	case why != "":
		f.add(Later, "jetstream_left_out", 0, "JetStream limits: nats-server %s acknowledges "+
			"them and leaves them out, %s: %s", claimdiff.Plain(c.Server.Name), state, why)
	case c.HasMore,
		want.Memory > t.own.Memory && t.others.Memory+t.tiers.Memory+want.Memory > c.Has.Memory,
		want.Disk > t.own.Disk && t.others.Disk+t.tiers.Disk+want.Disk > c.Has.Disk:
		f.unknown(c.Server, roomUnknown+"it does not show what all others may use")
	}
}

// shortage says why a nats-server has no room for a limit; "": it has. It looks at what all
// accounts may use, and if the limit is raised, at what streams with max_bytes have taken. All
// amounts are in bytes. want is the new limit, own what the account has of it, others what the
// other accounts have, and has what the nats-server has.
func shortage(what string, want, own, others, streams, has int64) string {
	words := claimdiff.Size(want) + " of " + what + ", it has " + claimdiff.Size(has)
	switch {
	case want == 0:
		return ""
	case others+want > has && others > 0:
		return words + " for all, of which others may use " + claimdiff.Size(others)
	case others+want > has:
		return words
	case streams+want-max(0, own) > has:
		return words + ", of which streams have taken " + claimdiff.Size(streams)
	}
	return ""
}
