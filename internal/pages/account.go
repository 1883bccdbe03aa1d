package pages

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// maxItems bounds the lists that a page of an account has. The claims as JSON have all.
const maxItems = 200

// accountPage is what the page of an account shows. Its zero fields are left out of the page by the
// template.
type accountPage struct {
	account
	Notes       []Note // why it is not wholly in effect
	HasClaims   bool   // false: what the JWT says can't be read
	Validity    []fact
	Delivery    []deliveryRow
	NoDelivery  string // why there are none
	Used        string // of what the use is; "" if it is not known
	Limits      []limitRow
	Share       shares
	Keys        items
	Revocations items
	Others      []claimdiff.Group // what has no place of its own
	// Past are the last changes that are remembered, the latest first; there are none after a
	// restart.
	Past []pastRow
	// Token is the JWT as it is stored, also one that is damaged.
	Token string
	// JSON is the payload of the JWT with line ends, or the sentence that it can't be read.
	JSON string
}

// items are a part of what claims say. All is never longer than maxItems.
type items struct {
	All  []claimdiff.Item
	More int // that are left out
}

// Account returns the page of an account. The error is that of accounts.Registry.GetLocal if there
// is none, or ErrBusy.
//
// Besides the stored JWT it reads those of the accounts that this one imports from, and of some
// that import from it (monitor.Detail), and asks nats-servers what is in use. key must be the key
// of an account. The version is read first: a change while the page is made loads it again.
func (s *Site) Account(ctx context.Context, key string) (Page, error) {
	version, now := s.monitor.Version(), time.Now().UTC()
	d, err := s.detail(ctx, key)
	if err != nil {
		return Page{}, err
	}
	u := s.use(ctx, key, d)
	p := &accountPage{account: account{key, d.Name}, Token: string(bytes.TrimSpace(d.Token)),
		HasClaims: d.Claims != nil}
	p.Delivery, p.NoDelivery = deliveryRows(d.Delivery, u, now)
	if d.Claims != nil {
		// The index, which d.Name comes from, cuts long names.
		p.account.Account = d.Claims.Name
		p.describe(claimdiff.Describe(d.Claims), u)
		p.Share = sharesOf(d, now)
		p.JSON = pretty(d.Token)
	}
	p.Validity = s.validity(d, p.Others, now)
	changes := slices.DeleteFunc(s.monitor.Changes(),
		func(p monitor.Past) bool { return p.Account != key })
	p.Past = pastRows(changes, maxPast, now)
	p.Notes = accountNotes(d, p, now)
	return Page{Title: p.Label(), Section: Accounts, Main: main("account", p),
		Version: version}, nil
}

// detail looks the account up. nats-servers are asked after it, when another page may be made
// already.
func (s *Site) detail(ctx context.Context, key string) (monitor.Detail, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return monitor.Detail{}, err
	}
	defer end()
	return s.monitor.Detail(ctx, key)
}

// describe puts the groups of the claims where the page has them. A group that is not named here is
// shown with its own title, so that a new one is not left out. groups are changed: they are of this
// page alone.
func (p *accountPage) describe(groups []claimdiff.Group, u use) {
	p.Used = u.Of
	for _, g := range groups {
		switch g.Title {
		case claimdiff.Limits, claimdiff.JetStream:
			p.Limits = append(p.Limits, limitRows(g.Items, "", u)...)
		case claimdiff.SigningKeys:
			p.Keys = cut(g.Items)
		case claimdiff.Revocations:
			p.Revocations = cut(g.Items)
			for i, item := range p.Revocations.All {
				// The head of the column says that it is a user.
				p.Revocations.All[i].Label = strings.TrimPrefix(item.Label, "user ")
			}
		case claimdiff.Validity, claimdiff.Exports, claimdiff.Imports:
			// The page says it in another way.
		default:
			if strings.HasPrefix(g.Title, "Tier ") {
				p.Limits = append(p.Limits, limitRows(g.Items, g.Title, u)...)
				continue
			}
			g.Items = cut(g.Items).All
			p.Others = append(p.Others, g)
		}
	}
}

// cut bounds a list. The rest is only counted.
func cut(all []claimdiff.Item) items {
	n := min(len(all), maxItems)
	return items{all[:n], len(all) - n}
}

// limitRow is a limit, and what is in use of it.
type limitRow struct {
	Label, Under string // its name, and what it is of if not of the account
	Use, Limit   string // Use is "" if it is not known
	Percent      int    // that is in use, at most 100; below 0: no limit, or it is not known
	IsFull       bool   // it is nearly reached
}

// fullPercent is from how many percent on a limit is nearly reached.
const fullPercent = 90

// limitRows describes limits. under is the tier that they are of, "" for the account. What is in
// use of a tier is not known: nats-servers add up what the whole account uses. A limit of JetStream
// that is of a tier has the tier's name in Item.Of.
func limitRows(list []claimdiff.Item, under string, u use) (rows []limitRow) {
	for _, i := range list {
		row := limitRow{Label: i.Label, Under: under, Limit: i.Value, Percent: -1}
		if used, found := u.byField[i.Field]; found && i.Of == "" {
			row.Use = used.text
			if used.limit > 0 {
				row.Percent = int(min(used.amount*100/used.limit, 100))
				row.IsFull = row.Percent >= fullPercent
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// validity says since when and until when the account is valid. Times are of the claims, in
// seconds.
func (s *Site) validity(d monitor.Detail, others []claimdiff.Group, now time.Time) []fact {
	at := func(t time.Time) string { return moment(t, now) + ", " + distance(t, now) }
	facts := []fact{
		{"Issued", at(d.Issued)},
		{"Signed by", s.signer(d.Issuer)},
		{"Expires", "never"},
	}
	if d.Expires != nil {
		facts[2].Text = at(*d.Expires)
	}
	if d.Claims != nil && d.Claims.NotBefore != 0 {
		facts = append(facts, fact{"Valid from", at(time.Unix(d.Claims.NotBefore, 0))})
	}
	if tags := tagsOf(others); len(tags) > 0 {
		facts = append(facts, fact{"Tags", strings.Join(tags, ", ")})
	}
	return facts
}

// tagsOf returns the tags, and takes them out of the group that has them. They stand with the
// validity, and need no table of their own.
func tagsOf(groups []claimdiff.Group) (tags []string) {
	for n, g := range groups {
		groups[n].Items = slices.DeleteFunc(g.Items, func(i claimdiff.Item) bool {
			isTag := i.Field == "nats.tags[]"
			if isTag {
				tags = append(tags, i.Value)
			}
			return isTag
		})
	}
	return tags
}

// signer says which key has signed the account, and whose it is. It need not be a key of an
// operator any more, since operators change.
func (s *Site) signer(key string) string {
	if key == "" {
		return "not known"
	}
	for _, o := range s.monitor.Accounts.Operators() {
		switch {
		case o.Key == key:
			return claimdiff.Key(key) + ", the key of " + Name(o.Name) + " itself"
		case slices.Contains(o.Signers(), key):
			return claimdiff.Key(key) + ", a signing key of " + Name(o.Name)
		}
	}
	return claimdiff.Key(key) + ", which is no key of the operator"
}

// deliveryRow is what has become of the account at one nats-server. Texts come from nats-servers,
// and are made visible by Name.
type deliveryRow struct {
	Server      string
	State       tag
	Reason      string // of State; "" if there is none to give
	Connections string // how many it has; "" if that is not known
	Since       string // when the change was sent that it has not acknowledged; "": it has
}

// deliveryRows describes what nats-servers have. none is why there are no rows. The rows are in the
// order of the report: by name.
func deliveryRows(r accounts.Report, u use, now time.Time) (rows []deliveryRow, none string) {
	switch r.Delivery.State {
	case accounts.NotConfigured:
		return nil, "NATS is not configured: nats-servers with a URL resolver fetch the account " +
			"when they need it."
	case accounts.NotConnected, accounts.WrongAccount:
		none = sentence(r.Delivery.String())
	default:
		none = "No nats-server has been heard of yet."
	}
	for _, srv := range r.Servers {
		row := deliveryRow{Server: Name(srv.Name), State: serverTag(srv), Reason: Name(srv.Reason)}
		// Since counts only as long as the answer is missing.
		if !srv.Acked && !srv.Since.IsZero() {
			row.Since = "since " + moment(srv.Since, now)
		}
		// It acknowledges accounts of which it leaves out imports or JetStream limits.
		if srv.Partly != "" {
			row.State, row.Reason = tag{bad, "partly"}, Name(srv.Partly)
		}
		u.addTo(&row, srv.Name)
		rows = append(rows, row)
	}
	return rows, none
}

// serverTags are the states at a nats-server in words. A state that is not here would be shown
// without a text.
var serverTags = map[accounts.ServerState]tag{
	accounts.ServerSettled:       {"ok", "has it"},
	accounts.ServerAcknowledged:  {"ok", "in effect"},
	accounts.ServerNotInUse:      {"mute", "not in use"},
	accounts.ServerRefused:       {bad, "refuses it"},
	accounts.ServerUnanswered:    {warn, "no answer yet"},
	accounts.ServerNew:           {warn, "no answer yet"},
	accounts.ServerNeverAnswered: {"mute", "never answers updates"},
	accounts.ServerAway:          {"mute", "away"},
}

// serverTag says what has become of the account at a nats-server. One that is away is harmless if
// it has acknowledged the account before.
func serverTag(r accounts.ServerReport) tag {
	if r.State == accounts.ServerAway && !r.Acked {
		return tag{warn, "away, lacks it"}
	}
	return serverTags[r.State]
}

// accountNotes says why an account is not wholly in effect. d.State is the worst that holds. That
// it expires soon, and imports that do nothing, are said besides.
func accountNotes(d monitor.Detail, p *accountPage, now time.Time) []Note {
	n := &notes{now: now}
	switch d.State {
	case "not served":
		n.add(bad, "Not served", "text", sentence(d.Reason)+
			" Nats-servers get the answer that there is none.")
	case "expired":
		n.add(bad, "Expired", "text", "It expired "+distance(*d.Expires, now)+
			". Its clients can't connect until a newer JWT is pushed.")
	case "refused":
		n.add(bad, "Refused", "text", sentence(Name(d.Reason)))
	case "incomplete":
		partly := d.Account.Delivery.Partly
		for _, p := range partly[:min(len(partly), maxAlike)] {
			n.add(bad, "Partly", "partly", partlyNote{Server: p.Server, Reason: p.Reason})
		}
	case "pending":
		n.add(warn, "Waiting", "text", "The last change is on its way: "+Name(d.Reason)+".")
	}
	if d.Expires != nil && d.Expires.After(now) && d.Expires.Sub(now) <= attentionDays*day {
		n.add(warn, "Expires", "text", "It expires "+distance(*d.Expires, now)+": "+
			moment(*d.Expires, now)+". Then nats-servers close its connections.")
	}
	n.addLost(d)
	return n.all
}

// addLost tells which imports do nothing: those of the account, and those that others have from it.
// At most maxAlike of them are told, and then how many more there are. Sources are in the order of
// Claims.Imports, and Faults in that of Imports.
func (n *notes) addLost(d monitor.Detail) {
	var lost []danglingNote
	for at, from := range d.Sources {
		if from.Fault != "" {
			lost = append(lost, danglingNoteOf(monitor.DanglingImport{Import: d.Claims.Imports[at],
				From: from}))
		}
	}
	for _, importer := range d.Importers {
		for at, fault := range importer.Faults {
			if fault != "" {
				lost = append(lost, danglingNoteOf(monitor.DanglingImport{
					Key: importer.Key, Name: importer.Name, Import: importer.Imports[at],
					From: monitor.Source{Fault: fault}}))
			}
		}
	}
	for i, one := range lost {
		if i == maxAlike {
			n.add(warn, "Does nothing", "text", counted(len(lost)-i, "more import does",
				"more imports do")+" nothing: the tables of exports and imports say why.")
			return
		}
		n.add(warn, "Does nothing", "dangling", one)
	}
}

// pretty returns the claims of a JWT as JSON, with all that is in them, also fields that jwt/v2
// does not know. Nothing is decoded but base64 and JSON, so that a field of a newer jwt/v2 is shown
// too.
func pretty(token []byte) string {
	_, rest, _ := bytes.Cut(bytes.TrimSpace(token), []byte("."))
	payload, _, _ := bytes.Cut(rest, []byte("."))
	var b bytes.Buffer
	claims, err := base64.RawURLEncoding.DecodeString(string(payload))
	if err == nil {
		err = json.Indent(&b, claims, "", "  ")
	}
	if err != nil {
		return "The claims can't be read."
	}
	return visibleLines(b.String())
}

// visibleLines is Name for a long text of several lines.
func visibleLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, hasEnd := strings.CutSuffix(line, "\n")
		b.WriteString(Visible(line))
		if hasEnd {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// parts is what the template "items" takes: items, and the heads of the columns.
type parts struct {
	Items items
	Heads []string
}

// partsOf makes parts in a template.
func partsOf(all items, heads ...string) parts { return parts{all, heads} }
