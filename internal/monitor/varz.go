package monitor

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"nats-account-server/internal/notifier"
)

// Build says what was built: a version such as "2.0.0", the hash of a commit and the time of that
// in the form of RFC 3339. Commit and Date are "" if they are not known.
type Build struct {
	Version, Commit, Date string
}

// Varz is how the server is doing. Where nats-server's /varz has the same thing, the key is the
// same, so that tools for nats-server can read it: server_id, mem, cores, uptime. Keys never
// change.
type Varz struct {
	// ServerID stays the same over restarts, if the store is a directory.
	ServerID   string    `json:"server_id"`
	ServerName string    `json:"server_name"`
	Version    string    `json:"version"`
	GitCommit  string    `json:"git_commit,omitempty"`
	BuildDate  string    `json:"build_date,omitempty"`
	Go         string    `json:"go"`
	Host       string    `json:"host,omitempty"` // of the machine
	Start      time.Time `json:"start"`
	Now        time.Time `json:"now"`
	// Uptime is like "3d4h5m6s", ConfigLoad when the configuration in force was loaded.
	Uptime      string    `json:"uptime"`
	ConfigLoad  time.Time `json:"config_load_time"`
	Mem         uint64    `json:"mem"` // bytes that the Go runtime has of the system
	Cores       int       `json:"cores"`
	Gomaxprocs  int       `json:"gomaxprocs"`
	Connections int64     `json:"connections"` // over HTTP
	Ready       bool      `json:"ready"`

	// Accounts and Untrusted are as they were a moment ago: see cached.
	Accounts int `json:"accounts"` // that are stored
	// Untrusted are stored and not served.
	Untrusted int `json:"accounts_untrusted"`
	// Digest is in hexadecimal. Servers with the same accounts have the same.
	Digest   string `json:"store_digest"`
	InPushes int    `json:"in_pushes"` // JWTs that were offered
	OutReads int    `json:"out_reads"` // requests for JWTs of accounts

	NATS struct {
		Configured bool `json:"configured"`
		Connected  bool `json:"connected"`
		Reconnects int  `json:"reconnects"`
		Servers    int  `json:"servers"` // that are known
		Pending    int  `json:"pending"` // changes that some nats-server has not acknowledged
		Refused    int  `json:"refused"` // accounts that some nats-server refuses
	} `json:"nats"`

	Bucket *Bucket `json:"bucket,omitempty"` // that it shares with other servers
}

// Bucket is how far a server is with the bucket that it shares with others. Revisions are those of
// JetStream's stream: each change in the bucket has the next one.
type Bucket struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	CaughtUp  bool   `json:"caught_up"` // since the start
	Revision  uint64 `json:"revision"`  // up to which everything is stored here
	Behind    uint64 `json:"behind"`    // revisions that are not
	// LastSuccess is when all that the bucket had was known to be here.
	LastSuccess time.Time `json:"last_success,omitzero"`
	// Fault is why it can't be followed, or pushes are refused.
	Fault string `json:"fault,omitempty"`
}

// bucketz describes the bucket; nil: there is none. Of several faults the one is told that keeps
// most from working.
func (m *Monitor) bucketz() *Bucket {
	s, shares := m.Bucket()
	if !shares {
		return nil
	}
	b := &Bucket{Name: s.Bucket, Connected: s.Connected, CaughtUp: s.CaughtUp, Revision: s.Revision,
		Behind: s.Behind, LastSuccess: s.Success.UTC(),
		Fault: cmp.Or(s.Failing, s.Refusing, s.Denied)}
	if s.Fault != nil {
		b.Fault = s.Fault.Error()
	}
	return b
}

// Varz says how the server is doing. With a million accounts it waits for a second or two after a
// start.
func (m *Monitor) Varz() Varz {
	v, s := m.Program(), m.surveyed.get()
	v.Accounts, v.Untrusted = s.Stored, s.Untrusted
	v.Digest = fmt.Sprintf("%x", m.Accounts.Digest())
	return v
}

// Program is Varz without what all accounts have to be looked at for. The pages use it, which must
// not wait.
func (m *Monitor) Program() Varz {
	o, now := m.Overview(), time.Now()
	v := Varz{
		ServerID: m.Outbox.ID(), ServerName: "nats-account-server",
		Version: m.Build.Version, GitCommit: m.Build.Commit, BuildDate: m.Build.Date,
		Go: runtime.Version(), Start: m.start.UTC(), Now: now.UTC(),
		Uptime:     uptime(now.Sub(m.start)),
		ConfigLoad: time.Unix(0, m.Metrics.loadedAt.Load()).UTC(), Mem: memory(),
		Cores: runtime.NumCPU(), Gomaxprocs: runtime.GOMAXPROCS(0),
		Connections: m.Connections(), Ready: m.Ready().Ready(),
		InPushes: m.Metrics.pushed(), OutReads: m.Metrics.read(),
	}
	v.Host, _ = os.Hostname()
	v.NATS.Configured, v.NATS.Connected = o.Configured, o.Connected
	// The first session is no reconnect.
	v.NATS.Reconnects, v.NATS.Servers = max(o.Sessions-1, 0), len(o.Servers)
	v.NATS.Pending, v.NATS.Refused = o.Pending, o.Refused
	v.Bucket = m.bucketz()
	return v
}

// uptime writes a time as nats-server does: 3d4h5m6s. Units that are 0 at the front are left out:
// 45s, 1m0s.
func uptime(d time.Duration) string {
	s := int(d.Seconds())
	text := fmt.Sprintf("%ds", s%60)
	for _, unit := range []struct {
		seconds, of int
		name        string
	}{{60, 60, "m"}, {3600, 24, "h"}, {86400, 1 << 30, "d"}} {
		if s >= unit.seconds {
			text = fmt.Sprintf("%d%s", s/unit.seconds%unit.of, unit.name) + text
		}
	}
	return text
}

// memory returns how many bytes the Go runtime has of the system. It is more than what is in use,
// and about what the system shows for the process without mapped files.
func memory() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Serverz is what is known about the nats-servers. Offset and Limit are those of the request. An
// empty part is [] in JSON.
type Serverz struct {
	Now       time.Time `json:"now"`
	Connected bool      `json:"connected"` // to NATS
	Total     int       `json:"total"`
	Offset    int       `json:"offset"`
	Limit     int       `json:"limit"`
	Servers   []Server  `json:"servers"` // by name
}

// Server is one nats-server. Its texts come from nats-servers. They are quoted where they are
// logged, and escaped on pages.
type Server struct {
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"` // of its process; not there while it is away
	Version string `json:"version,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	// Resolver is url or memory, or cache, as far as its answers show.
	Resolver string `json:"resolver,omitempty"`
	// State is one of notifier.Standings: in_step, pending, refusing or silent.
	State   string `json:"state"`
	Here    bool   `json:"here"`    // it has answered the last PING
	Pending int    `json:"pending"` // changes that it has not acknowledged
	// Incomplete is how many accounts it has acknowledged that are not wholly in effect there.
	Incomplete int       `json:"incomplete"`
	LastSeen   time.Time `json:"last_seen"`
	Refusal    *Refusal  `json:"last_refusal,omitempty"` // since this server began
}

// Refusal is that a nats-server has not taken an update. Reason is nats-server's text.
type Refusal struct {
	Account string    `json:"account"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
}

// Serverz describes the known nats-servers, some of them at a time. offset and limit are not
// negative. Servers that come or go between two requests move the parts.
func (m *Monitor) Serverz(offset, limit int) Serverz {
	o := m.Overview()
	z := Serverz{Now: time.Now().UTC(), Connected: o.Connected, Total: len(o.Servers),
		Offset: offset, Limit: limit, Servers: []Server{}}
	from := min(offset, len(o.Servers))
	for _, s := range o.Servers[from:min(from+limit, len(o.Servers))] {
		z.Servers = append(z.Servers, serverOf(s))
	}
	return z
}

// serverOf describes a nats-server. A zero Refusal is none.
func serverOf(s notifier.ServerOverview) Server {
	described := Server{
		Name: s.Name, ID: s.ID, Version: s.Version, Cluster: s.Cluster, Resolver: s.Resolver,
		State: s.State.String(), Here: s.Here, Pending: s.Pending, Incomplete: s.Incomplete,
		LastSeen: s.Seen.UTC(),
	}
	if r := s.Refusal; r != (notifier.Refusal{}) {
		described.Refusal = &Refusal{r.Account, r.Reason, r.At.UTC()}
	}
	return described
}
