package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

// Asking every nats-server is work for them, so this is limited for all clients together.
const (
	// maxVerifying is how many requests in a second ask the nats-servers.
	maxVerifying = 10
	// verifyTimeout is how long a request waits for others.
	verifyTimeout = time.Second
	// maxListed is how many nats-servers one answer lists. There may be thousands, invented ones
	// among them.
	maxListed = 500
)

// delivery is the answer to delivery=true: what the nats-servers have done with the stored JWT.
// Keys never change. A nats-server is in exactly one of the three lists.
type delivery struct {
	Account string `json:"account"`
	version
	// NATS is one of natsStates.
	NATS string `json:"nats"`
	// User and System are the account of the NATS user and the system account, if they differ.
	User   string `json:"user_account,omitempty"`
	System string `json:"system_account,omitempty"`
	// Summary is the line that a push is told.
	Summary string `json:"summary"`
	// Acknowledged are the nats-servers that have acknowledged the JWT, or for which nothing is
	// pending.
	Acknowledged []serverDelivery `json:"acknowledged"`
	// NotInUse are those that have not loaded the account.
	NotInUse []serverDelivery `json:"not_in_use"`
	// Pending are those to which the JWT is sent until they acknowledge it.
	Pending []serverDelivery `json:"owed"`
	// LeftOut is how many nats-servers follow, by name, after those of the lists. The request with
	// after=Last lists them.
	LeftOut int    `json:"left_out,omitempty"`
	Last    string `json:"last,omitempty"`
}

// version tells the JWTs of an account apart.
type version struct {
	JTI  string `json:"jti"`
	IAT  int64  `json:"iat"`  // Unix seconds
	Hash string `json:"hash"` // SHA-256 of the JWT, in hex
}

// serverDelivery is one nats-server that is known, and whether it has the JWT.
type serverDelivery struct {
	// Server is its name, under which its acknowledgements are kept.
	Server string `json:"server"`
	// ID is that of its process, which is another one after each start.
	ID string `json:"id,omitempty"`
	// Version is that of its program.
	Version string `json:"version,omitempty"`
	// Here means that it has answered the last PING.
	Here bool      `json:"here"`
	Seen time.Time `json:"seen"`
	// State is what has become of the JWT there, in a word or two.
	State string `json:"state"`
	// Since is when the pending change was committed. It is left out if none is pending.
	Since time.Time `json:"since,omitzero"`
	// Reason is more about State, such as why the JWT is refused.
	Reason string `json:"reason,omitempty"`
	// NotInEffect is what of the JWT is not in effect there, although it is acknowledged.
	NotInEffect string `json:"not_in_effect,omitempty"`
	// Runs is there with verify=true only.
	Runs *runs `json:"runs,omitempty"`
}

// runs is what a nats-server really runs.
type runs struct {
	// State is "current", "another", "not loaded" or "no answer".
	State string `json:"state"`
	// version is of the JWT that it runs, nil if there is none.
	*version
	// Reason is why it does not say.
	Reason string `json:"reason,omitempty"`
}

// sendDelivery sends what became of an account's JWT. With verify every nats-server is asked which
// JWT it runs. With after only the nats-servers are listed whose names come after that one. The JWT
// itself is not sent. Without verify nothing is asked: the outbox is looked at. Asking waits for
// its turn before anything is sent, so a refusal is a 503 of its own.
func (a *API) sendDelivery(
	w http.ResponseWriter, r *http.Request, account *accounts.Account, f flags,
) error {
	verify := f.set("verify")
	if verify {
		ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
		defer cancel()
		// Wait fails at once if its turn would come after the end of ctx.
		if a.verifying.Wait(ctx) != nil {
			return errVerifying
		}
	}
	report := a.Accounts.Report(r.Context(), account.Key, verify)
	return sendJSON(w, http.StatusOK, describe(account, report, f.value("after")))
}

// natsStates are the words for where announcements go.
var natsStates = map[accounts.DeliveryState]string{
	accounts.Sent:          "connected",
	accounts.WrongAccount:  "connected, but not to the system account",
	accounts.NotConnected:  "not connected",
	accounts.NotConfigured: "not configured",
}

// describe puts the report about an account's stored JWT into the form of the answer. It lists the
// nats-servers whose names come after the one that is given. report.Servers is sorted by name.
//
// after need not be the name of a nats-server. Names are compared as bytes. A list of more than
// maxListed is cut, and Last is where the next request goes on.
func describe(account *accounts.Account, report accounts.Report, after string) delivery {
	d := delivery{
		Account: account.Key,
		version: version{account.ID, account.IssuedAt, fmt.Sprintf("%x", account.Hash)},
		NATS:    natsStates[report.Delivery.State],
		User:    report.Delivery.User,
		System:  report.Delivery.System,
		Summary: report.Delivery.Summary(),
		// Not nil: an empty list is [] in JSON.
		Acknowledged: []serverDelivery{},
		NotInUse:     []serverDelivery{},
		Pending:      []serverDelivery{},
	}
	servers := report.Servers
	first := sort.Search(len(servers), func(i int) bool { return servers[i].Name > after })
	servers = servers[first:]
	if d.LeftOut = max(0, len(servers)-maxListed); d.LeftOut > 0 {
		servers = servers[:maxListed]
		d.Last = servers[maxListed-1].Name
	}
	for _, s := range servers {
		d.add(s)
	}
	return d
}

// add adds a nats-server to the list that it belongs to.
func (d *delivery) add(s accounts.ServerReport) {
	to := serverDelivery{
		Server: s.Name, ID: s.ID, Version: s.Version, Here: s.Here, Seen: s.Seen.UTC(),
		State: s.State.String(), Reason: s.Reason, NotInEffect: s.Partly,
	}
	if !s.Acked {
		to.Since = s.Since.UTC()
	}
	// Only verify asks what a nats-server runs.
	if s.Runs != nil {
		to.Runs = compare(*s.Runs, d.Hash)
	}
	switch {
	// It comes first, because such a nats-server may count as one that has acknowledged.
	case s.State == accounts.ServerNotInUse:
		d.NotInUse = append(d.NotInUse, to)
	case s.Acked:
		d.Acknowledged = append(d.Acknowledged, to)
	default:
		d.Pending = append(d.Pending, to)
	}
}

// compare returns how the JWT that a nats-server runs relates to the stored one, whose hash is
// stored. stored is in hex.
func compare(r accounts.Running, stored string) *runs {
	switch r.State {
	case accounts.Loaded:
		v := versionOf(r.JWT)
		if v.Hash == stored {
			return &runs{State: "current", version: v}
		}
		return &runs{State: "another", version: v}
	// A nats-server loads an account when its first user connects.
	case accounts.NotLoaded:
		return &runs{State: "not loaded"}
	default:
		return &runs{State: "no answer", Reason: r.Reason}
	}
}

// versionOf describes a JWT that was not verified: without a readable head it has only a hash. That
// is the one of the audit log: without the space around the JWT.
func versionOf(token []byte) *version {
	head, _ := trust.Peek(token)
	return &version{head.ID, head.IssuedAt,
		fmt.Sprintf("%x", trust.HashOf(token))}
}
