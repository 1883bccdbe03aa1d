package pages

import (
	"cmp"
	"html/template"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// Note is a sentence about something that wants attention. How bad it is says Class: that of the
// style sheet. Example: {bad, "Refused", "n2 refuses orders: …"}. Tag begins the line, in a
// coloured box.
type Note struct {
	Class, Tag string
	Text       template.HTML
}

// The classes of the style sheet for notes and tags, besides "ok" and "mute".
const (
	bad  = "bad"  // something is not as it should be
	warn = "warn" // it will not be, or may not be
)

// maxAlike is how many notes of one kind there are, so that a fault of a million accounts does not
// hide the others. A last one says how many more there would be.
const maxAlike = 3

// notes collects Notes of one page.
type notes struct {
	all []Note
	now time.Time // of all notes
}

// add adds a note that the template "note-" and name makes of data. The HTML is made at once.
// Templates are escaped, so data may have any texts.
func (n *notes) add(class, tag, name string, data any) {
	n.all = append(n.all, Note{class, tag, main("note-"+name, data)})
}

// attention returns what wants attention, what is worst first. Without notes all is well: what is
// as it should be, such as an account that a nats-server does not need, has none. It is called once
// for each overview. Classes are sorted as texts: "bad" is before "warn".
func (s *Site) attention(o *overview) []Note {
	n := &notes{now: o.Now}
	n.addParts(o.ready)
	n.addServers(o)
	s.addPartly(n)
	n.addUntrusted(o.glance.Untrusted)
	s.addExpiring(n, o.glance)
	n.addDangling(o.dangling)
	slices.SortStableFunc(n.all, func(a, b Note) int { return cmp.Compare(a.Class, b.Class) })
	return n.all
}

// readyParts are those of monitor.Readiness, in the order of their notes, and what each note begins
// with.
var readyParts = []struct{ name, tag string }{{"store", "Store"}, {"trust", "Operator"},
	{"compared", "Starting"}, {"delivery", "NATS"}, {"replica", "Primary"}, {"bucket", "Bucket"}}

// addParts tells which parts of this server are not ready. That of the delivery is told for each
// nats-server. A part of which there is nothing to say has no note.
func (n *notes) addParts(ready monitor.Readiness) {
	for _, part := range readyParts {
		switch p := ready.Parts[part.name]; {
		case p.Reason != "" && part.name != "delivery":
			n.add(bad, part.tag, "text", sentence(p.Reason))
		case p.Note != "":
			n.add(warn, part.tag, "text", sentence(p.Note))
		}
	}
}

// sentence is a text with a capital letter at its beginning and a full stop at its end. text is not
// empty.
func sentence(text string) string {
	return capital(strings.TrimSuffix(text, ".")) + "."
}

// waiting is for how long a change may be on its way before that wants attention. An answer takes
// some milliseconds.
const waiting = 5 * time.Second

// addServers tells which nats-servers lack something, and why. A nats-server that is away without
// lacking anything has no note: it may have been stopped.
func (n *notes) addServers(o *overview) {
	isSlow := !o.oldest.IsZero() && n.now.Sub(o.oldest) > waiting
	for _, srv := range o.Servers {
		switch {
		case srv.State == "refusing":
			n.add(bad, "Refused", "refusing", srv)
		case srv.State == "silent" && srv.Pending > 0 && o.IsConnected:
			n.add(warn, capital(silence(srv.Server).Text), "away", srv)
		case srv.State == "pending" && isSlow:
			n.add(warn, "Waiting", "waiting", srv)
		}
	}
	n.fold("more-servers", "Away", "No answer", "Waiting")
}

// partlyNote is what the template shows of an account that is not wholly in effect at a
// nats-server.
type partlyNote struct {
	account        // zero: the page is about it
	Server, Reason string
}

// addPartly tells which accounts are not wholly in effect. The accounts are read from the notifier,
// not looked for.
func (s *Site) addPartly(n *notes) {
	found := s.monitor.List(monitor.ListQuery{Select: monitor.AreIncomplete, Limit: maxAlike})
	for _, a := range found.Accounts {
		if len(a.Delivery.Partly) > 0 {
			p := a.Delivery.Partly[0]
			n.add(bad, "Partly", "partly", partlyNote{account{a.Key, a.Name}, p.Server, p.Reason})
		}
	}
	if more := s.monitor.Overview().Incomplete - len(found.Accounts); more > 0 {
		n.add(bad, "Partly", "more-partly", more)
	}
}

// addUntrusted tells how many accounts are not served. They are not named: the filter "Not served"
// lists them.
func (n *notes) addUntrusted(untrusted int) {
	if untrusted > 0 {
		n.add(bad, "Not served", "untrusted", untrusted)
	}
}

// attentionDays is how many days before an account expires it wants attention.
const attentionDays = 7

// addExpiring tells which accounts expire soon, or have lately. g.Soon is in order of time, so
// those that have expired are first. g.Week counts all of the next seven days, those that are shown
// too.
func (s *Site) addExpiring(n *notes, g monitor.Glance) {
	shown := 0
	for _, e := range g.Soon {
		switch left := e.Expires.Sub(n.now); {
		case left > attentionDays*day:
			return
		case shown == maxAlike:
			n.add(warn, "Expires", "more-expiring", g.Week)
			return
		case left > 0:
			n.add(warn, "Expires", "expiring", s.expiring(n, e))
		default:
			n.add(bad, "Expired", "expired", s.expiring(n, e))
		}
		shown++
	}
}

// expiringNote is what the templates show of an account that expires. When is "in 3 days", and
// Moment the time in UTC.
type expiringNote struct {
	account
	When, Moment string
	Importers    []account // some of those that get nothing from it then
	IsMore       bool
}

// maxNamed bounds the accounts that a sentence names.
const maxNamed = 3

// expiring describes an account that expires. Importers are looked up in the index for it, so only
// maxAlike accounts are described.
func (s *Site) expiring(n *notes, e monitor.Expiring) expiringNote {
	note := expiringNote{account: account{e.Key, e.Name}, When: distance(e.Expires, n.now),
		Moment: moment(e.Expires, n.now)}
	some, isMore := s.monitor.Importers(e.Key, maxNamed)
	for _, i := range some {
		note.Importers = append(note.Importers, account{i.Key, i.Summary.Name})
	}
	note.IsMore = isMore
	return note
}

// Get is the verb of the sentence about the importers.
func (e expiringNote) Get() string {
	if len(e.Importers) == 1 && !e.IsMore {
		return "gets"
	}
	return "get"
}

// Before is what stands before an importer in the sentence.
func (e expiringNote) Before(at int) string {
	switch {
	case at == 0:
		return ""
	case at == len(e.Importers)-1 && !e.IsMore:
		return " and "
	}
	return ", "
}

// addDangling tells which imports do nothing. Each account has one, for its first such import.
func (n *notes) addDangling(d monitor.Dangling) {
	for i, f := range d.First {
		if i == maxAlike {
			n.add(warn, "Does nothing", "more-dangling", d.Accounts-i)
			return
		}
		n.add(warn, "Does nothing", "dangling", danglingNoteOf(f))
	}
}

// danglingNote is what the template shows of an import that does nothing.
type danglingNote struct {
	account
	Kind, Subject, Fault string  // Fault is why, as claimcheck says it
	From                 account // that would have to export it
	IsStored             bool    // From is
}

// danglingNoteOf describes an import that does nothing.
func danglingNoteOf(f monitor.DanglingImport) danglingNote {
	return danglingNote{account: account{f.Key, f.Name}, Kind: f.Import.Type.String(),
		Subject: claimdiff.Plain(claimdiff.Remote(f.Import)), Fault: f.From.Fault,
		From: account{f.From.Key, f.From.Name}, IsStored: f.From.IsStored}
}

// fold keeps maxAlike of the notes that have one of the tags. A last note, which the template "note-"
// and name makes, says how many more there would be. The notes that are left out are those that
// came last.
func (n *notes) fold(name string, tags ...string) {
	var kept []Note
	seen := 0
	for _, note := range n.all {
		if slices.Contains(tags, note.Tag) {
			if seen++; seen > maxAlike {
				continue
			}
		}
		kept = append(kept, note)
	}
	if n.all = kept; seen > maxAlike {
		n.add(warn, "Waiting", name, seen-maxAlike)
	}
}

// headline is the first line of the overview: how many things want attention, and if none does, the
// best that is known. notes decide first: a fault is never hidden behind "Everything is in effect".
func headline(notes []Note, o *overview) string {
	switch {
	case len(notes) == 1:
		return "One thing wants your attention"
	case len(notes) > 1:
		return capital(word(len(notes))) + " things want your attention"
	case o.glanceKnown && o.glance.Stored == 0:
		return "No account is stored yet"
	case !o.IsConfigured:
		return "Everything is stored"
	case len(o.Servers) == 0:
		return "No nats-server has been heard of yet"
	}
	return "Everything is in effect"
}
