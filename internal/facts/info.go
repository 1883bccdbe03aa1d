package facts

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/logging"
)

const (
	// maxImports bounds the imports of an answer that are kept.
	maxImports = 4096
	// maxCount is the greatest number that is believed.
	maxCount = 100_000_000
)

// Info is what one nats-server says of an account. The message is INFO of an account, as
// nats-server's AccountInfo.
type Info struct {
	Server Server
	State  State
	Reason string // of Unknown

	// What follows is there if State is Loaded.

	// Complete says that all of the JWT is in effect there, but for what Imports says. Otherwise
	// imports are left out, or JetStream limits are above what the nats-server has.
	Complete  bool
	Expired   bool
	JetStream bool              // it is on for the account
	Updated   time.Time         // when it was loaded or updated there
	JWT       [sha256.Size]byte // SHA-256 of the JWT that it runs; zero: it runs none

	// Other nats-servers of a cluster have their own.
	Clients, LeafNodes int // that are connected to this nats-server
	Subscriptions      int // of all of them, and some more

	// Imports are those that the nats-server has, its own ones too. One that is left out is not
	// among them. Of very many, some are missing: then MoreImports is set.
	Imports     []Import
	MoreImports bool
}

// Import is an import as a nats-server has it. Its texts are those of the JWT: any. Invalid is
// nats-server's word for an import that finds no export, or is not allowed by it.
type Import struct {
	Account string // that exports it
	Subject string // in that account
	Local   string // in the importing account
	Type    string // stream or service
	Invalid bool   // it does nothing
}

// Total returns how many clients and leaf nodes are connected.
func (i Info) Total() int { return i.Clients + i.LeafNodes }

// Info asks all nats-servers what they say of an account. None loads it for that. The Infos are in
// the order of the servers' names. One request gets them all, whatever the account has. An account
// that a nats-server has not loaded is NotLoaded there.
func (a *Asker) Info(ctx context.Context, key string) []Info {
	read := func(from answer) (Info, string) { return readInfo(key, from) }
	q := question{RequestInfo, "$SYS.REQ.ACCOUNT." + key + ".INFO", nil, a.Servers()}
	return ask(ctx, a, q, read, func(i *Info, s Server, reason string) {
		if i.Server = s; reason != "" {
			i.Reason = reason
		}
	})
}

// info is the data of an answer to INFO. Unknown fields are ignored.
type info struct {
	Account       string    `json:"account_name"`
	Updated       time.Time `json:"update_time"`
	Expired       bool      `json:"expired"`
	Complete      bool      `json:"complete"`
	JetStream     bool      `json:"jetstream_enabled"`
	LeafNodes     int       `json:"leafnode_connections"`
	Clients       int       `json:"client_connections"`
	Subscriptions int       `json:"subscriptions"`
	Imports       imports   `json:"imports"`
	JWT           string    `json:"jwt"`
}

// readInfo reads an answer to INFO about an account. reason is why it can't be used, "" if it can.
// An answer that says an error can be used: its Info is Unknown or NotLoaded. Numbers and the
// account's name are checked, since the sender may be anyone in the system account.
func readInfo(key string, a answer) (i Info, reason string) {
	i.State, i.Reason = a.state()
	if i.State != Loaded {
		return i, ""
	}
	var d info
	if reason := a.decode(&d); reason != "" {
		return i, reason
	}
	if d.Account != key {
		return i, "its answer is about another account"
	}
	for _, n := range []int{d.Clients, d.LeafNodes, d.Subscriptions} {
		if n < 0 || n > maxCount {
			return i, fmt.Sprintf("its answer has an impossible number: %d", n)
		}
	}
	i.Complete, i.Expired, i.JetStream = d.Complete, d.Expired, d.JetStream
	i.Updated = d.Updated
	i.Clients, i.LeafNodes, i.Subscriptions = d.Clients, d.LeafNodes, d.Subscriptions
	i.Imports = d.Imports[:min(len(d.Imports), maxImports)]
	i.MoreImports = len(d.Imports) > maxImports
	if d.JWT != "" {
		i.JWT = sha256.Sum256([]byte(strings.TrimSpace(d.JWT)))
	}
	return i, ""
}

// imports is a list, of which at most one more than maxImports is kept: that one tells that there
// are more.
type imports []Import

// UnmarshalJSON reads the list one by one. A nats-server calls the subject here local_subject or
// to, as the claims do.
func (l *imports) UnmarshalJSON(b []byte) error {
	return eachElement(b, func(d *json.Decoder) error {
		var i struct {
			Account string `json:"account"`
			Subject string `json:"subject"`
			To      string `json:"to"`
			Local   string `json:"local_subject"`
			Type    string `json:"type"`
			Invalid bool   `json:"invalid"`
		}
		if err := d.Decode(&i); err != nil {
			return err
		}
		if len(*l) <= maxImports {
			local := cmp.Or(i.Local, i.To)
			*l = append(*l, Import{i.Account, i.Subject, local, i.Type, i.Invalid})
		}
		return nil
	})
}

// eachElement calls read for each element of a JSON array, so that a large one takes little memory.
// null is an empty one. read must take exactly one element.
func eachElement(b []byte, read func(*json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		if err == nil && t != nil {
			err = errors.New("no list")
		}
		return err
	}
	for d.More() {
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// fault is the text of an error about JSON, without what comes from values: these may be anything,
// and CONNZ has JWTs of users. Names of fields are kept, as they are those of this program.
func fault(err error) string {
	if kind, isType := errors.AsType[*json.UnmarshalTypeError](err); isType {
		return fmt.Sprintf("its field %s is of another type", logging.Quote(kind.Field, maxReason))
	}
	return "it is malformed"
}
