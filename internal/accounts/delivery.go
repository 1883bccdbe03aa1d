package accounts

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/logging"
)

// Receipt follows one announcement.
type Receipt interface {
	// Wait returns as soon as every nats-server has answered, at the latest after the limit or when
	// ctx ends. UsualWait is a limit that is a little longer than the nats-servers take, and does
	// not wait for those that are known not to answer.
	Wait(ctx context.Context, limit time.Duration) Delivery
}

// UsualWait is the limit of a client that asks for none.
const UsualWait time.Duration = -1

// DeliveryState says how far an announcement could get.
type DeliveryState int

const (
	NotConfigured DeliveryState = iota // there is no NATS to announce on
	NotConnected                       // it will be sent when NATS is connected
	WrongAccount                       // NATS is connected with a user of another account, see User
	Sent                               // see the counts
)

// Delivery is what is known about an announcement at one moment. The counts are of nats-servers
// that are connected. Those of Servers that are in no other count have not answered yet.
type Delivery struct {
	State    DeliveryState
	Servers  int       // those that have ever answered an account update
	Acked    int       // those that have acknowledged the change, and those of Settled
	NotInUse int       // those without the account, which fetch the JWT when they need it
	Refused  []Refusal // those that do not take the change, by name
	// Partly are those of Acked at which a part of the JWT is not in effect, and which part, by
	// name.
	Partly []Refusal
	// Settled have nothing pending, but this process has not got their answer. An earlier one may
	// have got any answer but a refusal.
	Settled int
	// New have not answered an account update yet, and may be about to.
	New int
	// NeverAnswered have let one pass, and have never answered any, although they answer PING.
	NeverAnswered int
	// User and System are public keys of WrongAccount: the account of the NATS user, and the system
	// account.
	User, System string
}

// Refusal is what a nats-server has against a change, or which part of it is not in effect there.
type Refusal struct{ Server, Reason string }

// Unanswered counts the nats-servers that have not answered yet.
func (d Delivery) Unanswered() int { return d.Servers - d.Acked - d.NotInUse - len(d.Refused) }

// String is the line that a client reads after "stored; ".
func (d Delivery) String() string {
	switch {
	case d.State == NotConfigured:
		return "NATS is not configured"
	case d.State == NotConnected:
		return "NATS is not connected: will be sent when it is"
	case d.State == WrongAccount:
		return fmt.Sprintf("not announced: the NATS user belongs to the account %s, and "+
			"nats-servers take updates from the system account only, %s", d.User, d.System)
	case d.Servers == 0 && (d.New > 0 || d.NeverAnswered == 0):
		return "no nats-server has answered yet"
	case d.Servers == 0 && d.NeverAnswered == 1:
		return "the only nats-server has never answered an account update"
	case d.Servers == 0:
		return fmt.Sprintf("none of %s has ever answered an account update",
			natsServers(d.NeverAnswered))
	case len(d.Refused) == d.Servers:
		return d.line()
	}
	return d.line(d.counts())
}

// Summary is String for a client that asks later.
func (d Delivery) Summary() string {
	if d.State != Sent || d.Settled == 0 {
		return d.String()
	}
	return d.line(fmt.Sprintf("nothing is pending for %d of %s",
		d.Acked+d.NotInUse, natsServers(d.Servers)))
}

// line is the whole line. Its first parts are about nats-servers that have not refused.
func (d Delivery) line(parts ...string) string {
	if len(d.Refused) > 0 {
		parts = append(parts, describe(d.Refused, "refused by ", "by"))
	}
	if d.New > 0 {
		parts = append(parts, logging.Count(d.New, "more has", "more have")+" not answered yet")
	}
	if at := d.NotInEffect(); at != "" {
		parts = append(parts, at)
	}
	return strings.Join(parts, "; ")
}

// natsServers is so many nats-servers.
func natsServers(n int) string { return logging.Count(n, "nats-server", "nats-servers") }

// counts is the part of the line about nats-servers that have not refused.
func (d Delivery) counts() (text string) {
	switch {
	case d.Unanswered() > 0:
		text = fmt.Sprintf("%d of %d acknowledged so far", d.Acked, d.Servers)
	case d.NotInUse == 1 && d.Servers == 1:
		return "not in use on the only nats-server"
	case d.NotInUse == d.Servers:
		return "not in use on any of " + natsServers(d.Servers)
	case d.Acked == 0:
		return fmt.Sprintf("not in use on %d of %s", d.NotInUse, natsServers(d.Servers))
	default:
		text = fmt.Sprintf("acknowledged by %d of %s", d.Acked, natsServers(d.Servers))
	}
	if d.NotInUse > 0 {
		text += fmt.Sprintf(", not in use on %d", d.NotInUse)
	}
	return text
}

// maxRefusals is how many nats-servers that refuse a change, or a part of it, the line names.
const maxRefusals = 5

// NotInEffect says what is acknowledged and not in effect, and where; "" if nothing is known of
// that kind.
func (d Delivery) NotInEffect() string {
	if len(d.Partly) == 0 {
		return ""
	}
	return describe(d.Partly, "not wholly in effect on ", "on")
}

// describe names nats-servers and their reasons. Those with the same reason share it. what comes
// before the names, and by before the number of those that are not named.
func describe(all []Refusal, what, by string) (text string) {
	named := slices.Clone(all[:min(len(all), maxRefusals)])
	slices.SortStableFunc(named, func(a, b Refusal) int { return cmp.Compare(a.Reason, b.Reason) })
	for i, r := range named {
		switch {
		case i == 0:
			text = what + r.Server
		case r.Reason == named[i-1].Reason:
			text += ", " + r.Server
		default:
			text += because(named[i-1]) + "; " + what + r.Server
		}
	}
	text += because(named[len(named)-1])
	if more := len(all) - len(named); more > 0 {
		text += fmt.Sprintf("; and %s %d more", by, more)
	}
	return text
}

// because is what a nats-server says, kept on its line.
func because(r Refusal) string { return ": " + logging.Quote(r.Reason, maxErrorBytes) }

// Wait implements Receipt for an announcement of which nothing more will be learned.
func (d Delivery) Wait(context.Context, time.Duration) Delivery { return d }

// Report is what is known of every nats-server about one account's stored JWT.
type Report struct {
	Delivery Delivery
	Servers  []ServerReport // by name: all that are known, also those that are away
}

// ServerReport is what is known of one nats-server.
type ServerReport struct {
	Name    string      // under which its acknowledgements are kept
	ID      string      // of its process; "" while it is away
	Version string      // "" if it has not said
	Here    bool        // it has answered the last PING
	Seen    time.Time   // when it last answered one
	State   ServerState // what has become of the stored JWT there
	Acked   bool        // nothing is pending for it
	Since   time.Time   // when the pending change was committed; zero if none is pending
	Reason  string      // of State, if more is known
	Partly  string      // what of the acknowledged JWT is not in effect there, as far as is known
	Runs    *Running    // what it runs; nil if it was not asked
}

// ServerState is what has become of the stored JWT at one nats-server.
type ServerState int

const (
	ServerSettled       ServerState = iota // nothing is pending, see Delivery.Settled
	ServerAcknowledged                     // it has acknowledged the JWT
	ServerNotInUse                         // it has not loaded the account
	ServerRefused                          // it does not take the JWT
	ServerUnanswered                       // it has not answered yet
	ServerNew                              // the same, and it has answered no other one either
	ServerNeverAnswered                    // it answers PING, but never an account update
	ServerAway                             // the JWT is pending for it, and it is not connected
)

// serverStates are the words for them.
var serverStates = [...]string{
	"nothing pending", "acknowledged", "not in use", "refused", "no answer", "no answer",
	"never answers updates", "away",
}

func (s ServerState) String() string { return serverStates[s] }

// IsAcknowledged reports whether the nats-server has acknowledged the JWT, as far as is known.
func (s ServerState) IsAcknowledged() bool { return s == ServerSettled || s == ServerAcknowledged }

// Count adds a connected nats-server to the counts.
func (d *Delivery) Count(server string, state ServerState, reason string) {
	switch state {
	case ServerNew:
		d.New++
		return
	case ServerNeverAnswered:
		d.NeverAnswered++
		return
	}
	d.Servers++
	switch state {
	case ServerSettled:
		d.Settled++
		d.Acked++
	case ServerAcknowledged:
		d.Acked++
	case ServerNotInUse:
		d.NotInUse++
	case ServerRefused:
		d.Refused = append(d.Refused, Refusal{server, reason})
	}
}

// Running is what a nats-server says that it runs for an account.
type Running struct {
	State  RunningState
	JWT    []byte // of an account that is loaded
	Reason string // of a refusal to say
}

// RunningState says whether a nats-server runs an account.
type RunningState int

const (
	NoAnswer  RunningState = iota // it has not said
	NotLoaded                     // it fetches the JWT when the account is needed there
	Loaded
)
