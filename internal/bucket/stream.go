package bucket

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// idKey is the key of the bucket's id in the metadata of its stream. The id is a random text which
// the server that makes the bucket chooses, and which stays. A bucket that was deleted and made
// anew has another one.
const idKey = "nas_bucket"

// stream is the stream of the bucket: its names, and what JetStream is asked for. The connection to
// ask over is an argument of most methods. conn changes with each connection, and rights has a lock
// of its own; the other fields stay.
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

// connection returns the connection to the bucket. The error is errNotConnected. The connection may
// be lost by the time it is used.
func (s *stream) connection() (*nats.Conn, error) {
	if nc := s.conn.Load(); nc != nil {
		return nc, nil
	}
	return nil, errNotConnected
}

// streamInfo is what JetStream says of the stream. It is not changed after it was read.
type streamInfo struct {
	answer
	// Config has every field that came: an update must send back those that this program does not
	// know.
	Config  map[string]any `json:"config"`
	Cluster cluster        `json:"cluster"`
	State   struct {
		// LastSeq stays when messages are removed: no message need have it.
		LastSeq uint64 `json:"last_seq"`
		Keys    int    `json:"num_subjects"` // those of other programs count too
	} `json:"state"`
}

// id returns the id of the bucket; "" if another program has made the stream.
func (i streamInfo) id() string {
	metadata, _ := i.Config["metadata"].(map[string]any)
	id, _ := metadata[idKey].(string)
	return id
}

// replicas returns how many nats-servers keep the stream.
func (i streamInfo) replicas() int {
	n, _ := i.Config["num_replicas"].(float64)
	return int(n)
}

// cluster says which nats-servers keep the stream. Replicas has them without the leader: it is
// empty for a bucket of one nats-server.
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
// goes on answering for a while. With three nats-servers one may be away, with five two.
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

// servers returns the names of the nats-servers that keep the stream. The leader comes first. It is
// "" if there is none.
func (c cluster) servers() []string {
	names := []string{c.Leader}
	for _, r := range c.Replicas {
		names = append(names, r.Name)
	}
	return names
}

// settings is what the stream must be like. Everything else in its configuration may be what it is.
// The number of replicas and of revisions is the configuration's. If that differs between two
// servers the last one to begin a session sets it.
func (s *stream) settings() map[string]any {
	all := s.sharedSettings()
	all["name"], all["num_replicas"], all["max_msgs_per_subject"] = s.name, s.replicas, s.history
	return all
}

// sharedSettings are those that are the same for all servers, whatever their configuration has.
// Nothing may be removed or replaced but by a later revision of its key, and an acknowledgement
// must mean that a majority has the message. So there is no limit of age, size or number, which
// would remove accounts or refuse pushes. JetStream refuses to delete a single message and to
// purge, whatever a user may publish. Nothing keeps an administrator from deleting the stream.
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

// info asks for the stream. It is not asked twice as a read is: all that call it try again later. A
// stream that is not there is codeNoSuchStream.
func (s *stream) info(ctx context.Context, nc *nats.Conn) (i streamInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err = s.api(ctx, nc, "STREAM.INFO."+s.name, map[string]any{}, &i)
	return i, err
}

// ensure returns the stream, which it makes if it is missing, and changes if it is not as it must
// be. Several servers may do that at once. The stream is asked for first, so that a server needs
// the permission to make one only when there is none. Of several that make it at once one succeeds;
// the others get codeStreamInUse, and take its id.
func (s *stream) ensure(ctx context.Context, nc *nats.Conn) (streamInfo, error) {
	i, err := s.info(ctx, nc)
	if isCode(err, codeNoSuchStream) {
		c := s.settings()
		c["metadata"] = map[string]string{idKey: rand.Text()}
		var made streamInfo
		if err = s.api(ctx, nc, "STREAM.CREATE."+s.name, c, &made); err == nil {
			s.log.Info(fmt.Sprintf("made the bucket %s, with %d replicas", s.bucket, s.replicas))
			return made, nil
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

// explain adds to an error what is to be done about it. It knows that of too few nats-servers, and
// returns any other as it is.
func explain(err error, replicas int) error {
	if isCode(err, codeNoReplication) || isCode(err, codeNoPeers) {
		return fmt.Errorf("%w: store.kv.replicas is %d, and fewer nats-servers of the cluster have JetStream",
			err, replicas)
	}
	return err
}

// unfitError says that a stream is not as it must be, and can't be changed. While it lasts every
// push is refused, and the bucket is not followed.
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
// the leader refuses that. A stream that is as it must be costs no request. A stream without an id,
// made by another program, gets one. An error 503 is no refusal: it is tried again as any other is.
func (s *stream) amend(ctx context.Context, nc *nats.Conn, i streamInfo) (streamInfo, error) {
	all := s.settings()
	changed := differences(i.Config, all)
	// All else is sent back as it came: what STREAM.UPDATE leaves out is set to its default.
	wanted := maps.Clone(i.Config)
	for _, name := range changed {
		wanted[name] = all[name]
	}
	if i.id() == "" {
		had, _ := i.Config["metadata"].(map[string]any)
		metadata := map[string]any{}
		maps.Copy(metadata, had)
		metadata[idKey] = rand.Text()
		wanted["metadata"], changed = metadata, append(changed, "metadata")
	}
	if len(changed) == 0 {
		return i, nil
	}
	var next streamInfo
	err := s.api(ctx, nc, "STREAM.UPDATE."+s.name, wanted, &next)
	if refusal, ok := errors.AsType[*apiError](err); ok && refusal.Code != 503 || asDenied(err) != nil {
		return i, &unfitError{s.name, fmt.Errorf("%s: %w", strings.Join(changed, ", "),
			explain(err, s.replicas))}
	} else if err != nil {
		return i, err
	}
	s.log.Info(fmt.Sprintf("changed %s of the stream %s: %d replicas, %d revisions of each account",
		strings.Join(changed, ", "), s.name, s.replicas, s.history))
	return next, nil
}

// isChanged reports whether another program has changed what all servers need, or has taken
// replicas away. More replicas, and another number of revisions, are left alone: another server may
// have them in its configuration.
func (s *stream) isChanged(i streamInfo) bool {
	return i.replicas() < s.replicas || len(differences(i.Config, s.sharedSettings())) > 0
}

// differences returns the names of the settings that a configuration has otherwise. has is decoded
// JSON. A value of settings that is nil stands for a field which must not be given.
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

// asJSON returns a value as it is in decoded JSON. Each number becomes a float64.
func asJSON(v any) (decoded any) {
	data, _ := json.Marshal(v) // texts, numbers and flags can't fail
	_ = json.Unmarshal(data, &decoded)
	return decoded
}
