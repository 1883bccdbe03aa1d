package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// deniedError says what the user of this server may not do. nats-server has dropped the message, or
// the subscription: that is certain. It comes as an error of the connection, and not as an answer.
// A request that did not take note of it would wait for its timeout, and the outcome of a push
// would be unknown.
type deniedError struct {
	isPublish bool // a message was dropped, and no subscription
	subject   string
	grant     string // the subject that is to be added to the permissions
}

func (e *deniedError) Error() string {
	verb, preposition := "subscribe", "to"
	if e.isPublish {
		verb, preposition = "publish", "on"
	}
	return fmt.Sprintf("the user of store.kv may not %s %s %q: add %q to what its permissions let it %s",
		verb, preposition, e.subject, e.grant, verb)
}

// asDenied returns the *deniedError in the chain of an error; nil if there is none.
func asDenied(err error) *deniedError {
	denied, _ := errors.AsType[*deniedError](err)
	return denied
}

// rights is what the nats-servers do not let the user of this server do. It belongs to the stream,
// and outlives connections.
type rights struct {
	stream string // KV_<bucket>
	prefix string // of the subjects of the bucket
	log    *slog.Logger

	mu sync.Mutex // guards what follows
	// denied has each denial by its grant, until the same was allowed.
	denied map[string]*deniedError
	// inbox is the denial of the inbox of this connection, which it has for all answers; nil: it
	// was not denied.
	inbox   *deniedError
	waiting map[*attempt]struct{}
}

// attempt is something that needs a right, and waits for an answer. deny is called with the lock of
// rights: it must not call a method of rights.
type attempt struct {
	subject string // on which it has published
	deny    func(*deniedError)
}

// newRights returns the rights of a user of which nothing is known.
func newRights(stream, prefix string, log *slog.Logger) *rights {
	return &rights{stream: stream, prefix: prefix, log: log, denied: map[string]*deniedError{},
		waiting: map[*attempt]struct{}{}}
}

// use begins with another connection. Its errors that are no denials go on to its own handler. A
// denial of before stays until the same is allowed: the next user may lack the same.
func (r *rights) use(nc *nats.Conn) {
	r.mu.Lock()
	r.inbox = nil
	// That these are allowed is not noticed. This server can do its work without them.
	maps.DeleteFunc(r.denied, func(grant string, _ *deniedError) bool {
		return grant == subjectJSZ || strings.HasPrefix(grant, "$JS.API.CONSUMER.DELETE.")
	})
	r.mu.Unlock()
	other := nc.ErrorHandler()
	nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if denied := r.parse(err); denied != nil {
			r.deny(denied)
		} else if other != nil {
			other(nc, sub, err)
		}
	})
}

// violation finds in an error of nats-server what was denied. An example is: Permissions Violation
// for Publish to "$KV.B.a.ACXX…"
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// parse returns the denial that an error is; nil if it is another one.
func (r *rights) parse(err error) *deniedError {
	found := violation.FindStringSubmatch(err.Error())
	if !errors.Is(err, nats.ErrPermissionViolation) || found == nil {
		return nil
	}
	return &deniedError{strings.EqualFold(found[1], "publish"), found[2], r.grant(found[2])}
}

// grant returns what the permissions need for a subject. For $KV.B.a.ACXX… it is $KV.B.>, and for
// an inbox _INBOX.>. For $JS.API.CONSUMER.CREATE.KV_B.x it is $JS.API.CONSUMER.CREATE.KV_B.>. Any
// other subject is its own grant.
func (r *rights) grant(subject string) string {
	switch before, _, isConsumer := strings.Cut(subject, "."+r.stream+"."); {
	case strings.HasPrefix(subject, r.prefix):
		return r.prefix + ">"
	case strings.HasPrefix(subject, "_INBOX."):
		return "_INBOX.>"
	case isConsumer:
		return before + "." + r.stream + ".>"
	}
	return subject
}

// deny records a denial, and ends what waits in vain. The first denial of a grant is logged, and
// later ones are not. subjectJSZ is no fault: the permission is optional.
func (r *rights) deny(denied *deniedError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.denied[denied.grant] == nil && denied.grant != subjectJSZ {
		r.log.Error("not permitted by the nats-servers of the bucket: " + denied.Error())
	}
	r.denied[denied.grant] = denied
	if !denied.isPublish {
		r.inbox = denied
	}
	for a := range r.waiting {
		if !denied.isPublish || a.subject == denied.subject {
			a.deny(denied)
		}
	}
}

// await calls deny if what is published on a subject is denied, or its answer is. done must be
// called at the end.
//
// The denial of an inbox ends all that wait, for no answer can come. One of a subject ends those
// that have published on it. done may be called once or more.
func (r *rights) await(subject string, deny func(*deniedError)) (done func()) {
	a := &attempt{subject, deny}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inbox != nil {
		deny(r.inbox)
	}
	r.waiting[a] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, a)
	}
}

// allow records that what was published on a subject was answered. An answer of any kind shows that
// the inbox may be subscribed to as well. A refusal by JetStream counts.
func (r *rights) allow(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.denied) > 0 {
		delete(r.denied, r.grant(subject))
		delete(r.denied, "_INBOX.>")
	}
}

// refusing returns why no push can be published; "" if it is not known that none can.
func (r *rights) refusing() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if denied := r.denied[r.prefix+">"]; denied != nil {
		return denied.Error()
	}
	return ""
}

// missing returns what was denied, "" if nothing was. Several are in the order of their grants,
// with semicolons between them. subjectJSZ is left out.
func (r *rights) missing() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, grant := range slices.Sorted(maps.Keys(r.denied)) {
		if grant != subjectJSZ {
			all = append(all, r.denied[grant].Error())
		}
	}
	return strings.Join(all, "; ")
}

// request sends a request, and returns its answer. It does not wait for what is denied. The error
// is a *deniedError at once, or that of nats.go, which includes ctx's.
func (r *rights) request(ctx context.Context, nc *nats.Conn, m *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer r.await(m.Subject, func(denied *deniedError) { cancel(denied) })()
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err == nil {
		r.allow(m.Subject)
	} else if denied := asDenied(context.Cause(ctx)); denied != nil {
		return nil, denied
	}
	return answer, err
}
