package bucket

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// idKey is the key of the bucket's id in the metadata of its stream.
const idKey = "nas_bucket"

// stream is the stream of the bucket: its names, and what JetStream is asked for. The connection to
// ask over is an argument of most methods.
type stream struct {
	name     string // KV_<bucket>
	bucket   string
	prefix   string // of the subjects
	replicas int
	history  int
	host     string // of this server
	log      *slog.Logger
	rights   *rights
	conn     atomic.Pointer[nats.Conn] // nil: not connected
}

// newStream returns the stream of a bucket. It asks for nothing yet.
func newStream(o Options) *stream {
	host, _ := os.Hostname()
	name, prefix := "KV_"+o.Bucket, "$KV."+o.Bucket+"."
	return &stream{
		name:     name,
		bucket:   o.Bucket,
		prefix:   prefix,
		replicas: o.Replicas,
		history:  o.History,
		host:     host,
		log:      o.Log,
		rights:   newRights(name, prefix, o.Log),
	}
}

// errNotConnected is the error for what can't be asked now.
var errNotConnected = errors.New("this server is not connected to the bucket")

// connection returns the connection to the bucket.
func (s *stream) connection() (*nats.Conn, error) {
	if nc := s.conn.Load(); nc != nil {
		return nc, nil
	}
	return nil, errNotConnected
}

// streamInfo is what JetStream says of the stream.
type streamInfo struct {
	Config  json.RawMessage `json:"config"`
	Cluster cluster         `json:"cluster"`
	State   struct {
		LastSeq uint64 `json:"last_seq"`
		Keys    int    `json:"num_subjects"`
	} `json:"state"`

	id       string // of the bucket
	replicas int
}

// cluster says which nats-servers keep the stream.
type cluster struct {
	Name     string `json:"name"`
	Leader   string `json:"leader"`
	Replicas []struct {
		Name    string        `json:"name"`
		Offline bool          `json:"offline"`
		Active  time.Duration `json:"active"` // since its last answer to the leader
	} `json:"replicas"`
}

// maxInactive is after how long without an answer a nats-server counts as away. The leader hears of
// the others every second.
const maxInactive = 5 * time.Second

// hasMajority reports whether there is a leader that is not cut off from the others. One that is
// goes on answering for a while.
func (c cluster) hasMajority() bool {
	if c.Leader == "" {
		return len(c.Replicas) == 0 // a nats-server without a cluster has no name for it
	}
	there := 1
	for _, r := range c.Replicas {
		if !r.Offline && r.Active < maxInactive {
			there++
		}
	}
	return 2*there > 1+len(c.Replicas)
}

// servers returns the names of the nats-servers that keep the stream.
func (c cluster) servers() []string {
	names := []string{c.Leader}
	for _, r := range c.Replicas {
		names = append(names, r.Name)
	}
	return names
}

// parse reads what the configuration says.
func (i *streamInfo) parse() error {
	var c struct {
		Replicas int               `json:"num_replicas"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(i.Config, &c); err != nil {
		return err
	}
	i.id, i.replicas = c.Metadata[idKey], c.Replicas
	return nil
}

// settings is what the stream must be like. Everything else in its configuration may be what it is.
func (s *stream) settings() map[string]any {
	all := s.sharedSettings()
	all["name"], all["num_replicas"], all["max_msgs_per_subject"] = s.name, s.replicas, s.history
	return all
}

// sharedSettings are those that are the same for all servers, whatever their configuration has.
func (s *stream) sharedSettings() map[string]any {
	return map[string]any{
		"subjects":          []any{s.prefix + ">"},
		"subject_transform": nil,
		"sources":           nil,
		"storage":           "file",
		"retention":         "limits",
		"discard":           "new",
		// With it a key that has all its revisions takes no more.
		"discard_new_per_subject": false,
		"persist_mode":            "default", // async acknowledges what no disk has
		"max_age":                 0,
		"max_bytes":               -1,
		"max_msgs":                -1,
		"max_msg_size":            -1,
		"no_ack":                  false,
		"sealed":                  false,
		"deny_delete":             true,
		"deny_purge":              true,
		"allow_rollup_hdrs":       false, // they purge
		"allow_direct":            false, // direct reads may be old
	}
}

// info asks for the stream.
func (s *stream) info(ctx context.Context, nc *nats.Conn) (i streamInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := s.api(ctx, nc, "STREAM.INFO."+s.name, map[string]any{}, &i); err != nil {
		return i, err
	}
	return i, i.parse()
}

// ensure returns the stream, which it makes if it is missing, and changes if it is not as it must
// be. Several servers may do that at once.
func (s *stream) ensure(ctx context.Context, nc *nats.Conn) (streamInfo, error) {
	i, err := s.info(ctx, nc)
	if isCode(err, codeNoSuchStream) {
		c := s.settings()
		c["metadata"] = map[string]string{idKey: rand.Text()}
		if err = s.api(ctx, nc, "STREAM.CREATE."+s.name, c, &i); err == nil {
			s.log.Info(fmt.Sprintf("made the bucket %s, with %d replicas", s.bucket, s.replicas))
			return i, i.parse()
		}
		if isCode(err, codeStreamInUse) {
			i, err = s.info(ctx, nc)
		}
	}
	if err != nil {
		return i, explain(err, s.replicas)
	}
	return s.amend(ctx, nc, i)
}

// explain adds to an error what is to be done about it.
func explain(err error, replicas int) error {
	if isCode(err, codeNoReplication) || isCode(err, codeNoPeers) {
		return fmt.Errorf("%w: store.kv.replicas is %d, and fewer nats-servers of the cluster have JetStream",
			err, replicas)
	}
	return err
}

// unfitError says that a stream is not as it must be, and can't be changed.
type unfitError struct {
	stream string
	cause  error
}

func (e *unfitError) Error() string {
	return fmt.Sprintf("the stream %s is not as account servers need it, and can't be changed: %s",
		e.stream, e.cause)
}

func (e *unfitError) Unwrap() error { return e.cause }

// amend changes a stream that is not as it must be. Its id stays. The error is an *unfitError if
// the leader refuses that.
func (s *stream) amend(ctx context.Context, nc *nats.Conn, i streamInfo) (streamInfo, error) {
	var had map[string]any
	if err := json.Unmarshal(i.Config, &had); err != nil {
		return i, err
	}
	all := s.settings()
	changed := differences(had, all)
	for _, name := range changed {
		had[name] = all[name]
	}
	if i.id == "" {
		metadata, _ := had["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
		}
		metadata[idKey] = rand.Text()
		had["metadata"], changed = metadata, append(changed, "metadata")
	}
	if len(changed) == 0 {
		return i, nil
	}
	var next streamInfo
	err := s.api(ctx, nc, "STREAM.UPDATE."+s.name, had, &next)
	if refusal, ok := errors.AsType[*apiError](err); ok && refusal.Code != 503 || asDenied(err) != nil {
		return i, &unfitError{s.name, fmt.Errorf("%s: %w", strings.Join(changed, ", "),
			explain(err, s.replicas))}
	} else if err != nil {
		return i, err
	}
	s.log.Info(fmt.Sprintf("changed %s of the stream %s: %d replicas, %d revisions of each account",
		strings.Join(changed, ", "), s.name, s.replicas, s.history))
	return next, next.parse()
}

// isChanged reports whether another program has changed what all servers need, or has taken
// replicas away.
func (s *stream) isChanged(i streamInfo) bool {
	var has map[string]any
	return i.replicas < s.replicas ||
		json.Unmarshal(i.Config, &has) == nil && len(differences(has, s.sharedSettings())) > 0
}

// differences returns the names of the settings that a configuration has otherwise.
func differences(has, settings map[string]any) (names []string) {
	for name, value := range settings {
		value := asJSON(value)
		// What JetStream leaves out is zero.
		isZero := value == nil || value == "default" || reflect.ValueOf(value).IsZero()
		if now, given := has[name]; !reflect.DeepEqual(now, value) && (given || !isZero) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// asJSON returns a value as it is in decoded JSON.
func asJSON(v any) (decoded any) {
	data, _ := json.Marshal(v) // texts, numbers and flags can't fail
	_ = json.Unmarshal(data, &decoded)
	return decoded
}
