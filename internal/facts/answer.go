package facts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/logging"
)

// maxReason bounds what a nats-server says about an error, in bytes.
const maxReason = 256

// State says whether a nats-server has an account in use. The zero State is Unknown, so an Info
// without an answer says so.
type State int

const (
	// Unknown: it has not said, see Reason.
	Unknown State = iota
	// NotLoaded: it fetches the JWT when the account is needed there. No client is connected.
	NotLoaded
	// Loaded: what it says of the account counts.
	Loaded
)

// These are the reasons why a nats-server is Unknown, besides those of an answer that is refused.
const (
	noConnection = "NATS is not connected"
	noAnswer     = "it did not answer in time"
	noResponders = "no nats-server takes the request: the NATS user must be one of the system " +
		"account who may publish to $SYS.>"
)

// answer is what every answer has, besides the nats-server that has sent it. It is {"server":
// {"id": "N…", …}, "data": {…}}, or "error": {"description": "…"} in the place of data.
type answer struct {
	Data  json.RawMessage `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// readAnswer reads what all answers have. reason is why it can't be used, "" if it can. The data
// stays encoded: each request has its own.
func readAnswer(data []byte) (a answer, reason string) {
	switch {
	case len(data) > maxAnswer:
		return a, fmt.Sprintf("its answer of %d bytes is too large", len(data))
	case json.Unmarshal(data, &a) != nil:
		return a, "its answer is not the JSON of a nats-server"
	}
	return a, ""
}

// state returns what the answer says about the account. of is Loaded if data is there to be read.
// The text for NotLoaded is like "account … does not exist".
func (a answer) state() (of State, reason string) {
	switch {
	case a.Error == nil && len(a.Data) > 0:
		return Loaded, ""
	case a.Error == nil:
		return Unknown, "its answer has neither data nor an error"
	// nats-server has a text for that only, and no code.
	case strings.Contains(a.Error.Description, "does not exist"):
		return NotLoaded, ""
	}
	return Unknown, "it says: " + logging.Quote(a.Error.Description, maxReason)
}

// ask asks nats-servers the same, and returns what each has said, in the order of their names. read
// reads an answer. If it returns a reason, or there is no answer, of makes the value for that
// nats-server from a zero T and the reason; otherwise from what read has returned, and "". The
// result has as many values as servers.
func ask[T any](
	ctx context.Context, a *Asker, what Request, subject string, payload []byte, servers []Server,
	read func(answer) (T, string), of func(t *T, s Server, reason string),
) []T {
	said := make(map[string]T, len(servers))
	keep := func(s Server, t T, reason string) {
		of(&t, s, reason)
		said[s.ID] = t
	}
	take := func(s Server, from answer) (reason string) {
		t, reason := read(from)
		if reason == "" {
			keep(s, t, "")
		}
		return reason
	}
	missing := func(s Server, reason string) {
		var none T
		keep(s, none, reason)
	}
	a.gather(ctx, what, subject, payload, servers, take, missing)
	sorted := slices.SortedFunc(slices.Values(servers), func(a, b Server) int {
		return strings.Compare(a.Name, b.Name)
	})
	all := make([]T, 0, len(sorted))
	for _, s := range sorted {
		all = append(all, said[s.ID])
	}
	return all
}

// gather sends a request to nats-servers, and has take read the answer of each. take returns the
// reason why an answer can't be used. Those without an answer get to missing, with the reason. take
// and missing are called from this goroutine, once in all for each nats-server.
func (a *Asker) gather(
	ctx context.Context, what Request, subject string, payload []byte, of []Server,
	take func(Server, answer) (reason string), missing func(s Server, reason string),
) {
	began := time.Now()
	waiting := make(map[string]Server, len(of))
	for _, s := range of {
		waiting[s.ID] = s
	}
	reason := noConnection
	if c, ok := a.send(subject, payload, 2*len(of)); ok && len(of) > 0 {
		reason = c.collect(ctx, waiting, func(s Server, m *nats.Msg) {
			result := Answered
			read, why := readAnswer(m.Data)
			if why == "" {
				why = take(s, read)
			}
			if why != "" {
				result = Refused
				missing(s, why)
			}
			a.Observe(what, result, time.Since(began))
		})
		c.end()
	}
	for _, s := range waiting {
		missing(s, reason)
		a.Observe(what, Silent, time.Since(began))
	}
}

// collect passes on the first answer of each nats-server that is waited for, until none is, or ctx
// ends. It returns why the rest has not answered. waiting is by id, and those that have answered
// are taken out. Status 503 is the header that nats-server sends if no subscription takes the
// request.
func (c call) collect(
	ctx context.Context, waiting map[string]Server, take func(Server, *nats.Msg),
) (reason string) {
	for len(waiting) > 0 {
		select {
		case <-ctx.Done():
			return noAnswer
		case m := <-c.answers:
			if m.Header.Get("Status") == "503" {
				return noResponders
			}
			if s, isAsked := waiting[senderOf(m.Data)]; isAsked {
				delete(waiting, s.ID)
				take(s, m)
			}
		}
	}
	return ""
}

// senderOf returns the id of the nats-server that has sent an answer, "" if none can have. An
// answer begins with it, so that also one can be attributed that is too large to be read. The
// beginning of an answer is {"server":{…"id":"NABC…".
func senderOf(data []byte) string {
	d := json.NewDecoder(bytes.NewReader(data))
	var from struct {
		ID string `json:"id"`
	}
	for _, want := range []json.Token{json.Delim('{'), "server"} {
		if got, err := d.Token(); err != nil || got != want {
			return ""
		}
	}
	if d.Decode(&from) != nil {
		return ""
	}
	return from.ID
}
