package pages

import (
	"context"
	"net/url"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/monitor"
)

const (
	// pageSize is how many accounts a page of the list has. The JWT of each is read, and
	// nats-servers are asked about all of them at once.
	pageSize = 50
	// maxQuery bounds the text that is looked for, in bytes.
	maxQuery = 128
)

// ListQuery says which accounts the list has. The zero value is the first page of all. It comes
// from the URL, so that each field may have any text. The URL is
// /accounts?q=text&show=week&after=key.
type ListQuery struct {
	Text  string // that begins the key, or is a part of the name
	Show  string // Show of one of the filters; any other is all
	After string // monitor.Listing.After of the page before; "": this is the first
}

// filter is a choice of accounts. Show never changes: it is in bookmarks.
type filter struct {
	Show, Text string // its value in a URL, and what it is called
	selection  monitor.Selection
	count      func(known) int // how many accounts it has
}

// known is what is known of all accounts together. No account is read for it. Numbers are those of
// the last survey, so they may differ from what the list finds.
type known struct {
	monitor.Glance
	monitor.Dangling
	isGlance, isDangling bool // there is one: not yet, right after a start with many accounts
	pending, partly      int
}

// filters are all of them, as the list shows them. The first one is the choice for an unknown show.
var filters = []filter{
	{"", "All", monitor.All, func(k known) int { return k.Stored }},
	{"week", "Expire within 7 days", monitor.ExpireWeek, func(k known) int { return k.Week }},
	{"month", "Expire within 30 days", monitor.ExpireMonth, func(k known) int { return k.Month }},
	{"expired", "Expired", monitor.HaveExpired, func(k known) int { return k.Expired }},
	{"pending", "Waiting for a nats-server", monitor.ArePending,
		func(k known) int { return k.pending }},
	{"partly", "Not wholly in effect", monitor.AreIncomplete,
		func(k known) int { return k.partly }},
	{"dangling", "Imports that do nothing", monitor.ImportNothing,
		func(k known) int { return k.Accounts }},
	{"untrusted", "Not served", monitor.AreUntrusted, func(k known) int { return k.Untrusted }},
}

// known returns what is known of all accounts together.
func (s *Site) known() (k known) {
	k.Glance, k.isGlance = s.monitor.Glance()
	k.Dangling, k.isDangling = s.monitor.Dangling()
	o := s.monitor.Overview()
	k.pending, k.partly = o.Pending, o.Incomplete
	return k
}

// list is what the list of accounts shows. Rows has at most pageSize.
type list struct {
	Query   ListQuery
	Filters []filterLink
	Rows    []listRow
	Order   string // "by name" or "by key"
	Counted string // where Connections were counted; "": they are not known
	// More and First are the URLs of the next page and of the first one; "" if there is none.
	More, First  string
	IsUnfinished bool // the search took too long for one page, and the next one goes on with it
	Total        int  // of all accounts
	IsKnown      bool // that is known
}

// filterLink is a link to a choice of accounts.
type filterLink struct {
	Text, URL string
	Count     int
	HasCount  bool // Count is known
	IsCurrent bool // the list has this choice
}

// listRow is an account in the list.
type listRow struct {
	account
	Expires tag
	Shares  string // how many exports and imports: "2 / 5"
	State   tag
	Issued  string // how long ago
	// Until is a class of the style sheet, which makes a sentence of Expires on a narrow screen.
	Until       string
	Connections string // how many there are; "" if that is not known
}

// List returns a page of the list of accounts. The error is ErrBusy.
//
// nats-servers are asked for the connections of its accounts after the page has left the queue of
// begin, because that takes time and no processor. Any query is answered: a field that makes no
// sense selects nothing or all.
func (s *Site) List(ctx context.Context, q ListQuery) (Page, error) {
	version := s.monitor.Version()
	l, err := s.list(ctx, q)
	if err != nil {
		return Page{}, err
	}
	s.addConnections(ctx, l)
	return Page{Title: l.title(), Section: Accounts, Main: main("list", l), Version: version,
		Search: l.Query.Text}, nil
}

// list looks for the accounts of a query. A text that looks for nothing but spaces is no text.
func (s *Site) list(ctx context.Context, q ListQuery) (*list, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	now := time.Now().UTC()
	// A cut within a character does not matter: nothing is found then.
	q.Text = strings.TrimSpace(q.Text[:min(len(q.Text), maxQuery)])
	k := s.known()
	l := &list{Query: q, Order: "by key", Total: k.Stored, IsKnown: k.isGlance}
	filters, chosen := q.links(k)
	l.Filters = filters
	found := s.monitor.List(monitor.ListQuery{Text: q.Text, Select: chosen.selection,
		After: q.After, Limit: pageSize})
	if found.IsByName {
		l.Order = "by name"
	}
	for _, a := range found.Accounts {
		l.Rows = append(l.Rows, listRowOf(a, now))
	}
	if l.IsUnfinished = found.IsUnfinished; found.After != "" {
		l.More = q.url(q.Show, found.After)
	}
	if q.After != "" {
		l.First = q.url(q.Show, "")
	}
	return l, nil
}

// title is that of the window.
func (l *list) title() string {
	if l.Query.Text != "" {
		return "Accounts like " + Name(l.Query.Text)
	}
	return "Accounts"
}

// links returns the links to choices, and the one that is chosen. Those that have nothing are left
// out. A choice keeps the text, and begins at the first page.
func (q ListQuery) links(k known) (links []filterLink, chosen filter) {
	chosen = filters[0]
	for _, f := range filters {
		link := filterLink{Text: f.Text, URL: q.url(f.Show, ""), Count: f.count(k),
			HasCount: k.isGlance, IsCurrent: f.Show == q.Show}
		if f.selection == monitor.ImportNothing {
			link.HasCount = k.isDangling
		}
		if link.IsCurrent {
			chosen = f
		}
		if link.Count > 0 || link.IsCurrent || f.Show == "" {
			links = append(links, link)
		}
	}
	return links, chosen
}

// url returns the URL of a page of the list with the same text. Empty values are left out, so that
// the same list has one URL.
func (q ListQuery) url(show, after string) string {
	v := url.Values{}
	for name, value := range map[string]string{"q": q.Text, "show": show, "after": after} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if len(v) == 0 {
		return string(Accounts)
	}
	return string(Accounts) + "?" + v.Encode()
}

// listRowOf describes an account.
func listRowOf(a monitor.Account, now time.Time) listRow {
	row := listRow{account: account{a.Key, a.Name}, Expires: expiryTag(a.Expires, now),
		State: stateTag(a), Shares: count(a.Exports) + " / " + count(a.Imports),
		Issued: distance(a.Issued, now)}
	switch {
	case a.Expires == nil:
		row.Until = "never"
	case a.Expires.After(now):
		row.Until = "later"
	}
	return row
}

// expiryTag says when an account expires. at is nil if it never does. An account that has expired
// is mute here: it may be meant to, and State says it too.
func expiryTag(at *time.Time, now time.Time) tag {
	switch {
	case at == nil:
		return tag{"", "never"}
	case !at.After(now):
		return tag{"mute", "expired " + distance(*at, now)}
	case at.Sub(now) <= attentionDays*day:
		return tag{warn, distance(*at, now)}
	}
	return tag{"", distance(*at, now)}
}

// stateTag says whether an account is in effect, in a few words. a.State is the worst that holds,
// as monitor decides. What is not bad depends on how many nats-servers have the account.
func stateTag(a monitor.Account) tag {
	switch a.State {
	case "not served":
		return tag{bad, "not served"}
	case "expired":
		return tag{"mute", "expired"}
	case "refused":
		return tag{bad, "refused by " + servers(a.Delivery.Refused)}
	case "pending":
		return tag{warn, "waiting: " + reach(a.Delivery)}
	case "incomplete":
		if at := a.Delivery.Partly; len(at) > 0 {
			return tag{bad, "partly on " + servers(at)}
		}
		return tag{warn, counted(len(a.Faults), "import does", "imports do") + " nothing"}
	}
	switch d := a.Delivery; {
	case d.State == accounts.NotConfigured:
		return tag{"", "stored"}
	case d.State != accounts.Sent:
		return tag{"mute", "NATS is away"}
	case d.Servers == 0:
		return tag{"mute", "no nats-server"}
	case d.NotInUse == d.Servers:
		return tag{"mute", "not in use"}
	}
	return tag{"ok", reach(a.Delivery)}
}

// reach says how many nats-servers have a change: "2 of 3". One that does not use the account has
// nothing to change. Example: an account that one of three nats-servers has loaded and acknowledged
// is on 3 of 3.
func reach(d accounts.Delivery) string {
	if d.State != accounts.Sent {
		return "NATS is away"
	}
	return count(d.Acked+d.NotInUse) + " of " + count(d.Servers)
}

// servers names the one nats-server of a list, or says how many there are.
func servers(all []accounts.Refusal) string {
	if len(all) == 1 {
		return Name(all[0].Server)
	}
	return counted(len(all), "nats-server", "nats-servers")
}
