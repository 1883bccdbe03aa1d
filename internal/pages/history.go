package pages

import (
	"net"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

const (
	// maxLast bounds the changes and the refused pushes that the overview has, and maxPast the
	// changes that the page of an account has.
	maxLast = 8
	maxPast = 20
	// maxShown bounds the lines about one change.
	maxShown = 8
)

// pastRow is a change, or a push that was refused. Of Lines, Issued and Why one is set.
type pastRow struct {
	account
	HasAccount   bool         // it is known which account it was about
	When, Moment string       // how long ago, and the time
	Lines        []changeLine // what has changed
	More         int          // lines that are left out
	// Issued says that the JWT was issued anew, and that nothing else has changed.
	Issued bool
	// Why is the reason of a refusal; "" for a change.
	Why     string
	By, Via string // a user or address, and the way in; see origin
}

// changeLine is a claimdiff.Change: its words, its sign, and the class of the style sheet for that.
type changeLine struct{ Class, Sign, Words string }

// signs are the signs as people see them, with their class of the style sheet. The minus is U+2212,
// which is as wide as the plus.
var signs = map[string]changeLine{
	"+": {"add", "+", ""}, "-": {"del", "−", ""}, "~": {"chg", "~", ""},
}

// pastRows describes what has happened, in the order of all, but not more than most of it. Each row
// has maxShown lines at most.
func pastRows(all []monitor.Past, most int, now time.Time) (rows []pastRow) {
	for _, p := range all[:min(len(all), most)] {
		row := pastRow{account: account{p.Account, p.Name}, HasAccount: p.Account != "",
			When: distance(p.At, now), Moment: moment(p.At, now), Lines: changeLines(p.Changes)}
		row.By, row.Via = origin(p.Origin)
		switch {
		case p.Result == accounts.Refused:
			row.Why = refusal(p)
		case p.Result == accounts.Deleted:
			row.Lines = []changeLine{{"del", "−", "the account was deleted"}}
		case len(row.Lines) == 0:
			row.Issued = true
		}
		shown := min(len(row.Lines), maxShown)
		row.More = len(row.Lines) - shown + p.More
		row.Lines = row.Lines[:shown]
		rows = append(rows, row)
	}
	return rows
}

// changeLines describes changes. Words have quoted texts already; Name bounds them.
func changeLines(all []claimdiff.Change) (lines []changeLine) {
	for _, c := range all {
		l := signs[c.Sign]
		if l.Words = Name(c.Words); c.Code == "account_added" { // the line is beside its name
			l.Words = "new"
		}
		lines = append(lines, l)
	}
	return lines
}

// origins are the ways in, in words. Ways that are not here have no words, and by is "" then.
var origins = map[string]string{
	accounts.KindHTTP: "HTTP", accounts.KindNATS: "NATS", accounts.KindPack: "another server",
	accounts.KindPrimary: "the primary", accounts.KindFile: "a file",
	accounts.KindExpiry: "it had expired",
}

// origin says where a change came from: the user if one has logged in, otherwise the address
// without its port, otherwise the way in. via is what is known besides. An address is like
// "10.0.0.7:51234", or the name of a file or a server.
func origin(o accounts.Origin) (by, via string) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		host = o.Address
	}
	kind := origins[o.Kind]
	switch {
	case o.User != "":
		return Name(o.User), strings.Trim(Name(host)+", "+kind, ", ")
	case host != "":
		return Name(host), kind
	}
	return kind, ""
}

// refusals are the reasons of the audit log (accounts.NewRefusal) as clauses. A reason that is not
// here is shown as it is.
var refusals = map[string]string{
	"bad-jwt": "it is no JWT of an account", "mismatch": "it is of another account",
	"bad-subject":  "its subject is no key of an account",
	"self-signed":  "the account has signed it itself",
	"bad-issuer":   "a key of an account has signed it",
	"untrusted":    "it is signed by another operator",
	"identity-key": "the operator's own key has signed it, and a signing key has to",
	"expired":      "it has expired", "not-yet-valid": "it is not valid yet",
	"blocked":     "its claims are not valid",
	"private-key": "there was a private key in it", "older": "it is older than what is stored",
	"changed": "another JWT is stored than the client knew", "future": "it is issued in the future",
	"deleted": "the account was deleted", "read-only": "this server is read only",
	"save-failed": "it could not be stored", "too-large": "it is too large",
	"broken-off": "it did not arrive whole", "unauthorized": "no user and password, or wrong ones",
	"forbidden": "the user may not push", "signing-failed": "it could not be signed",
	"newer":          "the stored JWT is newer than the order to delete it",
	"replayed":       "the order was carried out before",
	"system-account": "the system account can't be deleted",
	"deleting-off":   "deleting is off: store { allow_delete: true }",
}

// refusal says why a push was refused. The issuer tells which operator it was.
func refusal(p monitor.Past) string {
	why := refusals[p.Reason]
	if why == "" {
		why = Name(p.Reason)
	}
	if p.Reason == "untrusted" && p.Issuer != "" {
		why += ", " + claimdiff.Key(p.Issuer)
	}
	return why
}
