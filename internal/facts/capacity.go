package facts

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	// maxReserved is how many accounts a nats-server is asked for that have JetStream there.
	maxReserved = 4096
	// maxBytes is the greatest size that is believed. As many as maxReserved of them can be added.
	maxBytes = 1 << 50
)

// Storage is bytes of memory and disk. As a limit, -1 is unlimited. It is what one nats-server has,
// or what one account may use of it.
type Storage struct{ Memory, Disk int64 }

// Capacity is what one nats-server has for JetStream, and who may use it. The message is JSZ:
// {"config": {"max_memory": …, "max_storage": …}, "account_details": […]}.
type Capacity struct {
	Server Server
	Reason string // why it is not known; "": it is

	// IsFixed says that limits of accounts which are above Has together are left out. So it is with
	// a nats-server that is neither in a cluster nor has gateways. What follows is there then.
	IsFixed bool
	Has     Storage
	Streams Storage // what streams with max_bytes take of it
	// Accounts are those that it has loaded with JetStream. If there are very many, some are
	// missing, and HasMore is set.
	Accounts []Reserved
	HasMore  bool
}

// Reserved is what the limits that are in force let an account use. They are 0 if it has tiers,
// which a nats-server does not show. The limits are those of the JWT that this nats-server runs.
type Reserved struct {
	Key string
	Storage
}

// capacities is the last answer to Capacity. The zero value has no answer.
type capacities struct {
	mu  sync.Mutex // held while nats-servers are asked
	at  time.Time
	all []Capacity
}

// Capacity asks all nats-servers what they have for JetStream, in the order of their names. An
// answer that is not older than maxAge is given again: many pushes one after the other ask once.
// Those that ask at the same time wait for each other. The result must not be changed. A maxAge of
// 0 always asks.
func (a *Asker) Capacity(ctx context.Context, maxAge time.Duration) []Capacity {
	last := &a.capacities
	last.mu.Lock()
	defer last.mu.Unlock()
	if maxAge > 0 && time.Since(last.at) < maxAge {
		return last.all
	}
	// The list of accounts is long, and matters only for those that compare anything.
	all := a.capacityOf(ctx, "PING", `{}`, a.Servers())
	for i, c := range all {
		if c.IsFixed {
			withAccounts := fmt.Sprintf(`{"accounts":true,"limit":%d}`, maxReserved)
			all[i] = a.capacityOf(ctx, c.Server.ID, withAccounts, []Server{c.Server})[0]
		}
	}
	last.at, last.all = time.Now(), all
	return all
}

// capacityOf asks nats-servers, all of them with PING, or one by its id.
func (a *Asker) capacityOf(ctx context.Context, id, payload string, of []Server) []Capacity {
	q := question{RequestJetStream, "$SYS.REQ.SERVER." + id + ".JSZ", []byte(payload), of}
	return ask(ctx, a, q, readCapacity, func(c *Capacity, s Server, reason string) {
		c.Server, c.Reason = s, reason
	})
}

// readCapacity reads an answer to JSZ about a nats-server. reason is why it can't be used, "" if it
// can. Without meta_cluster in it the nats-server is in no cluster.
func readCapacity(a answer) (c Capacity, reason string) {
	if state, reason := a.state(); state != Loaded {
		return c, reason
	}
	var d struct {
		IsDisabled bool            `json:"disabled"`
		Cluster    json.RawMessage `json:"meta_cluster"`
		Config     struct {
			Memory int64 `json:"max_memory"`
			Disk   int64 `json:"max_storage"`
		} `json:"config"`
		StreamMemory int64    `json:"reserved_memory"`
		StreamDisk   int64    `json:"reserved_storage"`
		Accounts     reserved `json:"account_details"`
		Total        int      `json:"total"`
	}
	if reason := a.decode(&d); reason != "" {
		return c, reason
	}
	return Capacity{
		IsFixed:  !d.IsDisabled && d.Cluster == nil,
		Has:      storage(d.Config.Memory, d.Config.Disk),
		Streams:  storage(d.StreamMemory, d.StreamDisk),
		Accounts: d.Accounts,
		HasMore:  d.Total > len(d.Accounts),
	}, ""
}

// storage returns sizes of at least -1 and at most maxBytes, which can be added up. A negative
// number of an answer counts as unlimited.
func storage(memory, disk int64) Storage {
	return Storage{max(-1, min(memory, maxBytes)), max(-1, min(disk, maxBytes))}
}

// reserved is a list, of which at most maxReserved are kept.
type reserved []Reserved

// UnmarshalJSON reads the list one by one. A nats-server shows -1 as the greatest unsigned number.
func (l *reserved) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var of struct {
			Key    string `json:"id"`
			Memory uint64 `json:"reserved_memory"`
			Disk   uint64 `json:"reserved_storage"`
		}
		if err := d.Decode(&of); err != nil {
			return err
		}
		if len(*l) < maxReserved {
			// The conversion makes it -1 again.
			*l = append(*l, Reserved{cut(of.Key), storage(int64(of.Memory), int64(of.Disk))})
		}
		return nil
	})
}
