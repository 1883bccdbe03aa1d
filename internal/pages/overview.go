package pages

import (
	"context"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// account is an account to link to: its key, and its name, which is "" if it has none or is not
// known. A row or note that is about an account embeds it, for the template "account-link".
type account struct{ Key, Account string }

// Label is what an account is called: its name, or the beginning and the end of its key. Example:
// "orders" or "ACNW…V2JU".
func (a account) Label() string {
	if strings.TrimSpace(a.Account) == "" {
		return claimdiff.Key(a.Key)
	}
	return Name(a.Account)
}

const (
	// maxServers bounds the nats-servers that the overview has, maxExpiring the accounts that
	// expire next.
	maxServers  = 256
	maxExpiring = 6
)

// overview is what the first page shows. What is not exported is what it is made of. It is made and
// shown by one goroutine.
type overview struct {
	Now      time.Time
	Headline string // the first line, and the title of the window
	Lead     string // the sentences below it
	Notes    []Note // what wants attention

	IsConfigured bool // there is a NATS to announce on
	IsConnected  bool
	Servers      []serverRow
	MoreServers  int // that are not in Servers
	Expiring     []expiringRow
	Facts        []fact
	Past         []pastRow // the last changes
	Refused      []pastRow // the last pushes that were refused

	ready       monitor.Readiness
	glance      monitor.Glance
	glanceKnown bool // false for a second or two after a start with very many accounts
	dangling    monitor.Dangling
	oldest      time.Time // since when the oldest pending change is; zero: none is pending
}

// fact is a line with a name: about this server, or about an account. A template shows them as a
// list of definitions.
type fact struct{ Name, Text string }

// serverRow is a nats-server. Its texts of monitor.Server are those of the nats-server, and the
// template shows them by Name.
type serverRow struct {
	monitor.Server
	Standing  tag
	Heard     string  // when it was heard of last
	Refused   account // whose JWT it has refused last; zero: none
	RefusedAt string
}

// tag is a state in a word. Class is that of the style sheet: "ok", warn, bad, "mute" for what is
// neither good nor bad, or "" for no tag but the text alone.
type tag struct{ Class, Text string }

// expiringRow is an account that expires.
type expiringRow struct {
	account
	Moment, In string
	Class      string // of the tag; "" for none
}

// Overview returns the first page. The error is ErrBusy. It takes the same time for any number of
// accounts: what is known of all of them was counted before. Nothing is asked of nats-servers: what
// they have said before is shown.
func (s *Site) Overview(ctx context.Context) (Page, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return Page{}, err
	}
	defer end()
	version, now := s.monitor.Version(), time.Now().UTC()
	o := &overview{Now: now, ready: s.monitor.Ready()}
	o.glance, o.glanceKnown = s.monitor.Glance()
	o.dangling, _ = s.monitor.Dangling()
	// Varz itself would wait for the survey after a start.
	varz := s.monitor.Program()
	o.IsConfigured, o.IsConnected = varz.NATS.Configured, varz.NATS.Connected
	o.oldest = s.monitor.Overview().Oldest
	o.addServers(s.monitor.Serverz(0, maxServers))
	o.addExpiring()
	o.Facts = s.facts(varz, o)
	o.Past = pastRows(s.monitor.Changes(), maxLast, now)
	// What servers offer each other is old as a rule. An order to delete is a push here as well.
	refusals := slices.DeleteFunc(s.monitor.Refusals(),
		func(p monitor.Past) bool { return p.Origin.Peer })
	o.Refused = pastRows(refusals, maxLast, now)
	o.Notes = s.attention(o)
	o.Headline, o.Lead = headline(o.Notes, o), o.lead(varz)
	return Page{Title: o.Headline, Section: Overview, Main: main("overview", o),
		Version: version}, nil
}

// standings are the states of nats-servers (monitor.Server.State) in words, but for "silent". The
// colours are the same as in the list of accounts.
var standings = map[string]tag{
	"in_step":  {"ok", "has everything"},
	"pending":  {warn, "waiting"},
	"refusing": {bad, "refuses"},
}

// silence says why a nats-server acknowledges nothing: one may be there all the same. It is bad
// only if it lacks something.
func silence(srv monitor.Server) tag {
	t := tag{"mute", "away"}
	if srv.Here {
		t.Text = "no answer"
	}
	if srv.Pending > 0 {
		t.Class = warn
	}
	return t
}

// addServers describes the nats-servers. One that has everything may leave a part of it out. z is
// the first maxServers by name.
func (o *overview) addServers(z monitor.Serverz) {
	o.MoreServers = z.Total - len(z.Servers)
	for _, srv := range z.Servers {
		row := serverRow{Server: srv, Standing: standings[srv.State], Heard: "connected"}
		if srv.State == "in_step" && srv.Incomplete > 0 {
			row.Standing = tag{bad, count(srv.Incomplete) + " partly"}
		}
		if srv.State == "silent" {
			row.Standing = silence(srv)
		}
		if !srv.Here {
			row.Heard = "heard " + distance(srv.LastSeen, o.Now)
		}
		if r := srv.Refusal; r != nil {
			row.Refused, row.RefusedAt = account{Key: r.Account}, distance(r.At, o.Now)
		}
		o.Servers = append(o.Servers, row)
	}
}

// addExpiring describes the accounts that expire next. Those that have expired lately come first.
func (o *overview) addExpiring() {
	for _, e := range o.glance.Soon {
		if len(o.Expiring) == maxExpiring {
			return
		}
		row := expiringRow{account: account{e.Key, e.Name}, Moment: moment(e.Expires, o.Now),
			In: distance(e.Expires, o.Now)}
		switch left := e.Expires.Sub(o.Now); {
		case left <= 0:
			row.Class = bad
		case left <= attentionDays*day:
			row.Class = warn
		}
		o.Expiring = append(o.Expiring, row)
	}
}

// lead is the second line: how many accounts there are, how many nats-servers have them all, and
// whether some expire. What is not known is left out. Example: "12 accounts stored. 3 of 3
// nats-servers have everything. Nothing expires within 30 days."
func (o *overview) lead(v monitor.Varz) string {
	var parts []string
	if o.glanceKnown {
		parts = append(parts, counted(o.glance.Stored, "account", "accounts")+" stored")
	}
	switch total := len(o.Servers) + o.MoreServers; {
	case !o.IsConfigured:
		parts = append(parts,
			"NATS is not configured: this server does not know what nats-servers run")
	case total > 0:
		parts = append(parts, o.inStep()+" of "+
			counted(total, "nats-server has", "nats-servers have")+" everything")
	}
	if o.glanceKnown && o.glance.Stored > 0 && o.glance.Month == 0 && o.glance.Expired == 0 {
		parts = append(parts, "nothing expires within 30 days")
	}
	if len(parts) == 0 {
		return "The accounts are still being counted."
	}
	for i := range parts {
		parts[i] = sentence(parts[i])
	}
	return strings.Join(parts, " ")
}

// inStep counts the nats-servers that have everything. Those beyond maxServers are not looked at,
// and do not count.
func (o *overview) inStep() string {
	n := 0
	for _, srv := range o.Servers {
		if srv.State == "in_step" && srv.Incomplete == 0 {
			n++
		}
	}
	return count(n)
}

// facts describes this server. Their order is that of the page.
func (s *Site) facts(v monitor.Varz, o *overview) []fact {
	return []fact{
		{"Operator", s.operatorText(o.Now)},
		{"Store", s.storeText(o)},
		{"NATS", natsText(v)},
		{"Program", "version " + v.Version + ", up " + span(o.Now.Sub(v.Start)) + " on " +
			Name(v.Host)},
		{"Configuration", "read " + moment(v.ConfigLoad, o.Now)},
	}
}

// operatorText describes the operators. Example: "Acme OABC…WXYZ, 2 keys sign accounts, never
// expires".
func (s *Site) operatorText(now time.Time) string {
	var texts []string
	for _, o := range s.monitor.Accounts.Operators() {
		text := Name(o.Name) + " " + claimdiff.Key(o.Key) + ", " +
			counted(len(o.Signers()), "key signs accounts", "keys sign accounts")
		if o.Expires.IsZero() {
			text += ", never expires"
		} else {
			text += ", expires " + distance(o.Expires, now) + ", " + moment(o.Expires, now)
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return "none is configured: no signature is checked"
	}
	return strings.Join(texts, "; ")
}

// storeText describes the store: whether it takes changes, what is in it, how much room there is,
// and what of the journal is not in files yet. Free is below 0 if it is not known. Example: "ready;
// 12 accounts, 1 of them expired; 40 GiB of disk free".
func (s *Site) storeText(o *overview) string {
	state := s.monitor.Store.State()
	text := "ready"
	if !o.ready.Parts["store"].Ready {
		text = "not ready"
	}
	if o.glanceKnown {
		text += "; " + counted(o.glance.Stored, "account", "accounts")
		if o.glance.Expired > 0 {
			text += ", " + count(o.glance.Expired) + " of them expired"
		}
	}
	if state.Free >= 0 {
		text += "; " + size(state.Free) + " of disk free"
	}
	if state.Behind > 0 {
		text += "; " + counted(state.Behind, "file is", "files are") + " still to be written"
	}
	if s.monitor.ReadOnly {
		text += "; read only"
	}
	return text
}

// natsText describes the connection to NATS. The first connection is not told as one again.
func natsText(v monitor.Varz) string {
	switch {
	case !v.NATS.Configured:
		return "not configured: changes are not announced"
	case !v.NATS.Connected:
		return "not connected; " + counted(v.NATS.Pending, "change waits", "changes wait")
	}
	text := "connected; " +
		counted(v.NATS.Servers, "nats-server is known", "nats-servers are known")
	if v.NATS.Reconnects > 0 {
		text += "; connected again " + counted(v.NATS.Reconnects, "time", "times")
	}
	return text
}
