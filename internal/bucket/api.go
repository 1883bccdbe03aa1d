package bucket

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// The error codes of JetStream that say something certain.
const (
	// They are err_code of the answer, not code, which is like a status of HTTP. What each means
	// for a push is in publish.
	codeNoSuchStream  = 10059 // the bucket was not made yet
	codeStreamInUse   = 10058 // it is there, with another configuration
	codeNoMessage     = 10037 // the key is free: its expected revision is 0
	codeWrongLast     = 10071 // the expected revision is not the last one
	codeInFlight      = 10164 // another message of the key is on its way, or was when the leader was lost
	codeNoLeader      = 10008 // JetStream is temporarily not available
	codeTooLarge      = 10054 // max_msg_size of the stream
	codeFull          = 10077 // the stream can't store more, for example at its max_bytes
	codeAccountFull   = 10002 // a limit of the account that has JetStream
	codeNoRoom        = 10023 // of this nats-server, for all that it keeps
	codeSealed        = 10109 // the stream takes nothing any more
	codeNoReplication = 10074 // replicas need a cluster
	codeNoPeers       = 10005 // too few servers for the replicas
)

// attemptTimeout bounds one request: the leader may hang, and another one is elected after some
// seconds. What was asked while there was none is never answered. So a read, which can be repeated
// at once, is asked again after readTimeout.
const (
	attemptTimeout = 2 * time.Second
	readTimeout    = 500 * time.Millisecond
)

// apiError is an error that JetStream answers with.
//
//	{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4711"}}
type apiError struct {
	Code        int    `json:"code"`     // 400, 404, 503…
	ErrCode     int    `json:"err_code"` // one of the codes above, or another one
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// isCode reports whether err is JetStream's error of this code.
func isCode(err error, code int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.ErrCode == code
}

// errNoAnswer is the error of a request that was not answered in time.
var errNoAnswer = errors.New("no answer of the bucket's leader")

// errNoMajority is the error of a leader that is cut off from the other nats-servers of the bucket.
var errNoMajority = errors.New("most of its nats-servers are away")

// isLeaderless reports whether an error says that the bucket has no leader which answers. A closed
// connection is none: it says nothing of the leader.
func isLeaderless(err error) bool {
	answer, isAnswer := errors.AsType[*apiError](err)
	return errors.Is(err, errNoAnswer) || errors.Is(err, errNoMajority) ||
		errors.Is(err, nats.ErrNoResponders) || isAnswer && answer.Code == 503
}

// answer is what every answer of JetStream may have: an error in the place of all else.
type answer struct {
	Error *apiError `json:"error"`
}

// refusal returns the error of an answer; nil if it has none.
func (a *answer) refusal() *apiError { return a.Error }

// request sends a request, and decodes its answer into v, which embeds an answer and is zero
// before. The error is an *apiError if JetStream has refused, a *deniedError if the user may not
// ask, and errNoAnswer if ctx's deadline or attemptTimeout has passed. After an errNoAnswer the
// request may have been carried out.
func (s *stream) request(
	ctx context.Context, nc *nats.Conn, m *nats.Msg, v interface{ refusal() *apiError },
) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := s.rights.request(ctx, nc, m)
	if errors.Is(err, context.DeadlineExceeded) {
		return errNoAnswer
	} else if err != nil {
		return err
	}
	// For a publish such an answer is no refusal: the message may be stored.
	if err := json.Unmarshal(reply.Data, v); err != nil {
		return fmt.Errorf("the answer on %s is no JSON: %w", m.Subject, err)
	}
	if refusal := v.refusal(); refusal != nil {
		return refusal
	}
	return nil
}

// api sends a request to JetStream's API. subject is what follows $JS.API., for example
// STREAM.INFO.KV_ACCOUNT_JWTS.
func (s *stream) api(
	ctx context.Context, nc *nats.Conn, subject string, body any, v interface{ refusal() *apiError },
) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.request(ctx, nc, &nats.Msg{Subject: "$JS.API." + subject, Data: data}, v)
}

// The headers of a message.
const (
	// JetStream reads the first two, and clients of the key-value API read and write the third. The
	// others are ours. No signature guards them: only account servers should have the permission to
	// publish.
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	headerStream   = "Nats-Expected-Stream"
	headerMarker   = "KV-Operation" // of what a client of the key-value API has deleted
	headerKind     = "Nas-Kind"     // kindJWT or kindTombstone
	headerDoor     = "Nas-Door"     // way in, a Kind of package accounts
	headerUser     = "Nas-User"     // that has pushed it; left out if there is none
	headerHash     = "Nas-Sha256"   // of the value
	headerReplaced = "Nas-Replaced" // a hash of what it has replaced of its second; there may be several
	headerOverride = "Nas-Override" // "true" if it was allowed to replace a newer JWT
	headerServer   = "Nas-Server"   // host name of the account server
)

const (
	kindJWT       = "jwt"
	kindTombstone = "tombstone"
	// doorOffer is the door of what a server has put there that it had in its directory.
	doorOffer = "offer"
)

// revision is one message of the bucket. The zero revision is none. It is not changed after it was
// made.
type revision struct {
	key      string    // of an account, or the hash of an activation token
	seq      uint64    // of the stream, from 1; a later revision of any key has a greater one
	at       time.Time // when JetStream stored it, by the leader's clock
	header   nats.Header
	value    []byte // nil if only the header was asked for
	isMarker bool   // a client of the key-value API has deleted it
}

// isTombstone reports whether the account was deleted.
func (r *revision) isTombstone() bool { return r.header.Get(headerKind) == kindTombstone }

// isOfServer reports whether an account server has written it, which has verified it then. It goes
// by the header alone. The signature of a JWT is checked here all the same.
func (r *revision) isOfServer() bool { return r.header.Get(headerKind) != "" }

// isOverride reports whether it was allowed to replace a newer one. A start takes it although the
// directory has a newer one.
func (r *revision) isOverride() bool { return r.header.Get(headerOverride) == "true" }

// hash returns the hash of the value; false if it is not known. If only the header was read it is
// what the header says. A value that was put there by hand has no such header.
func (r *revision) hash() (hash [32]byte, ok bool) {
	if r.value != nil {
		return trust.HashOf(r.value), true
	}
	b, err := hex.DecodeString(r.header.Get(headerHash))
	if err != nil || len(b) != len(hash) {
		return hash, false
	}
	return [32]byte(b), true
}

// subject returns the subject of a key. Examples are $KV.B.a.ACXX… and $KV.B.t.<SHA-256 of the
// token>. The key must be one of these two kinds.
func (s *stream) subject(key string) string {
	if trust.IsActivationHash(key) {
		return s.prefix + "t." + key
	}
	return s.prefix + "a." + key
}

// keyOf returns the key of a subject, "" if it is not ours. The cursor moves over a revision
// without a key, and nothing else becomes of it.
func (s *stream) keyOf(subject string) string {
	rest, _ := strings.CutPrefix(subject, s.prefix)
	kind, key, _ := strings.Cut(rest, ".")
	if kind == "a" && trust.IsAccountKey(key) || kind == "t" && trust.IsActivationHash(key) {
		return key
	}
	return ""
}

// newRevision makes a revision of what a message has.
func (s *stream) newRevision(subject string, seq uint64, at time.Time, h nats.Header, value []byte) revision {
	// nats-server writes Nats-Marker-Reason itself, in the place of what a limit of age has
	// removed.
	op := h.Get(headerMarker)
	return revision{key: s.keyOf(subject), seq: seq, at: at, header: h, value: value,
		isMarker: op == "DEL" || op == "PURGE" || h.Get("Nats-Marker-Reason") != ""}
}

// storedMessage is JetStream's answer to a request for one message.
type storedMessage struct {
	answer
	Message struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Header  []byte    `json:"hdrs"` // base64 in the JSON; begins with the line NATS/1.0
		Data    []byte    `json:"data"` // base64 in the JSON
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// last returns the last revision of a subject at the leader; the zero revision if there is none.
// The subject may have wildcards. The answer may be old if that leader is cut off. A publish with
// its seq as the expected one then fails.
func (s *stream) last(ctx context.Context, nc *nats.Conn, subject string) (revision, error) {
	return s.get(ctx, nc, map[string]any{"last_by_subj": subject})
}

// get returns the revision that is wanted; the zero revision if there is none. wanted is the body
// of STREAM.MSG.GET, {"last_by_subj":"$KV.B.a.ACXX…"} or {"seq":4711}.
func (s *stream) get(ctx context.Context, nc *nats.Conn, wanted map[string]any) (revision, error) {
	found, err := s.read(ctx, nc, wanted)
	switch m := &found.Message; {
	case isCode(err, codeNoMessage):
		return revision{}, nil
	case err != nil:
		return revision{}, err
	default:
		header, err := nats.DecodeHeadersMsg(m.Header)
		// Then it counts as written by another program.
		if len(m.Header) > 0 && err != nil {
			header = nil
		}
		return s.newRevision(m.Subject, m.Seq, m.Time, header, m.Data), nil
	}
}

// read asks for a message, and once more after each readTimeout. A leader that is new does not answer
// what was asked before, and a large message on a slow line takes longer. Any of the answers will do,
// since each was asked for after the call.
func (s *stream) read(
	ctx context.Context, nc *nats.Conn, wanted map[string]any,
) (storedMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	type outcome struct {
		message storedMessage
		err     error
	}
	// The goroutine of a later question ends by itself after the return, for ctx has ended then.
	outcomes := make(chan outcome, 2+attemptTimeout/readTimeout) // all have room
	ask := func() {
		var o outcome
		o.err = s.api(ctx, nc, "STREAM.MSG.GET."+s.name, wanted, &o.message)
		outcomes <- o
	}
	again := time.NewTicker(readTimeout)
	defer again.Stop()
	go ask()
	for {
		select {
		case o := <-outcomes: // at the latest that no answer came
			return o.message, o.err
		case <-again.C:
			go ask()
		}
	}
}

// publishError says why a publish has failed, and whether the message may be in the bucket all the
// same. The caller may try again in both cases.
type publishError struct {
	cause error
	// false: it is certainly not there.
	maybe bool
}

func (e *publishError) Error() string { return e.cause.Error() }
func (e *publishError) Unwrap() error { return e.cause }

// message is a value that is to be published, and what its headers say.
type message struct {
	kind       string // kindJWT or kindTombstone
	door       string // way in, or doorOffer
	user       string // that has pushed it; "" if none was asked for
	value      []byte
	hash       jwtstore.Hash // of the value
	isOverride bool
	floor      jwtstore.Floor // has what the value has replaced of its second
}

// publish writes a revision if the last one of its key is still expected. The error is a
// *publishError if it is worth another try, otherwise an *accounts.CommitError or
// *accounts.TooLargeError.
//
// expected is 0 for a key that has none. seq is the new revision: a majority of the nats-servers of
// the bucket has it. What each error says:
//
//	no responders, denied, 503, 10008      not stored, certain: nothing has taken the message
//	10071, 10164, 10109                    not stored, certain: the leader has refused it
//	10077, 10002, 10054, maximum payload   not stored, certain, and another try does not help
//	no answer, connection lost, unknown    may be stored
func (s *stream) publish(
	ctx context.Context, nc *nats.Conn, key string, m message, expected uint64,
) (seq uint64, err error) {
	h := s.header(m)
	h.Set(headerExpected, strconv.FormatUint(expected, 10))
	var ack struct {
		answer
		Seq uint64 `json:"seq"`
	}
	// There is no Nats-Msg-Id: of two values with one id the second would be acknowledged and
	// dropped.
	err = s.request(ctx, nc, &nats.Msg{Subject: s.subject(key), Header: h, Data: m.value}, &ack)
	failed, isAnswer := errors.AsType[*apiError](err)
	denied := asDenied(err)
	switch {
	case err == nil && ack.Seq > 0:
		return ack.Seq, nil
	case errors.Is(err, nats.ErrMaxPayload), isCode(err, codeTooLarge):
		return 0, tooLarge(nc, m.value)
	case isCode(err, codeFull), isCode(err, codeAccountFull):
		return 0, &accounts.CommitError{Outcome: accounts.Full,
			Why: "the bucket takes no more, not even in place of what it has: raise its limits, " +
				"or those of its account"}
	case errors.Is(err, nats.ErrNoResponders), isCode(err, codeWrongLast), isCode(err, codeInFlight),
		isCode(err, codeNoLeader), isCode(err, codeSealed), isAnswer && failed.Code == 503,
		denied != nil && denied.isPublish:
		return 0, &publishError{cause: err}
	case err == nil:
		err = errors.New("the acknowledgement has no sequence number")
	}
	return 0, &publishError{cause: err, maybe: true}
}

// probe finds out whether this server may publish: what names another stream is refused before it
// is stored. The answer itself counts for nothing, see rights: an error of JetStream means that
// publishing is allowed. Without the probe a server that gets no push would not know.
func (s *stream) probe(ctx context.Context, nc *nats.Conn) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	h := nats.Header{headerStream: {"-"}}
	_ = s.request(ctx, nc, &nats.Msg{Subject: s.prefix + "probe", Header: h}, &answer{})
}

// headerRoom is what the headers and the protocol may take of a message, in bytes.
const headerRoom = 2 << 10

// tooLarge says that a value does not fit into a message.
func tooLarge(nc *nats.Conn, value []byte) error {
	return &accounts.TooLargeError{Size: len(value), Limit: int(nc.MaxPayload()) - headerRoom}
}

const (
	// maxReplaced is how many hashes of replaced JWTs the headers have. More of one second are not
	// told to servers that read only the last of them.
	maxReplaced = 16
	// maxUserBytes bounds the name of a user in a header.
	maxUserBytes = 255
)

// header returns the headers of a message. The unprintable characters of its user are escaped: a
// line break in it begins no other header. By what was replaced, a server that reads only the last
// revision knows what must not come back.
func (s *stream) header(m message) nats.Header {
	h := nats.Header{}
	h.Set(headerKind, m.kind)
	h.Set(headerDoor, m.door)
	h.Set(headerHash, hex.EncodeToString(m.hash[:]))
	h.Set(headerServer, s.host)
	if m.user != "" {
		name := logging.Quote(m.user, maxUserBytes)
		h.Set(headerUser, name[:min(len(name), maxUserBytes)])
	}
	if m.isOverride {
		h.Set(headerOverride, "true")
	}
	for replaced := range m.floor.Replaced() {
		if len(h[headerReplaced]) == maxReplaced {
			break
		}
		h.Add(headerReplaced, hex.EncodeToString(replaced[:]))
	}
	return h
}

// replaced yields what the value of a revision has replaced of its second.
func (r *revision) replaced() iter.Seq[jwtstore.Hash] {
	return func(yield func(jwtstore.Hash) bool) {
		for _, text := range r.header[headerReplaced] {
			var hash jwtstore.Hash
			b, err := hex.DecodeString(text)
			if err == nil && copy(hash[:], b) == len(hash) && !yield(hash) {
				return
			}
		}
	}
}
