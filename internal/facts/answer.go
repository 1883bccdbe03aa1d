package facts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

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

// IsNotLoaded reports whether the description of an error says that a nats-server has not loaded
// the account. nats-server has no code for that, only a text like "account … does not exist".
func IsNotLoaded(description string) bool { return strings.Contains(description, "does not exist") }

// state returns what the answer says about the account. of is Loaded if data is there to be read.
func (a answer) state() (of State, reason string) {
	switch {
	case a.Error == nil && len(a.Data) > 0:
		return Loaded, ""
	case a.Error == nil:
		return Unknown, "its answer has neither data nor an error"
	case IsNotLoaded(a.Error.Description):
		return NotLoaded, ""
	}
	return Unknown, "it says: " + logging.Quote(a.Error.Description, maxReason)
}

// decode decodes the data of an answer. reason is why it can't, "" if it can.
func (a answer) decode(into any) (reason string) {
	if err := json.Unmarshal(a.Data, into); err != nil {
		return "its answer can't be read: " + fault(err)
	}
	return ""
}

// question is a request to nats-servers.
type question struct {
	what    Request // as metrics call it
	subject string
	payload []byte
	of      []Server
}

// ask asks nats-servers the same, and returns what each has said, in the order of their names. read
// reads an answer. If it returns a reason, or there is no answer, the value of that nats-server is
// a zero T. set adds to each value which nats-server it is of, and the reason, "" if it was read.
func ask[T any](
	ctx context.Context, a *Asker, q question,
	read func(answer) (t T, reason string), set func(t *T, s Server, reason string),
) []T {
	began := time.Now()
	said := make(map[string]T, len(q.of)) // by id
	keep := func(s Server, t T, reason string, result Result) {
		set(&t, s, reason)
		said[s.ID] = t
		a.Observe(q.what, result, time.Since(began))
	}
	var none T
	missing, why := a.collect(ctx, q, func(s Server, data []byte) {
		from, reason := readAnswer(data)
		t := none
		if reason == "" {
			t, reason = read(from)
		}
		if reason != "" {
			keep(s, none, reason, Refused)
			return
		}
		keep(s, t, "", Answered)
	})
	for _, s := range missing {
		keep(s, none, why, Silent)
	}
	sorted := slices.SortedFunc(slices.Values(q.of), func(a, b Server) int {
		return strings.Compare(a.Name, b.Name)
	})
	all := make([]T, len(sorted))
	for i, s := range sorted {
		all[i] = said[s.ID]
	}
	return all
}

// collect sends a question, and passes on the first answer of each nats-server, until all have
// answered or ctx ends. It returns those that have not, by id, and why. Status 503 is the header
// that nats-server sends if no subscription takes the request.
func (a *Asker) collect(
	ctx context.Context, q question, take func(s Server, data []byte),
) (missing map[string]Server, why string) {
	missing = make(map[string]Server, len(q.of))
	for _, s := range q.of {
		missing[s.ID] = s
	}
	if len(missing) == 0 {
		return missing, ""
	}
	answers, end, ok := a.send(q)
	if !ok {
		return missing, noConnection
	}
	defer end()
	for len(missing) > 0 {
		select {
		case <-ctx.Done():
			return missing, noAnswer
		case m := <-answers:
			if m.Header.Get("Status") == "503" {
				return missing, noResponders
			}
			if s, isAsked := missing[senderOf(m.Data)]; isAsked {
				delete(missing, s.ID)
				take(s, m.Data)
			}
		}
	}
	return missing, ""
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
