package facts

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// maxStreams bounds the streams of an answer that are kept.
const maxStreams = 10_000

// JetStream is what one nats-server stores for an account.
type JetStream struct {
	Server Server
	Reason string // why it is not known; "": it is

	// Memory and Disk are the bytes of all replicas of all streams, also of those that other
	// nats-servers have, as far as it has heard of them.
	Memory, Disk uint64
	Streams      []Stream
}

// Stream is a stream, of which a nats-server has a replica.
type Stream struct {
	Name     string
	Replicas int
	Bytes    uint64 // of this replica
	IsMemory bool
}

// JetStream asks all nats-servers what they store for an account, in the order of their names. One
// without JetStream, or without streams of the account, stores nothing.
func (a *Asker) JetStream(ctx context.Context, key string) []JetStream {
	q := question{RequestJetStream, "$SYS.REQ.ACCOUNT." + key + ".JSZ",
		[]byte(`{"streams":true,"config":true}`), a.Servers()}
	return ask(ctx, a, q, readJetStream, func(j *JetStream, s Server, reason string) {
		j.Server, j.Reason = s, reason
	})
}

// notEnabled are parts of the errors of nats-servers that store nothing for an account. nats-server
// has no codes for them, and the texts differ by version.
var notEnabled = []string{"not enabled", "not found", "not jetstream enabled"}

// readJetStream reads an answer to JSZ. reason is why it can't be used, "" if it can.
func readJetStream(a answer) (j JetStream, reason string) {
	state, reason := a.state()
	if a.Error != nil && slices.ContainsFunc(notEnabled, func(part string) bool {
		return strings.Contains(a.Error.Description, part)
	}) {
		return j, ""
	}
	if state != Loaded {
		return j, reason
	}
	var d struct {
		Memory  uint64  `json:"memory"`
		Disk    uint64  `json:"storage"`
		Streams streams `json:"stream_detail"`
	}
	if reason := a.decode(&d); reason != "" {
		return j, reason
	}
	if len(d.Streams) > maxStreams {
		return j, "it has too many streams to be looked at one by one"
	}
	return JetStream{Memory: d.Memory, Disk: d.Disk, Streams: d.Streams}, ""
}

// streams is a list, of which at most one more than maxStreams is kept: that one tells that there
// are too many.
type streams []Stream

// UnmarshalJSON reads the list one by one.
func (l *streams) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var s struct {
			Name   string `json:"name"`
			Config struct {
				Replicas int    `json:"num_replicas"`
				Storage  string `json:"storage"`
			} `json:"config"`
			State struct {
				Bytes uint64 `json:"bytes"`
			} `json:"state"`
		}
		if err := d.Decode(&s); err != nil {
			return err
		}
		if len(*l) <= maxStreams {
			*l = append(*l, Stream{cut(s.Name), max(1, s.Config.Replicas), s.State.Bytes,
				s.Config.Storage == "memory"})
		}
		return nil
	})
}
